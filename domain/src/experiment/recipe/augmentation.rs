//! How training images change.

use serde::{Deserialize, Serialize};

/// Random changes of training images, drawn per example and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Largest shift along each axis, in pixels; what enters is black.
    pub shift: u32,
    /// Mirror left and right with probability one half.
    pub flip: bool,
}
