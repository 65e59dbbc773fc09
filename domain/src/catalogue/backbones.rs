//! The backbones there are.

use serde::Serialize;

use super::checkpoints::{CheckpointEntry, checkpoints};
use crate::experiment::{Backbone, ParameterShape, Stem};

/// Channels and classes for which parameters are counted: those of ImageNet.
const COUNTED_AT: (u32, u32) = (3, 1000);

/// What the catalogue says of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// The same with `stem = "cifar"`, if it can have that.
    pub min_image_size_with_cifar_stem: Option<u32>,
    /// Channels of the first stage, where `width` can set it.
    pub default_width: Option<u32>,
    /// What both sides of an image must be multiples of, in pixels.
    pub image_size_unit: u32,
    /// Trained weights known by name, for `checkpoint = { catalogue = … }`.
    pub checkpoints: Vec<CheckpointEntry>,
}

/// The backbones of `[[model]]`.
pub fn backbones() -> Vec<BackboneEntry> {
    Backbone::ALL.into_iter().map(entry).collect()
}

/// Channels of the images a backbone can take.
pub const fn input_channels(backbone: Backbone) -> &'static [u32] {
    match backbone {
        Backbone::ResNet18W16 => &[1, 3],
        Backbone::AlexNet
        | Backbone::Vgg16Bn
        | Backbone::ResNet18
        | Backbone::ResNet34
        | Backbone::ResNet50
        | Backbone::ResNet101
        | Backbone::WideResNet50x2
        | Backbone::DenseNet121
        | Backbone::MobileNetV2
        | Backbone::EfficientNetB0
        | Backbone::EfficientNetLite0
        | Backbone::ConvNeXtTiny
        | Backbone::VitB16
        | Backbone::Wrn28x10
        | Backbone::Wrn34x10
        | Backbone::PreActResNet18 => &[3],
    }
}

fn entry(backbone: Backbone) -> BackboneEntry {
    let summary = match backbone {
        Backbone::AlexNet => "torchvision's AlexNet (Krizhevsky 2014)",
        Backbone::Vgg16Bn => "torchvision's VGG-16 with batch normalisation (Simonyan and Zisserman 2015)",
        Backbone::ResNet18 => "torchvision's ResNet-18 (He et al. 2016)",
        Backbone::ResNet34 => "torchvision's ResNet-34 (He et al. 2016)",
        Backbone::ResNet50 => "torchvision's ResNet-50 (He et al. 2016), stride in the 3×3 convolutions",
        Backbone::ResNet101 => "torchvision's ResNet-101 (He et al. 2016), stride in the 3×3 convolutions",
        Backbone::WideResNet50x2 => "torchvision's Wide ResNet-50-2 (Zagoruyko and Komodakis 2016)",
        Backbone::DenseNet121 => "torchvision's DenseNet-121 (Huang et al. 2017)",
        Backbone::MobileNetV2 => "torchvision's MobileNetV2 (Sandler et al. 2018)",
        Backbone::EfficientNetB0 => "torchvision's EfficientNet-B0 (Tan and Le 2019)",
        Backbone::EfficientNetLite0 => {
            "EfficientNet-Lite0 as in the Python package efficientnet_lite_pytorch; ImageNet weights brought by set-up"
        }
        Backbone::ConvNeXtTiny => "torchvision's ConvNeXt-Tiny (Liu et al. 2022)",
        Backbone::VitB16 => {
            "torchvision's ViT-B/16 (Dosovitskiy et al. 2021), for images whose sides are multiples of 16"
        }
        Backbone::Wrn28x10 => "RobustBench's Wide ResNet-28-10 for 32×32 images (Zagoruyko and Komodakis 2016)",
        Backbone::Wrn34x10 => "RobustBench's Wide ResNet-34-10 for 32×32 images (Zagoruyko and Komodakis 2016)",
        Backbone::PreActResNet18 => "RobustBench's pre-activation ResNet-18 for 32×32 images (He et al. 2016)",
        Backbone::ResNet18W16 => "ResNet-18's blocks at a quarter of the width with a small stem, for a CPU",
    };
    let (channels, classes) = COUNTED_AT;
    let trained = |tensor: &&ParameterShape| !tensor.name.contains("running_");
    BackboneEntry {
        name: backbone.name(),
        summary,
        parameters: backbone
            .state_dict(Stem::Standard, channels, classes)
            .iter()
            .filter(trained)
            .map(ParameterShape::values)
            .sum(),
        channels: input_channels(backbone),
        min_image_size: backbone.min_image_size(Stem::Standard),
        default_width: backbone.default_width(),
        image_size_unit: backbone.image_size_unit(),
        checkpoints: checkpoints().into_iter().filter(|entry| entry.backbone == backbone).collect(),
        min_image_size_with_cifar_stem: backbone.has_cifar_stem().then(|| backbone.min_image_size(Stem::Cifar)),
    }
}
