//! The width of residual nets: the capacity of one architecture.

use std::ops::RangeInclusive;

use super::backbone::{Backbone, Family};
use super::preact::PreActResNet;
use super::resnet::ResNetLayout;

impl Backbone {
    /// Channels of the first stage that can be chosen where the backbone has a width.
    pub const WIDTHS: RangeInclusive<u32> = 8..=512;

    /// What a width must be a multiple of, in channels.
    pub const WIDTH_UNIT: u32 = 8;

    /// Channels of the first stage in the published form, where another number can be chosen: that of residual nets. The later stages have two, four and
    /// eight times as many.
    pub const fn default_width(self) -> Option<u32> {
        match self {
            Self::ResNet18
            | Self::ResNet34
            | Self::ResNet50
            | Self::ResNet101
            | Self::WideResNet50x2
            | Self::PreActResNet18 => Some(64),
            Self::ResNet18W16 => Some(16),
            Self::AlexNet
            | Self::Vgg16Bn
            | Self::DenseNet121
            | Self::MobileNetV2
            | Self::EfficientNetB0
            | Self::EfficientNetLite0
            | Self::ConvNeXtTiny
            | Self::VitB16
            | Self::Wrn28x10
            | Self::Wrn34x10 => None,
        }
    }

    /// Whether it can have a first stage of so many channels.
    pub fn takes_width(self, width: u32) -> bool {
        self.default_width().is_some() && Self::WIDTHS.contains(&width) && width.is_multiple_of(Self::WIDTH_UNIT)
    }

    /// What it is called at a width that was chosen, such as `resnet18-width32`.
    pub fn name_at_width(self, width: Option<u32>) -> String {
        width.map_or_else(|| self.name().to_owned(), |width| format!("{self}-width{width}"))
    }
}

impl Family {
    /// The same net with a first stage of so many channels; one without a choice stays as it is.
    #[must_use]
    pub(super) fn of_width(self, width: u32) -> Self {
        match self {
            Self::ResNet(layout) => Self::ResNet(ResNetLayout { width, ..layout }),
            Self::PreActResNet(_) => Self::PreActResNet(PreActResNet { width }),
            Self::AlexNet(_)
            | Self::Vgg(_)
            | Self::DenseNet(_)
            | Self::MobileNetV2(_)
            | Self::EfficientNet(_)
            | Self::ConvNeXt(_)
            | Self::VisionTransformer(_)
            | Self::WideResNet(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ModelSpec, Normalize, Stem};
    use super::*;
    use crate::experiment::ImageShape;

    fn spec(backbone: Backbone, width: Option<u32>) -> ModelSpec {
        let normalize = Normalize { mean: vec![0.5; 3], std: vec![0.5; 3] };
        ModelSpec { backbone, stem: Stem::Standard, width, channels: 3, classes: 10, normalize }
    }

    fn with_width() -> impl Iterator<Item = (Backbone, u32)> {
        Backbone::ALL.into_iter().filter_map(|backbone| Some((backbone, backbone.default_width()?)))
    }

    #[test]
    fn the_default_width_is_that_of_the_published_form() {
        for (backbone, width) in with_width() {
            assert!(backbone.takes_width(width), "{backbone}");
            let [published, chosen] = [None, Some(width)].map(|width| spec(backbone, width));
            assert_eq!(published.state_dict(), chosen.state_dict(), "{backbone}");
            assert_eq!(published.state_dict()[0].shape[0], u64::from(width), "{backbone}");
        }
        assert_eq!(with_width().count(), 7);
    }

    #[test]
    fn the_work_and_the_parameters_of_a_net_grow_with_the_square_of_its_width() {
        let image = ImageShape { channels: 3, height: 64, width: 64 };
        for (backbone, width) in with_width() {
            let [narrow, wide] = [width, 2 * width].map(|width| spec(backbone, Some(width)));
            // The stem's inputs, the normalisations and the head grow with the width alone.
            let work = wide.multiply_adds(image) as f64 / narrow.multiply_adds(image) as f64;
            assert!((3.4..4.0).contains(&work), "{backbone}: {work}");
            let count = |spec: &ModelSpec| spec.state_dict().iter().map(|tensor| tensor.values()).sum::<u64>() as f64;
            let parameters = count(&wide) / count(&narrow);
            assert!((3.8..4.0).contains(&parameters), "{backbone}: {parameters}");
        }
    }

    #[test]
    fn the_narrow_net_for_cpus_is_no_width_of_resnet18_because_its_stem_is_another() {
        let [narrow, own] = [spec(Backbone::ResNet18, Some(16)), spec(Backbone::ResNet18W16, None)];
        let shapes = |spec: &ModelSpec| spec.state_dict().into_iter().map(|tensor| tensor.shape).collect::<Vec<_>>();
        assert_eq!(shapes(&narrow)[1..], shapes(&own)[1..]);
        assert_eq!([&shapes(&narrow)[0], &shapes(&own)[0]], [&[16, 3, 7, 7], &[16, 3, 3, 3]]);
    }

    #[test]
    fn widths_are_multiples_of_eight_up_to_512_of_residual_nets() {
        let taken = |width: &u32| Backbone::ResNet50.takes_width(*width);
        assert!([8, 32, 72, 512].iter().all(taken));
        assert!(![0, 4, 12, 65, 520, u32::MAX].iter().any(taken));
        assert!(!Backbone::AlexNet.takes_width(64));
    }
}
