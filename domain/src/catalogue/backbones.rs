//! The backbones there are.

use serde::Serialize;

use crate::experiment::{Backbone, ParameterShape};

/// Channels and classes for which parameters are counted: those of ImageNet.
const COUNTED_AT: (u32, u32) = (3, 1000);

/// What the catalogue says of a backbone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackboneEntry {
    /// What the sweep file calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Trained parameters at 3 channels and 1,000 classes.
    pub parameters: u64,
    /// Channels of the images it can take.
    pub channels: &'static [u32],
    /// Smallest side of an image it can take, in pixels.
    pub min_image_size: u32,
}

/// The backbones of `[[model]]`.
pub fn backbones() -> Vec<BackboneEntry> {
    Backbone::ALL.into_iter().map(entry).collect()
}

/// Channels of the images a backbone can take.
pub const fn input_channels(backbone: Backbone) -> &'static [u32] {
    match backbone {
        Backbone::ResNet18 => &[3],
        Backbone::ResNet18W16 => &[1, 3],
    }
}

fn entry(backbone: Backbone) -> BackboneEntry {
    let summary = match backbone {
        Backbone::ResNet18 => "torchvision's ResNet-18 (He et al. 2016), under torchvision's parameter names",
        Backbone::ResNet18W16 => "ResNet-18's blocks at a quarter of the width with a small stem, for a CPU",
    };
    let (channels, classes) = COUNTED_AT;
    let trained = |tensor: &&ParameterShape| !tensor.name.contains("running_");
    BackboneEntry {
        name: backbone.name(),
        summary,
        parameters: backbone.state_dict(channels, classes).iter().filter(trained).map(ParameterShape::values).sum(),
        channels: input_channels(backbone),
        min_image_size: backbone.min_image_size(),
    }
}
