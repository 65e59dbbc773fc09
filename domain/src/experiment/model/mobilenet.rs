//! MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), as torchvision has it.

use super::architecture::{Architecture, Stage};
use super::inverted::{InvertedBlock, InvertedStage, blocks};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// MobileNetV2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MobileNetV2;

/// Channels of the stem.
const STEM: u32 = 32;
/// Channels of the last convolution.
const LAST: u32 = 1280;

impl MobileNetV2 {
    const STAGES: [InvertedStage; 7] = [
        stage(1, 1, 16, 1),
        stage(6, 2, 24, 2),
        stage(6, 2, 32, 3),
        stage(6, 2, 64, 4),
        stage(6, 1, 96, 3),
        stage(6, 2, 160, 3),
        stage(6, 1, 320, 1),
    ];

    /// Its blocks, from the input on. Block n is `features.{n + 1}`.
    pub fn blocks(self) -> Vec<InvertedBlock> {
        blocks(&Self::STAGES, STEM)
    }

    /// Number within `features` of the last convolution.
    pub fn last(self) -> usize {
        self.blocks().len() + 1
    }
}

const fn stage(expansion: u32, stride: u32, outputs: u32, blocks: u32) -> InvertedStage {
    InvertedStage { expansion, kernel: 3, stride, outputs, blocks }
}

impl Architecture for MobileNetV2 {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.convolution("features.0.0", STEM, channels, 3);
        list.batch_norm("features.0.1", STEM);
        let mut inputs = STEM;
        for block in self.blocks() {
            let prefix = format!("features.{}.conv", block.number + 1);
            let depthwise = u32::from(block.expands());
            if block.expands() {
                list.convolution(&format!("{prefix}.0.0"), block.hidden, block.inputs, 1);
                list.batch_norm(&format!("{prefix}.0.1"), block.hidden);
            }
            list.convolution(&format!("{prefix}.{depthwise}.0"), block.hidden, 1, block.kernel);
            list.batch_norm(&format!("{prefix}.{depthwise}.1"), block.hidden);
            list.convolution(&format!("{prefix}.{}", depthwise + 1), block.outputs, block.hidden, 1);
            list.batch_norm(&format!("{prefix}.{}", depthwise + 2), block.outputs);
            inputs = block.outputs;
        }
        let last = format!("features.{}", self.last());
        list.convolution(&format!("{last}.0"), LAST, inputs, 1);
        list.batch_norm(&format!("{last}.1"), LAST);
        list.linear("classifier.1", classes, LAST);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["features.0."] },
            Stage { name: "stage1", prefixes: &["features.1."] },
            Stage { name: "stage2", prefixes: &["features.2.", "features.3."] },
            Stage { name: "stage3", prefixes: &["features.4.", "features.5.", "features.6."] },
            Stage { name: "stage4", prefixes: &["features.7.", "features.8.", "features.9.", "features.10."] },
            Stage { name: "stage5", prefixes: &["features.11.", "features.12.", "features.13."] },
            Stage { name: "stage6", prefixes: &["features.14.", "features.15.", "features.16."] },
            Stage { name: "stage7", prefixes: &["features.17."] },
            Stage { name: "last", prefixes: &["features.18."] },
        ]
    }

    fn head(&self) -> &'static str {
        "classifier.1"
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
            inputs = block.outputs;
        }
        work.convolution(LAST, inputs, 1);
        work.total
    }
}
