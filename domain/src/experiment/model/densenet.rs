//! Densely connected nets (Huang et al. 2017, arXiv 1608.06993), as torchvision has them.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// A densely connected net: in a block each layer takes the outputs of all layers before it; a transition halves channels and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseNetLayout {
    /// Layers of each block.
    pub blocks: [u32; 4],
}

/// Channels of the stem.
const STEM: u32 = 64;
/// Channels that a layer adds.
const GROWTH: u32 = 32;
/// Outputs of a layer's 1×1 convolution.
const BOTTLENECK: u32 = 4 * GROWTH;

impl DenseNetLayout {
    /// Channels that each block takes, and those that the last one gives.
    fn widths(&self) -> ([u32; 4], u32) {
        let mut width = STEM;
        let mut before = [0; 4];
        for (number, layers) in self.blocks.into_iter().enumerate() {
            width = if number == 0 { width } else { width / 2 };
            before[number] = width;
            width += layers * GROWTH;
        }
        (before, width)
    }
}

impl Architecture for DenseNetLayout {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.convolution("features.conv0", STEM, channels, 7);
        list.batch_norm("features.norm0", STEM);
        let (before, last) = self.widths();
        for (block, layers) in (0..).zip(self.blocks) {
            let mut width = before[block];
            let block = block + 1;
            for layer in 1..=layers {
                let prefix = format!("features.denseblock{block}.denselayer{layer}");
                list.batch_norm(&format!("{prefix}.norm1"), width);
                list.convolution(&format!("{prefix}.conv1"), BOTTLENECK, width, 1);
                list.batch_norm(&format!("{prefix}.norm2"), BOTTLENECK);
                list.convolution(&format!("{prefix}.conv2"), GROWTH, BOTTLENECK, 3);
                width += GROWTH;
            }
            if block < self.blocks.len() {
                list.batch_norm(&format!("features.transition{block}.norm"), width);
                list.convolution(&format!("features.transition{block}.conv"), width / 2, width, 1);
            }
        }
        list.batch_norm("features.norm5", last);
        list.linear("classifier", classes, last);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["features.conv0.", "features.norm0."] },
            Stage { name: "denseblock1", prefixes: &["features.denseblock1.", "features.transition1."] },
            Stage { name: "denseblock2", prefixes: &["features.denseblock2.", "features.transition2."] },
            Stage { name: "denseblock3", prefixes: &["features.denseblock3.", "features.transition3."] },
            Stage { name: "denseblock4", prefixes: &["features.denseblock4.", "features.norm5."] },
        ]
    }

    fn head(&self) -> &'static str {
        "classifier"
    }

    fn min_image_size(&self) -> u32 {
        // The stem leaves 8 pixels of 29, three poolings without padding leave one of 8.
        29
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        work.halve();
        work.convolution(STEM, image.channels, 7);
        work.halve();
        let (before, _) = self.widths();
        for (number, (layers, mut width)) in self.blocks.into_iter().zip(before).enumerate() {
            for _ in 0..layers {
                work.convolution(BOTTLENECK, width, 1);
                work.convolution(GROWTH, BOTTLENECK, 3);
                width += GROWTH;
            }
            if number + 1 < self.blocks.len() {
                work.convolution(width / 2, width, 1);
                work.slide(2, 2, 0);
            }
        }
        work.total
    }
}
