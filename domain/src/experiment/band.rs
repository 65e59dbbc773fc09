//! A part of the frequencies of images.

use serde::{Deserialize, Serialize};

/// The frequencies of images that are shown; the others are taken away.
///
/// A frequency is a pair of whole numbers of cycles along the height and the width of the image; its distance from zero is Euclidean, in those cycles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrequencyBand {
    /// Which side of the radius is kept.
    pub keep: Pass,
    /// Where the low frequencies end, in cycles per image; at least 0.
    pub radius: f64,
}

/// Which frequencies are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Those up to the radius.
    Low,
    /// Those beyond it.
    High,
}
