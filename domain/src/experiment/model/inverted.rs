//! Stages of inverted residual blocks (Sandler et al. 2018, arXiv 1801.04381): widen by a 1×1 convolution, filter each channel by itself, narrow again.

use super::work::Work;

/// Blocks of one width; the first of them strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvertedStage {
    /// Channels inside a block over the channels it takes; 1 leaves the widening out.
    pub expansion: u32,
    /// Side of the depthwise kernel.
    pub kernel: u32,
    /// Stride of the first block.
    pub stride: u32,
    /// Channels that its blocks give.
    pub outputs: u32,
    /// Number of blocks.
    pub blocks: u32,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvertedBlock {
    /// Stage, counted from 0.
    pub stage: u32,
    /// Place in the stage, counted from 0.
    pub place: u32,
    /// Place in the net, counted from 0.
    pub number: u32,
    /// Channels it takes.
    pub inputs: u32,
    /// Channels inside.
    pub hidden: u32,
    /// Channels it gives.
    pub outputs: u32,
    /// Side of the depthwise kernel.
    pub kernel: u32,
    /// Stride of the depthwise convolution.
    pub stride: u32,
}

impl InvertedBlock {
    /// Whether it widens at all.
    pub const fn expands(&self) -> bool {
        self.hidden != self.inputs
    }

    /// Whether its input is added to its output.
    pub const fn has_shortcut(&self) -> bool {
        self.stride == 1 && self.inputs == self.outputs
    }

    pub(super) fn work(&self, work: &mut Work) {
        if self.expands() {
            work.convolution(self.hidden, self.inputs, 1);
        }
        if self.stride == 2 {
            work.halve();
        }
        work.convolution(self.hidden, 1, self.kernel);
        work.convolution(self.outputs, self.hidden, 1);
    }
}

/// All blocks of these stages after a stem of so many channels.
pub(super) fn blocks(stages: &[InvertedStage], stem: u32) -> Vec<InvertedBlock> {
    let mut list = Vec::new();
    let mut inputs = stem;
    for (stage, layout) in (0..).zip(stages) {
        let InvertedStage { expansion, kernel, outputs, .. } = *layout;
        for place in 0..layout.blocks {
            let stride = if place == 0 { layout.stride } else { 1 };
            let (number, hidden) = (list.len() as u32, inputs * expansion);
            list.push(InvertedBlock { stage, place, number, inputs, hidden, outputs, kernel, stride });
            inputs = outputs;
        }
    }
    list
}
