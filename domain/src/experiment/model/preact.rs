//! ResNet-18 with pre-activation for 32×32 images (He et al. 2016, arXiv 1603.05027), under the parameter names of RobustBench's model zoo.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// ResNet-18 with pre-activation in the form of Rice et al. 2020 (arXiv 2002.11569): a batch normalisation before the pooling, projections of what the
/// first normalisation of a block gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreActResNet {
    /// Channels of the stem and of the first stage.
    pub width: u32,
}

impl PreActResNet {
    /// Blocks of each stage.
    pub const BLOCKS: u32 = 2;

    /// Channels of each stage.
    fn widths(&self) -> [u32; 4] {
        [1, 2, 4, 8].map(|times| times * self.width)
    }
}

impl Architecture for PreActResNet {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        let mut inputs = self.width;
        list.convolution("conv1", inputs, channels, 3);
        for (stage, outputs) in (1..).zip(self.widths()) {
            for block in 0..Self::BLOCKS {
                let prefix = format!("layer{stage}.{block}");
                list.batch_norm(&format!("{prefix}.bn1"), inputs);
                list.convolution(&format!("{prefix}.conv1"), outputs, inputs, 3);
                list.batch_norm(&format!("{prefix}.bn2"), outputs);
                list.convolution(&format!("{prefix}.conv2"), outputs, outputs, 3);
                if inputs != outputs {
                    list.convolution(&format!("{prefix}.shortcut.0"), outputs, inputs, 1);
                }
                inputs = outputs;
            }
        }
        list.batch_norm("bn", inputs);
        list.linear("linear", classes, inputs);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["conv1."] },
            Stage { name: "layer1", prefixes: &["layer1."] },
            Stage { name: "layer2", prefixes: &["layer2."] },
            Stage { name: "layer3", prefixes: &["layer3."] },
            Stage { name: "layer4", prefixes: &["layer4.", "bn."] },
        ]
    }

    fn head(&self) -> &'static str {
        "linear"
    }

    fn min_image_size(&self) -> u32 {
        8
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        let mut inputs = self.width;
        work.convolution(inputs, image.channels, 3);
        for outputs in self.widths() {
            for _ in 0..Self::BLOCKS {
                if inputs != outputs {
                    work.halve();
                    work.convolution(outputs, inputs, 1);
                }
                work.convolution(outputs, inputs, 3);
                work.convolution(outputs, outputs, 3);
                inputs = outputs;
            }
        }
        work.total
    }
}
