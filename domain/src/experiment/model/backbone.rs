//! The architectures there are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::alexnet::AlexNet;
use super::architecture::{Architecture, Stage};
use super::convnext::ConvNeXtLayout;
use super::densenet::DenseNetLayout;
use super::efficientnet::EfficientNet;
use super::mobilenet::MobileNetV2;
use super::preact::PreActResNet;
use super::resnet::{ResNetLayout, ResNetStem, ResidualBlock};
use super::state_dict::ParameterShape;
use super::vgg::Vgg;
use super::vit::VitB16;
use super::wide::WideResNetLayout;

/// Architectures, under the parameter names of torchvision or, where said, of RobustBench's model zoo. Parameters are counted at 1,000 classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Backbone {
    /// AlexNet (Krizhevsky 2014, arXiv 1404.5997): 61.1 M parameters.
    #[serde(rename = "alexnet")]
    AlexNet,
    /// VGG-16 (Simonyan and Zisserman 2015, arXiv 1409.1556) with batch normalisation: 138.4 M parameters.
    #[serde(rename = "vgg16_bn")]
    Vgg16Bn,
    /// ResNet-18 (He et al. 2016, arXiv 1512.03385): 11.7 M parameters.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet-34: 21.8 M parameters.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet-50 with the stride in the 3×3 convolutions: 25.6 M parameters.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// ResNet-101 with the stride in the 3×3 convolutions: 44.5 M parameters.
    #[serde(rename = "resnet101")]
    ResNet101,
    /// ResNet-50 with 3×3 convolutions of twice the width (Zagoruyko and Komodakis 2016, arXiv 1605.07146): 68.9 M parameters.
    #[serde(rename = "wide_resnet50_2")]
    WideResNet50x2,
    /// ResNet-18's blocks at a quarter of the width, with a 3×3 stem of stride 2 and no pooling: 0.7 M parameters, for 32×32 images on a CPU.
    #[serde(rename = "resnet18-w16")]
    ResNet18W16,
    /// DenseNet-121 (Huang et al. 2017, arXiv 1608.06993): 8.0 M parameters.
    #[serde(rename = "densenet121")]
    DenseNet121,
    /// MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381): 3.5 M parameters.
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
    /// EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946): 5.3 M parameters.
    #[serde(rename = "efficientnet_b0")]
    EfficientNetB0,
    /// EfficientNet-Lite0, under the names of the Python package `efficientnet_lite_pytorch`: 4.7 M parameters.
    #[serde(rename = "efficientnet_lite0")]
    EfficientNetLite0,
    /// ConvNeXt-Tiny (Liu et al. 2022, arXiv 2201.03545): 28.6 M parameters.
    #[serde(rename = "convnext_tiny")]
    ConvNeXtTiny,
    /// ViT-B/16 (Dosovitskiy et al. 2021, arXiv 2010.11929): 86.6 M parameters.
    #[serde(rename = "vit_b_16")]
    VitB16,
    /// Wide ResNet-28-10 for 32×32 images (arXiv 1605.07146), as in RobustBench's model zoo: 37.1 M parameters.
    #[serde(rename = "wrn-28-10")]
    Wrn28x10,
    /// Wide ResNet-34-10 for 32×32 images, as in RobustBench's model zoo: 46.8 M parameters.
    #[serde(rename = "wrn-34-10")]
    Wrn34x10,
    /// ResNet-18 with pre-activation for 32×32 images (He et al. 2016, arXiv 1603.05027), as in RobustBench's model zoo: 11.7 M parameters.
    #[serde(rename = "preact-resnet18")]
    PreActResNet18,
}

impl Backbone {
    /// All backbones, in the order of the catalogue.
    pub const ALL: [Self; 17] = [
        Self::ResNet18W16,
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
        Self::WideResNet50x2,
        Self::AlexNet,
        Self::Vgg16Bn,
        Self::DenseNet121,
        Self::MobileNetV2,
        Self::EfficientNetB0,
        Self::EfficientNetLite0,
        Self::ConvNeXtTiny,
        Self::VitB16,
        Self::PreActResNet18,
        Self::Wrn28x10,
        Self::Wrn34x10,
    ];

    /// The name in sweep files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlexNet => "alexnet",
            Self::Vgg16Bn => "vgg16_bn",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
            Self::WideResNet50x2 => "wide_resnet50_2",
            Self::ResNet18W16 => "resnet18-w16",
            Self::DenseNet121 => "densenet121",
            Self::MobileNetV2 => "mobilenet_v2",
            Self::EfficientNetB0 => "efficientnet_b0",
            Self::EfficientNetLite0 => "efficientnet_lite0",
            Self::ConvNeXtTiny => "convnext_tiny",
            Self::VitB16 => "vit_b_16",
            Self::Wrn28x10 => "wrn-28-10",
            Self::Wrn34x10 => "wrn-34-10",
            Self::PreActResNet18 => "preact-resnet18",
        }
    }

    /// How it is laid out in its published width. Only where [`Self::has_cifar_stem`] does the stem matter.
    pub fn family(self, stem: Stem) -> Family {
        use ResidualBlock::{Basic, Bottleneck};
        let resnet = |blocks, block| Family::ResNet(ResNetLayout { stem: stem.of_resnet(), width: 64, blocks, block });
        match self {
            Self::AlexNet => Family::AlexNet(AlexNet),
            Self::Vgg16Bn => Family::Vgg(Vgg),
            Self::ResNet18 => resnet([2, 2, 2, 2], Basic),
            Self::ResNet34 => resnet([3, 4, 6, 3], Basic),
            Self::ResNet50 => resnet([3, 4, 6, 3], Bottleneck { widening: 1 }),
            Self::ResNet101 => resnet([3, 4, 23, 3], Bottleneck { widening: 1 }),
            Self::WideResNet50x2 => resnet([3, 4, 6, 3], Bottleneck { widening: 2 }),
            Self::ResNet18W16 => {
                Family::ResNet(ResNetLayout { stem: ResNetStem::Small, width: 16, blocks: [2, 2, 2, 2], block: Basic })
            }
            Self::DenseNet121 => Family::DenseNet(DenseNetLayout { blocks: [6, 12, 24, 16] }),
            Self::MobileNetV2 => Family::MobileNetV2(MobileNetV2),
            Self::EfficientNetB0 => Family::EfficientNet(EfficientNet::B0),
            Self::EfficientNetLite0 => Family::EfficientNet(EfficientNet::Lite0),
            Self::ConvNeXtTiny => Family::ConvNeXt(ConvNeXtLayout::TINY),
            Self::VitB16 => Family::VisionTransformer(VitB16),
            Self::Wrn28x10 => Family::WideResNet(WideResNetLayout { blocks: 4, widening: 10 }),
            Self::Wrn34x10 => Family::WideResNet(WideResNetLayout { blocks: 5, widening: 10 }),
            Self::PreActResNet18 => Family::PreActResNet(PreActResNet { width: 64 }),
        }
    }

    /// Whether it can have [`Stem::Cifar`]: torchvision's ResNets can.
    pub const fn has_cifar_stem(self) -> bool {
        matches!(self, Self::ResNet18 | Self::ResNet34 | Self::ResNet50 | Self::ResNet101 | Self::WideResNet50x2)
    }

    /// Smallest side of an image it takes, in pixels: below, a pooling has no whole window left, or the strides leave less than one pixel.
    pub fn min_image_size(self, stem: Stem) -> u32 {
        self.family(stem).architecture().min_image_size()
    }

    /// Names and shapes of all tensors of its state dict in its published width for so many input channels and classes, in the order of the published
    /// one; `num_batches_tracked` left out.
    pub fn state_dict(self, stem: Stem, channels: u32, classes: u32) -> Vec<ParameterShape> {
        self.family(stem).architecture().state_dict(channels, classes)
    }

    /// What a side of its images must be a multiple of, in pixels.
    pub const fn image_size_unit(self) -> u32 {
        match self {
            Self::VitB16 => VitB16::PATCH,
            _ => 1,
        }
    }

    /// Whether a checkpoint's tensor of shape `found` can be this parameter: of the same shape, or position embeddings for images of another size.
    pub fn accepts(self, parameter: &ParameterShape, found: &[u64]) -> bool {
        let positions = || self == Self::VitB16 && parameter.name == VitB16::POSITIONS;
        match found {
            [1, rows, width] if positions() => *width == u64::from(VitB16::WIDTH) && VitB16::grid(*rows).is_some(),
            _ => parameter.shape == found,
        }
    }

    /// The stages between the normalisation and the head, from the input on. Every parameter outside the head belongs to one of them.
    pub fn stages(self) -> &'static [Stage] {
        self.family(Stem::Standard).architecture().stages()
    }

    /// Prefix of the parameters of the classification head, without the dot.
    pub fn head(self) -> &'static str {
        self.family(Stem::Standard).architecture().head()
    }

    /// Trained parameters outside the head, for images of three channels: the size of the network whatever its data. `width` is that of the first stage,
    /// where it is not the published one.
    pub fn parameters_before_the_head(self, stem: Stem, width: Option<u32>) -> u64 {
        let family = self.family(stem);
        let family = width.map_or(family, |width| family.of_width(width));
        let head = format!("{}.", self.head());
        let trained = |tensor: &&ParameterShape| !tensor.name.contains("running_") && !tensor.name.starts_with(&head);
        family.architecture().state_dict(3, 1).iter().filter(trained).map(ParameterShape::values).sum()
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// First layers of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// The architecture's own.
    Standard,
    /// 3×3 convolution of stride 1 without pooling, for images of about 32×32 pixels.
    Cifar,
}

impl Stem {
    const fn of_resnet(self) -> ResNetStem {
        match self {
            Self::Standard => ResNetStem::ImageNet,
            Self::Cifar => ResNetStem::Cifar,
        }
    }
}

/// Architectures of one plan, with what tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// torchvision's AlexNet.
    AlexNet(AlexNet),
    /// torchvision's VGG nets.
    Vgg(Vgg),
    /// torchvision's residual nets.
    ResNet(ResNetLayout),
    /// torchvision's densely connected nets.
    DenseNet(DenseNetLayout),
    /// torchvision's MobileNetV2.
    MobileNetV2(MobileNetV2),
    /// EfficientNets.
    EfficientNet(EfficientNet),
    /// torchvision's ConvNeXt nets.
    ConvNeXt(ConvNeXtLayout),
    /// torchvision's vision transformers.
    VisionTransformer(VitB16),
    /// RobustBench's wide residual nets.
    WideResNet(WideResNetLayout),
    /// RobustBench's residual net with pre-activation.
    PreActResNet(PreActResNet),
}

impl Family {
    pub(super) fn architecture(&self) -> &dyn Architecture {
        match self {
            Self::AlexNet(layout) => layout,
            Self::Vgg(layout) => layout,
            Self::ResNet(layout) => layout,
            Self::DenseNet(layout) => layout,
            Self::MobileNetV2(layout) => layout,
            Self::EfficientNet(layout) => layout,
            Self::ConvNeXt(layout) => layout,
            Self::VisionTransformer(layout) => layout,
            Self::WideResNet(layout) => layout,
            Self::PreActResNet(layout) => layout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::ImageShape;

    fn multiply_adds(backbone: Backbone, stem: Stem, image: ImageShape) -> u64 {
        backbone.family(stem).architecture().multiply_adds(image)
    }

    fn parameters(backbone: Backbone, channels: u32, classes: u32) -> u64 {
        let trained = |p: &&ParameterShape| !p.name.contains("running_");
        let list = backbone.state_dict(Stem::Standard, channels, classes);
        list.iter().filter(trained).map(|p| p.shape.iter().product::<u64>()).sum()
    }

    #[test]
    fn every_backbone_has_as_many_parameters_as_published() {
        // torchvision's documentation of its weights, `num_params`.
        let published = [
            (Backbone::AlexNet, 61_100_840),
            (Backbone::Vgg16Bn, 138_365_992),
            (Backbone::ResNet18, 11_689_512),
            (Backbone::ResNet34, 21_797_672),
            (Backbone::ResNet50, 25_557_032),
            (Backbone::ResNet101, 44_549_160),
            (Backbone::WideResNet50x2, 68_883_240),
            (Backbone::DenseNet121, 7_978_856),
            (Backbone::MobileNetV2, 3_504_872),
            (Backbone::EfficientNetB0, 5_288_548),
            (Backbone::ConvNeXtTiny, 28_589_128),
            (Backbone::VitB16, 86_567_656),
            // Of the Python package `efficientnet_lite_pytorch`.
            (Backbone::EfficientNetLite0, 4_652_008),
        ];
        for (backbone, count) in published {
            assert_eq!(parameters(backbone, 3, 1000), count, "{backbone}");
        }
    }

    #[test]
    fn the_size_of_a_network_is_that_of_everything_before_its_head() {
        // As published, less a head of 1,000 classes with biases.
        let published = [(Backbone::ResNet18, 11_689_512, 512), (Backbone::ResNet50, 25_557_032, 2048)];
        for (backbone, count, features) in published {
            assert_eq!(
                backbone.parameters_before_the_head(Stem::Standard, None),
                count - 1000 * (features + 1),
                "{backbone}"
            );
        }
    }

    #[test]
    fn the_nets_for_cifar_have_as_many_parameters_as_those_of_robustbench() {
        let published = [
            (Backbone::Wrn28x10, 36_479_194),
            (Backbone::Wrn34x10, 46_160_474),
            (Backbone::PreActResNet18, 11_172_170),
        ];
        for (backbone, count) in published {
            assert_eq!(parameters(backbone, 3, 10), count, "{backbone}");
        }
    }

    #[test]
    fn the_narrow_net_is_about_sixteen_times_smaller() {
        let count = parameters(Backbone::ResNet18W16, 1, 26);
        assert!((690_000..720_000).contains(&count), "{count}");
    }

    #[test]
    fn every_parameter_belongs_to_one_stage_or_to_the_head() {
        for backbone in Backbone::ALL {
            let head = format!("{}.", backbone.head());
            for parameter in backbone.state_dict(Stem::Standard, 3, 10) {
                let name = &parameter.name;
                let owns = |stage: &&Stage| stage.prefixes.iter().any(|prefix| name.starts_with(prefix));
                let owners = backbone.stages().iter().filter(owns).count() + usize::from(name.starts_with(&head));
                assert_eq!(owners, 1, "{backbone}: {name}");
            }
        }
    }

    #[test]
    fn multiply_adds_at_224_pixels_are_the_published_ones() {
        // torchvision's documentation of its weights, in units of 10⁹ (it counts multiply-adds as one).
        let published = [
            (Backbone::AlexNet, 0.71),
            (Backbone::Vgg16Bn, 15.47),
            (Backbone::ResNet18, 1.81),
            (Backbone::ResNet34, 3.66),
            (Backbone::ResNet50, 4.09),
            (Backbone::ResNet101, 7.80),
            (Backbone::WideResNet50x2, 11.40),
            (Backbone::DenseNet121, 2.83),
            (Backbone::MobileNetV2, 0.300),
            (Backbone::EfficientNetB0, 0.386),
            (Backbone::ConvNeXtTiny, 4.456),
            (Backbone::VitB16, 17.564),
        ];
        let image = ImageShape { channels: 3, height: 224, width: 224 };
        for (backbone, billions) in published {
            let count = multiply_adds(backbone, Stem::Standard, image) as f64 / 1e9;
            assert!((count / billions - 1.0).abs() < 0.01, "{backbone}: {count}");
        }
    }

    #[test]
    fn a_cifar_stem_keeps_the_resolution() {
        let image = ImageShape { channels: 3, height: 32, width: 32 };
        let [standard, cifar] =
            [Stem::Standard, Stem::Cifar].map(|stem| multiply_adds(Backbone::ResNet18, stem, image));
        // Published for ResNet-18 in this form: 0.56·10⁹.
        assert!((cifar as f64 / 0.556e9 - 1.0).abs() < 0.01, "{cifar}");
        assert!(cifar > 14 * standard);
        let conv1 = |stem| Backbone::ResNet18.state_dict(stem, 3, 10).remove(0).shape;
        assert_eq!(conv1(Stem::Cifar), [64, 3, 3, 3]);
        assert_eq!(conv1(Stem::Standard), [64, 3, 7, 7]);
    }
}
