//! EfficientNets (Tan and Le 2019, arXiv 1905.11946): the smallest as torchvision has it, and its form without squeeze-excitation.

use super::architecture::{Architecture, Stage};
use super::inverted::{InvertedBlock, InvertedStage, blocks};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// The smallest EfficientNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EfficientNet {
    /// torchvision's EfficientNet-B0.
    B0,
    /// EfficientNet-Lite0 under the names of the Python package `efficientnet_lite_pytorch`: ReLU6 instead of SiLU, no squeeze-excitation.
    Lite0,
}

/// Channels of the stem.
const STEM: u32 = 32;
/// Channels of the last convolution.
const LAST: u32 = 1280;

impl EfficientNet {
    const STAGES: [InvertedStage; 7] = [
        stage(1, 3, 1, 16, 1),
        stage(6, 3, 2, 24, 2),
        stage(6, 5, 2, 40, 2),
        stage(6, 3, 2, 80, 3),
        stage(6, 5, 1, 112, 3),
        stage(6, 5, 2, 192, 4),
        stage(6, 3, 1, 320, 1),
    ];

    /// Its blocks, from the input on.
    pub fn blocks(self) -> Vec<InvertedBlock> {
        blocks(&Self::STAGES, STEM)
    }

    fn block(self, list: &mut StateDict, block: &InvertedBlock) {
        match self {
            Self::B0 => {
                let prefix = format!("features.{}.{}.block", block.stage + 1, block.place);
                let depthwise = u32::from(block.expands());
                if block.expands() {
                    list.convolution(&format!("{prefix}.0.0"), block.hidden, block.inputs, 1);
                    list.batch_norm(&format!("{prefix}.0.1"), block.hidden);
                }
                list.convolution(&format!("{prefix}.{depthwise}.0"), block.hidden, 1, block.kernel);
                list.batch_norm(&format!("{prefix}.{depthwise}.1"), block.hidden);
                let squeezed = squeezed(block);
                list.biased_convolution(&format!("{prefix}.{}.fc1", depthwise + 1), squeezed, block.hidden, 1);
                list.biased_convolution(&format!("{prefix}.{}.fc2", depthwise + 1), block.hidden, squeezed, 1);
                list.convolution(&format!("{prefix}.{}.0", depthwise + 2), block.outputs, block.hidden, 1);
                list.batch_norm(&format!("{prefix}.{}.1", depthwise + 2), block.outputs);
            }
            Self::Lite0 => {
                let prefix = format!("_blocks.{}", block.number);
                if block.expands() {
                    list.convolution(&format!("{prefix}._expand_conv"), block.hidden, block.inputs, 1);
                    list.batch_norm(&format!("{prefix}._bn0"), block.hidden);
                }
                list.convolution(&format!("{prefix}._depthwise_conv"), block.hidden, 1, block.kernel);
                list.batch_norm(&format!("{prefix}._bn1"), block.hidden);
                list.convolution(&format!("{prefix}._project_conv"), block.outputs, block.hidden, 1);
                list.batch_norm(&format!("{prefix}._bn2"), block.outputs);
            }
        }
    }

    /// Names of the stem's and the last convolution and their normalisations.
    pub const fn ends(self) -> [[&'static str; 2]; 2] {
        match self {
            Self::B0 => [["features.0.0", "features.0.1"], ["features.8.0", "features.8.1"]],
            Self::Lite0 => [["_conv_stem", "_bn0"], ["_conv_head", "_bn1"]],
        }
    }
}

const fn stage(expansion: u32, kernel: u32, stride: u32, outputs: u32, blocks: u32) -> InvertedStage {
    InvertedStage { expansion, kernel, stride, outputs, blocks }
}

/// Width of the squeeze-excitation of a block.
const fn squeezed(block: &InvertedBlock) -> u32 {
    block.inputs / 4
}

impl Architecture for EfficientNet {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        let [stem, last] = self.ends();
        list.convolution(stem[0], STEM, channels, 3);
        list.batch_norm(stem[1], STEM);
        let mut inputs = STEM;
        for block in self.blocks() {
            self.block(&mut list, &block);
            inputs = block.outputs;
        }
        list.convolution(last[0], LAST, inputs, 1);
        list.batch_norm(last[1], LAST);
        list.linear(self.head(), classes, LAST);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        match self {
            Self::B0 => &[
                Stage { name: "stem", prefixes: &["features.0."] },
                Stage { name: "stage1", prefixes: &["features.1."] },
                Stage { name: "stage2", prefixes: &["features.2."] },
                Stage { name: "stage3", prefixes: &["features.3."] },
                Stage { name: "stage4", prefixes: &["features.4."] },
                Stage { name: "stage5", prefixes: &["features.5."] },
                Stage { name: "stage6", prefixes: &["features.6."] },
                Stage { name: "stage7", prefixes: &["features.7."] },
                Stage { name: "last", prefixes: &["features.8."] },
            ],
            Self::Lite0 => &[
                Stage { name: "stem", prefixes: &["_conv_stem.", "_bn0."] },
                Stage { name: "stage1", prefixes: &["_blocks.0."] },
                Stage { name: "stage2", prefixes: &["_blocks.1.", "_blocks.2."] },
                Stage { name: "stage3", prefixes: &["_blocks.3.", "_blocks.4."] },
                Stage { name: "stage4", prefixes: &["_blocks.5.", "_blocks.6.", "_blocks.7."] },
                Stage { name: "stage5", prefixes: &["_blocks.8.", "_blocks.9.", "_blocks.10."] },
                Stage { name: "stage6", prefixes: &["_blocks.11.", "_blocks.12.", "_blocks.13.", "_blocks.14."] },
                Stage { name: "stage7", prefixes: &["_blocks.15."] },
                Stage { name: "last", prefixes: &["_conv_head.", "_bn1."] },
            ],
        }
    }

    fn head(&self) -> &'static str {
        match self {
            Self::B0 => "classifier.1",
            Self::Lite0 => "_fc",
        }
    }

    fn min_image_size(&self) -> u32 {
        32
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        work.halve();
        work.convolution(STEM, image.channels, 3);
        let mut inputs = STEM;
        for block in self.blocks() {
            block.work(&mut work);
            if *self == Self::B0 {
                work.linear(squeezed(&block), block.hidden);
                work.linear(block.hidden, squeezed(&block));
            }
            inputs = block.outputs;
        }
        work.convolution(LAST, inputs, 1);
        work.total
    }
}
