//! TOML → typed sections.

mod analysis;
mod attack;
mod cue;
mod dataset;
mod document;
mod epsilon;
mod features;
mod files;
mod frequencies;
mod init;
mod model;
mod names;
mod recipe;
mod rule;
mod subset;

pub(super) use document::read;
