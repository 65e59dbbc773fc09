//! Wide residual nets for 32×32 images (Zagoruyko and Komodakis 2016, arXiv 1605.07146), under the parameter names of RobustBench's model zoo.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// A wide residual net of depth 6·`blocks` + 4: three stages of blocks with pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WideResNetLayout {
    /// Blocks of each stage.
    pub blocks: u32,
    /// Width of the stages in multiples of 16, 32 and 64 channels.
    pub widening: u32,
}

/// Channels of the stem.
const STEM: u32 = 16;

impl WideResNetLayout {
    /// Channels of each stage.
    fn widths(&self) -> [u32; 3] {
        [16, 32, 64].map(|width| width * self.widening)
    }
}

impl Architecture for WideResNetLayout {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.convolution("conv1", STEM, channels, 3);
        let mut inputs = STEM;
        for (stage, outputs) in (1..).zip(self.widths()) {
            for layer in 0..self.blocks {
                let prefix = format!("block{stage}.layer.{layer}");
                list.batch_norm(&format!("{prefix}.bn1"), inputs);
                list.convolution(&format!("{prefix}.conv1"), outputs, inputs, 3);
                list.batch_norm(&format!("{prefix}.bn2"), outputs);
                list.convolution(&format!("{prefix}.conv2"), outputs, outputs, 3);
                if layer == 0 {
                    list.convolution(&format!("{prefix}.convShortcut"), outputs, inputs, 1);
                }
                inputs = outputs;
            }
        }
        list.batch_norm("bn1", inputs);
        list.linear("fc", classes, inputs);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["conv1."] },
            Stage { name: "block1", prefixes: &["block1."] },
            Stage { name: "block2", prefixes: &["block2."] },
            Stage { name: "block3", prefixes: &["block3.", "bn1."] },
        ]
    }

    fn head(&self) -> &'static str {
        "fc"
    }

    fn min_image_size(&self) -> u32 {
        4
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        work.convolution(STEM, image.channels, 3);
        let mut inputs = STEM;
        for (stage, outputs) in self.widths().into_iter().enumerate() {
            for layer in 0..self.blocks {
                if layer == 0 {
                    if stage > 0 {
                        work.halve();
                    }
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
