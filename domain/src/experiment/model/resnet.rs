//! Residual nets (He et al. 2016, arXiv 1512.03385), as torchvision has them.

use super::architecture::{Architecture, Stage};
use super::state_dict::{ParameterShape, StateDict};
use super::work::Work;
use crate::experiment::ImageShape;

/// A residual net: four stages, each of twice the width of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNetLayout {
    /// First layers.
    pub stem: ResNetStem,
    /// Channels of the stem, and width of the first stage.
    pub width: u32,
    /// Blocks of each stage.
    pub blocks: [u32; 4],
    /// What a block is made of.
    pub block: ResidualBlock,
}

/// First layers of a residual net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResNetStem {
    /// 7×7 convolution of stride 2, then 3×3 max-pooling of stride 2.
    ImageNet,
    /// 3×3 convolution of stride 2.
    Small,
    /// 3×3 convolution of stride 1.
    Cifar,
}

impl ResNetStem {
    /// Side of the convolution's kernel, in pixels.
    pub const fn kernel_size(self) -> u32 {
        match self {
            Self::ImageNet => 7,
            Self::Small | Self::Cifar => 3,
        }
    }

    /// Stride of the convolution.
    pub const fn stride(self) -> u32 {
        match self {
            Self::ImageNet | Self::Small => 2,
            Self::Cifar => 1,
        }
    }

    /// Whether a pooling of stride 2 follows.
    pub const fn pools(self) -> bool {
        matches!(self, Self::ImageNet)
    }
}

/// What lies beside a shortcut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResidualBlock {
    /// Two 3×3 convolutions.
    Basic,
    /// A 1×1, a 3×3 and a 1×1 convolution; the last has four times the stage's width. A stride is in the 3×3 convolution.
    Bottleneck {
        /// Width of the first two convolutions in widths of the stage.
        widening: u32,
    },
}

impl ResidualBlock {
    /// Outputs, inputs and kernel size of its convolutions, in a stage of this width.
    fn convolutions(self, width: u32, inputs: u32) -> Vec<(u32, u32, u32)> {
        match self {
            Self::Basic => vec![(width, inputs, 3), (width, width, 3)],
            Self::Bottleneck { widening } => {
                let inner = width * widening;
                vec![(inner, inputs, 1), (inner, inner, 3), (4 * width, inner, 1)]
            }
        }
    }

    const fn outputs(self, width: u32) -> u32 {
        match self {
            Self::Basic => width,
            Self::Bottleneck { .. } => 4 * width,
        }
    }

    /// Number, counted from 0, of the convolution that has the stride.
    const fn strided(self) -> usize {
        match self {
            Self::Basic => 0,
            Self::Bottleneck { .. } => 1,
        }
    }
}

/// A block within its net.
struct BlockPlace {
    stage: usize,
    number: u32,
    width: u32,
    inputs: u32,
    projects: bool,
}

impl ResNetLayout {
    /// Whether the shortcut of a block (stage and block counted from 0) is a projection.
    pub fn projects(&self, stage: usize, block: u32) -> bool {
        block == 0 && (stage > 0 || self.block.outputs(self.width) != self.width)
    }

    fn each_block(&self) -> Vec<BlockPlace> {
        let mut inputs = self.width;
        let mut list = Vec::new();
        for (stage, blocks) in self.blocks.into_iter().enumerate() {
            let width = self.width << stage;
            for number in 0..blocks {
                list.push(BlockPlace { stage, number, width, inputs, projects: self.projects(stage, number) });
                inputs = self.block.outputs(width);
            }
        }
        list
    }
}

impl Architecture for ResNetLayout {
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape> {
        let mut list = StateDict::default();
        list.convolution("conv1", self.width, channels, self.stem.kernel_size());
        list.batch_norm("bn1", self.width);
        for place in self.each_block() {
            let prefix = format!("layer{}.{}", place.stage + 1, place.number);
            let convolutions = self.block.convolutions(place.width, place.inputs);
            for (number, (outputs, inputs, kernel)) in (1..).zip(convolutions) {
                list.convolution(&format!("{prefix}.conv{number}"), outputs, inputs, kernel);
                list.batch_norm(&format!("{prefix}.bn{number}"), outputs);
            }
            if place.projects {
                let outputs = self.block.outputs(place.width);
                list.convolution(&format!("{prefix}.downsample.0"), outputs, place.inputs, 1);
                list.batch_norm(&format!("{prefix}.downsample.1"), outputs);
            }
        }
        list.linear("fc", classes, self.block.outputs(8 * self.width));
        list.into_list()
    }

    fn stages(&self) -> &'static [Stage] {
        &[
            Stage { name: "stem", prefixes: &["conv1.", "bn1."] },
            Stage { name: "layer1", prefixes: &["layer1."] },
            Stage { name: "layer2", prefixes: &["layer2."] },
            Stage { name: "layer3", prefixes: &["layer3."] },
            Stage { name: "layer4", prefixes: &["layer4."] },
        ]
    }

    fn head(&self) -> &'static str {
        "fc"
    }

    fn min_image_size(&self) -> u32 {
        8 * self.stem.stride() * if self.stem.pools() { 2 } else { 1 }
    }

    fn multiply_adds(&self, image: ImageShape) -> u64 {
        let mut work = Work::new(image);
        if self.stem.stride() == 2 {
            work.halve();
        }
        work.convolution(self.width, image.channels, self.stem.kernel_size());
        if self.stem.pools() {
            work.halve();
        }
        for place in self.each_block() {
            let halves = place.stage > 0 && place.number == 0;
            let convolutions = self.block.convolutions(place.width, place.inputs);
            for (number, (outputs, inputs, kernel)) in convolutions.into_iter().enumerate() {
                if halves && number == self.block.strided() {
                    work.halve();
                }
                work.convolution(outputs, inputs, kernel);
            }
            if place.projects {
                work.convolution(self.block.outputs(place.width), place.inputs, 1);
            }
        }
        work.total
    }
}
