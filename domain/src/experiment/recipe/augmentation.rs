//! How training images change.

use serde::{Deserialize, Serialize};

/// Random changes of training images, drawn per example and epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Largest shift along each axis, in pixels; what enters is black. The same as a random crop of the image in a border of so many pixels.
    pub shift: u32,
    /// Mirror left and right with probability one half.
    pub flip: bool,
    /// What is cut out of an image file in place of the centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
}

/// A random part of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RandomCrop {
    /// Of the image brought to `resize`, a part of the image's size.
    Plain,
    /// Of the original, a part of random area and aspect ratio, brought to the image's size (Szegedy et al., arXiv 1409.4842).
    Resized {
        /// Smallest and largest share of the original's area.
        scale: [f64; 2],
        /// Smallest and largest width in heights; drawn evenly in its logarithm.
        ratio: [f64; 2],
    },
}
