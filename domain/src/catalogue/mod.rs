//! The data sets, backbones, trained weights, recipes, attacks and analyses there are, with their parameters: the one place that defaults come from, for the sweep reader as
//! for the lists that people read.

mod analyses;
mod attacks;
mod backbones;
mod checkpoints;
mod datasets;
pub mod defaults;
mod entry;
mod recipes;

pub use analyses::analyses;
pub use attacks::attacks;
pub use backbones::{BackboneEntry, backbones, input_channels};
pub use checkpoints::{CheckpointEntry, checkpoints};
pub use datasets::{
    CatalogueFile, CatalogueSource, DatasetEntry, GLYPH_CLASSES, GLYPH_GENERATOR, SplitFiles, dataset, datasets,
    formats, glyph_fonts, pinned_facts,
};
pub use entry::{Entry, Parameter};
pub use recipes::recipes;
