//! TOML → typed sections.

mod attack;
mod dataset;
mod document;
mod epsilon;
mod files;
mod init;
mod model;
mod names;
mod recipe;
mod rule;

pub(super) use document::read;
