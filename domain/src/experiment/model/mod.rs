//! Models: architecture, preprocessing, and where the weights come from.

mod alexnet;
mod architecture;
mod backbone;
mod convnext;
mod densenet;
mod efficientnet;
mod inverted;
mod mobilenet;
mod preact;
mod resnet;
mod state_dict;
mod vgg;
mod vit;
mod wide;
mod work;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::TaskId;

pub use alexnet::AlexNet;
pub use architecture::Stage;
pub use backbone::{Backbone, Family, Stem};
pub use convnext::ConvNeXtLayout;
pub use densenet::DenseNetLayout;
pub use efficientnet::EfficientNet;
pub use inverted::{InvertedBlock, InvertedStage};
pub use mobilenet::MobileNetV2;
pub use preact::PreActResNet;
pub use resnet::{ResNetLayout, ResNetStem, ResidualBlock};
pub use state_dict::ParameterShape;
pub use vgg::Vgg;
pub use vit::VitB16;
pub use wide::WideResNetLayout;

/// A classifier. Its preprocessing belongs to it: it takes pixels in [0,1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Architecture.
    pub backbone: Backbone,
    /// First layers.
    pub stem: Stem,
    /// Channels of the images it takes: 1 or 3.
    pub channels: u32,
    /// Outputs of its head.
    pub classes: u32,
    /// First thing it does to an image.
    pub normalize: Normalize,
}

/// (x − mean) / std, per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// One per channel, in pixel space.
    pub mean: Vec<f64>,
    /// One per channel, in pixel space, above zero.
    pub std: Vec<f64>,
}

impl ModelSpec {
    /// How its network is laid out.
    pub fn family(&self) -> Family {
        self.backbone.family(self.stem)
    }

    /// Names and shapes of all tensors of its state dict, in the order of the published one; `num_batches_tracked` left out.
    pub fn state_dict(&self) -> Vec<ParameterShape> {
        self.backbone.state_dict(self.stem, self.channels, self.classes)
    }
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weights {
    /// Freshly drawn, from the run's seed.
    Scratch,
    /// The checkpoint that a training task of the graph produces.
    Task {
        /// The training task.
        task: TaskId,
        /// What becomes of its head.
        head: Head,
    },
    /// A checkpoint the user brought.
    Imported {
        /// Digest of the file.
        checkpoint: Digest,
        /// How the file is read.
        format: CheckpointFormat,
        /// What becomes of its head.
        head: Head,
    },
}

/// What becomes of the classification head when weights are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Taken over with the rest.
    Keep,
    /// Freshly drawn, from the run's seed.
    Replace,
}

/// File formats of imported checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointFormat {
    /// `.safetensors`.
    #[serde(rename = "safetensors")]
    SafeTensors,
    /// A state dict saved by PyTorch (`.pth`, `.pt`), read as data: nothing in it is executed.
    Pytorch,
}
