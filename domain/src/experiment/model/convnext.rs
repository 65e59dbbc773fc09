//! ConvNeXt (Liu et al. 2022, arXiv 2201.03545), as torchvision has it.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// A ConvNeXt: four stages of blocks of a 7×7 depthwise convolution and two fully connected layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvNeXtLayout {
    /// Channels of each stage.
    pub widths: [u32; 4],
    /// Blocks of each stage.
    pub blocks: [u32; 4],
}

impl ConvNeXtLayout {
    /// ConvNeXt-Tiny.
    pub const TINY: Self = Self { widths: [96, 192, 384, 768], blocks: [3, 3, 9, 3] };
}

/// Side and stride of the stem's kernel.
const PATCH: u32 = 4;

impl Architecture for ConvNeXtLayout {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        let [first, .., last] = self.widths;
        list.biased_convolution("features.0.0", first, channels, PATCH);
        list.layer_norm("features.0.1", first);
        let mut inputs = first;
        for (stage, (width, blocks)) in self.widths.into_iter().zip(self.blocks).enumerate() {
            if stage > 0 {
                list.layer_norm(&format!("features.{}.0", 2 * stage), inputs);
                list.biased_convolution(&format!("features.{}.1", 2 * stage), width, inputs, 2);
            }
            for block in 0..blocks {
                let prefix = format!("features.{}.{block}", 2 * stage + 1);
                list.push(format!("{prefix}.layer_scale"), &[width, 1, 1]);
                list.biased_convolution(&format!("{prefix}.block.0"), width, 1, 7);
                list.layer_norm(&format!("{prefix}.block.2"), width);
                list.linear(&format!("{prefix}.block.3"), 4 * width, width);
                list.linear(&format!("{prefix}.block.5"), width, 4 * width);
            }
            inputs = width;
        }
        list.layer_norm("classifier.0", last);
        list.linear("classifier.2", classes, last);
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["features.0."] },
            Stage { name: "stage1", prefixes: &["features.1."] },
            Stage { name: "stage2", prefixes: &["features.2.", "features.3."] },
            Stage { name: "stage3", prefixes: &["features.4.", "features.5."] },
            Stage { name: "stage4", prefixes: &["features.6.", "features.7.", "classifier.0."] },
        ]
    }

    fn head(&self) -> &'static str {
        "classifier.2"
    }

    fn min_image_size(&self) -> u32 {
        32
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        let mut inputs = image.channels;
        for (stage, (width, blocks)) in self.widths.into_iter().zip(self.blocks).enumerate() {
            let patch = if stage == 0 { PATCH } else { 2 };
            work.slide(patch.into(), patch.into(), 0);
            work.convolution(width, inputs, patch);
            for _ in 0..blocks {
                work.convolution(width, 1, 7);
                work.convolution(8 * width, width, 1);
            }
            inputs = width;
        }
        work.total
    }
}
