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
mod width;
mod work;

use serde::{Deserialize, Serialize};

use super::ImageShape;
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
    /// Channels of the first stage; none for those of the published form, which then has one identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
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
        let family = self.backbone.family(self.stem);
        self.width.map_or(family, |width| family.of_width(width))
    }

    /// What its network is called, such as `resnet18` or, at a width that was chosen, `resnet18-width32`.
    pub fn network_name(&self) -> String {
        self.backbone.name_at_width(self.width)
    }

    /// Names and shapes of all tensors of its state dict, in the order of the published one; `num_batches_tracked` left out.
    pub fn state_dict(&self) -> Vec<ParameterShape> {
        self.family().architecture().state_dict(self.channels, self.classes)
    }

    /// Multiply-adds of one forward pass; normalisations and the head are left out, as small beside them.
    pub(crate) fn multiply_adds(&self, image: ImageShape) -> u64 {
        self.family().architecture().multiply_adds(image)
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
