//! What the crate makes of files: right ones, wrong ones, and hostile ones.

#![allow(clippy::unwrap_used, reason = "a test may stop at once, and so may its helpers")]

mod cifar;
mod constructed;
mod cues;
mod glyphs;
mod idx;
mod image_files;
mod image_folders;
mod places;
mod resample;
mod safetensors;
mod subsets;
mod support;
mod torch;
mod torch_hostile;
