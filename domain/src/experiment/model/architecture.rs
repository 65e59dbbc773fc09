//! What every family of backbones says of itself.

use super::state_dict::ParameterShape;
use crate::experiment::ImageShape;

/// A network's layout: what is known of it without weights and images.
pub(super) trait Architecture {
    /// Names and shapes of all tensors of its state dict, in the order of the published one; `num_batches_tracked` left out.
    fn state_dict(&self, channels: u32, classes: u32) -> Vec<ParameterShape>;

    /// The stages between the normalisation and the head, from the input on.
    fn stages(&self) -> &'static [Stage];

    /// Prefix of the parameters of the classification head, without the dot.
    fn head(&self) -> &'static str;

    /// Smallest side of an image it takes, in pixels: below, a pooling has no whole window left, or the strides leave less than one pixel.
    fn min_image_size(&self) -> u32;

    /// Multiply-adds of one forward pass; normalisations and the head are left out, as small beside them.
    fn multiply_adds(&self, image: ImageShape) -> u64;
}

/// A part of a backbone: its output is a feature tap, and it is the unit of freezing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its name, such as `layer1`.
    pub name: &'static str,
    /// What the names of its parameters start with.
    pub prefixes: &'static [&'static str],
}
