//! Multiply-adds of a forward pass.

use crate::experiment::ImageShape;

/// Multiply-adds of the layers so far, and how large the activations are after them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Rows and columns of the activations.
    size: [u64; 2],
    /// Multiply-adds.
    pub(super) total: u64,
}

impl Work {
    /// None yet, on an image.
    pub(super) fn new(image: ImageShape) -> Self {
        Self { size: [image.height.into(), image.width.into()], total: 0 }
    }

    /// A convolution or pooling of stride 2 whose padding keeps the rest of the side follows.
    pub(super) fn halve(&mut self) {
        self.size = self.size.map(|side| side.div_ceil(2));
    }

    /// A window of this size slides over the activations, with padding on either side.
    pub(super) fn slide(&mut self, kernel: u64, stride: u64, padding: u64) {
        self.size = self.size.map(|side| (side + 2 * padding).saturating_sub(kernel) / stride + 1);
    }

    /// The multiply-adds of a convolution whose outputs have the present size. Of a grouped one, `inputs` are those of a group.
    pub(super) fn convolution(&mut self, outputs: u32, inputs: u32, kernel: u32) {
        self.total += self.size[0] * self.size[1] * u64::from(outputs) * u64::from(inputs) * u64::from(kernel).pow(2);
    }

    /// The multiply-adds of a fully connected layer, once for an image.
    pub(super) fn linear(&mut self, outputs: u32, inputs: u32) {
        self.total += u64::from(outputs) * u64::from(inputs);
    }
}
