//! Splits of data sets, named by the digests of their files.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// One split of a data set as a model sees it: labelled images of one shape, values in [0,1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// Where the examples come from.
    pub source: DatasetSource,
    /// How many examples, counted from the first of the split.
    pub examples: u32,
    /// Labels are 0 … `classes` − 1.
    pub classes: u32,
    /// Shape of an image after `fit`; grey images are repeated where it has three channels.
    pub image: ImageShape,
    /// How images of another size come to this one.
    pub fit: Fit,
}

/// Origin of the examples of a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DatasetSource {
    /// Two files in MNIST's IDX format, gzipped or not: images u8 \[N,H,W\] and labels u8 \[N\].
    Idx {
        /// Digest of the file of images, as it lies on disk.
        images: Digest,
        /// Digest of the file of labels, as it lies on disk.
        labels: Digest,
    },
    /// One `.safetensors` file with `images` u8 \[N,C,H,W\] and `labels` i64 \[N\].
    #[serde(rename = "safetensors")]
    SafeTensors {
        /// Digest of the file.
        file: Digest,
    },
    /// Rendered capital letters.
    Glyphs(GlyphOptions),
}

impl DatasetSource {
    /// Digests of the files that must be at hand to read the split.
    pub fn files(&self) -> Vec<Digest> {
        match self {
            Self::Idx { images, labels } => vec![*images, *labels],
            Self::SafeTensors { file } => vec![*file],
            Self::Glyphs(_) => Vec::new(),
        }
    }
}

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For fitting.
    Train,
    /// For measuring.
    Test,
}

/// How letters A–Z (classes 0–25; example `i` is letter `i mod 26`) are drawn: white on black, each example from a random stream of its own.
///
/// Lengths are shares of the image's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlyphOptions {
    /// Faces of the two splits are disjoint by family.
    pub split: Split,
    /// Digest of the list of font files and their digests.
    pub fonts: Digest,
    /// Version of the drawing code: another version, other images.
    pub generator: u32,
    /// Seed of the random streams.
    pub seed: u64,
    /// Largest rotation to either side, in degrees.
    pub rotation_degrees: f64,
    /// Smallest font size.
    pub min_size: f64,
    /// Largest font size.
    pub max_size: f64,
    /// Largest shift from the centre, along each axis.
    pub shift: f64,
    /// Standard deviation of the Gaussian noise added to the pixel values in [0,1].
    pub noise: f64,
}

/// Shape of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// How images come to the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// A black border around a smaller image.
    Pad,
    /// Bilinear resampling, with antialiasing when it shrinks.
    Resize,
}
