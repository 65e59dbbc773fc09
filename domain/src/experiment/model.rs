//! Models: architecture, preprocessing, and where the weights come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::TaskId;

/// A classifier. Its preprocessing belongs to it: it takes pixels in [0,1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Architecture.
    pub backbone: Backbone,
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

/// Architectures, under torchvision's parameter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Backbone {
    /// torchvision's ResNet-18 (He et al. 2016): 11.7 M parameters at 1,000 classes.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet-18's blocks at a quarter of the width, with a 3×3 stem of stride 2 and no pooling: 0.7 M parameters, for 32×32 images on a CPU.
    #[serde(rename = "resnet18-w16")]
    ResNet18W16,
}

impl Backbone {
    /// All backbones, in the order of the catalogue.
    pub const ALL: [Self; 2] = [Self::ResNet18, Self::ResNet18W16];

    /// The name in sweep files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ResNet18W16 => "resnet18-w16",
        }
    }

    /// How the residual net is laid out.
    pub const fn layout(self) -> ResNetLayout {
        match self {
            Self::ResNet18 => ResNetLayout { stem: Stem::ImageNet, width: 64, blocks: [2, 2, 2, 2] },
            Self::ResNet18W16 => ResNetLayout { stem: Stem::Small, width: 16, blocks: [2, 2, 2, 2] },
        }
    }

    /// Smallest side of an image it takes, in pixels.
    pub const fn min_image_size(self) -> u32 {
        match self {
            Self::ResNet18 => 32,
            Self::ResNet18W16 => 16,
        }
    }

    /// Names and shapes of all tensors of its state dict for so many input channels and classes, in torchvision's order; `num_batches_tracked` left out.
    pub fn state_dict(self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        self.layout().state_dict(channels, classes)
    }

    /// The stages between the normalisation and the head, from the input on.
    pub const fn stages(self) -> &'static [Stage] {
        match self {
            Self::ResNet18 | Self::ResNet18W16 => &[
                Stage { name: "stem", prefixes: &["conv1.", "bn1."] },
                Stage { name: "layer1", prefixes: &["layer1."] },
                Stage { name: "layer2", prefixes: &["layer2."] },
                Stage { name: "layer3", prefixes: &["layer3."] },
                Stage { name: "layer4", prefixes: &["layer4."] },
            ],
        }
    }

    /// Prefix of the parameters of the classification head.
    pub const fn head(self) -> &'static str {
        match self {
            Self::ResNet18 | Self::ResNet18W16 => "fc",
        }
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of a backbone: its output is a feature tap, and it is the unit of freezing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its name, such as `layer1`.
    pub name: &'static str,
    /// What the names of its parameters start with.
    pub prefixes: &'static [&'static str],
}

/// First layers of a residual net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// 7×7 convolution of stride 2, then 3×3 max-pooling of stride 2.
    ImageNet,
    /// 3×3 convolution of stride 2.
    Small,
}

impl Stem {
    /// Side of the stem's convolution kernel, in pixels.
    pub const fn kernel_size(self) -> u32 {
        match self {
            Self::ImageNet => 7,
            Self::Small => 3,
        }
    }
}

/// A residual net of basic blocks (two 3×3 convolutions each): four stages, each of twice the width of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNetLayout {
    /// First layers.
    pub stem: Stem,
    /// Channels of the first stage.
    pub width: u32,
    /// Blocks of each stage.
    pub blocks: [u32; 4],
}

/// Name and shape of a tensor in a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterShape {
    /// torchvision's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<u64>,
}

impl ResNetLayout {
    /// Channels of the pooled features that the head takes.
    pub const fn features(&self) -> u32 {
        self.width * 8
    }

    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.convolution("conv1", self.width, channels, self.stem.kernel_size());
        list.batch_norm("bn1", self.width);
        let mut inputs = self.width;
        for (stage, blocks) in self.blocks.into_iter().enumerate() {
            let outputs = self.width << stage;
            for block in 0..blocks {
                let prefix = format!("layer{}.{block}", stage + 1);
                list.convolution(&format!("{prefix}.conv1"), outputs, inputs, 3);
                list.batch_norm(&format!("{prefix}.bn1"), outputs);
                list.convolution(&format!("{prefix}.conv2"), outputs, outputs, 3);
                list.batch_norm(&format!("{prefix}.bn2"), outputs);
                if block == 0 && stage > 0 {
                    list.convolution(&format!("{prefix}.downsample.0"), outputs, inputs, 1);
                    list.batch_norm(&format!("{prefix}.downsample.1"), outputs);
                }
                inputs = outputs;
            }
        }
        list.push("fc.weight".to_owned(), &[classes, self.features()]);
        list.push("fc.bias".to_owned(), &[classes]);
        list.0
    }
}

#[derive(Default)]
struct StateDict(Vec<ParameterShape>);

impl StateDict {
    fn push(&mut self, name: String, shape: &[u32]) {
        self.0.push(ParameterShape { name, shape: shape.iter().copied().map(u64::from).collect() });
    }

    fn convolution(&mut self, prefix: &str, outputs: u32, inputs: u32, kernel: u32) {
        self.push(format!("{prefix}.weight"), &[outputs, inputs, kernel, kernel]);
    }

    fn batch_norm(&mut self, prefix: &str, channels: u32) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.push(format!("{prefix}.{part}"), &[channels]);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(backbone: Backbone, channels: u32, classes: u32) -> u64 {
        let trained = |p: &&ParameterShape| !p.name.contains("running_");
        backbone.state_dict(channels, classes).iter().filter(trained).map(|p| p.shape.iter().product::<u64>()).sum()
    }

    #[test]
    fn resnet18_has_as_many_parameters_as_torchvision_says() {
        assert_eq!(parameters(Backbone::ResNet18, 3, 1000), 11_689_512);
    }

    #[test]
    fn the_narrow_net_is_about_sixteen_times_smaller() {
        let count = parameters(Backbone::ResNet18W16, 1, 26);
        assert!((690_000..720_000).contains(&count), "{count}");
    }
}
