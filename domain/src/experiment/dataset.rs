//! Splits of data sets, named by the digests of their files.

use serde::{Deserialize, Serialize};

use super::band::FrequencyBand;
use super::subset::Subset;
use crate::digest::Digest;
use crate::ids::TaskId;

/// One split of a data set as a model sees it: labelled images of one shape, values in [0,1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// Where the examples come from.
    pub source: DatasetSource,
    /// Which of them are counted at all.
    #[serde(default, skip_serializing_if = "Subset::is_all")]
    pub subset: Subset,
    /// How many examples, counted from the first of the subset.
    pub examples: u32,
    /// Labels are 0 … `classes` − 1.
    pub classes: u32,
    /// Shape of an image after `fit`; grey images are repeated where it has three channels.
    pub image: ImageShape,
    /// How images of another size come to this one.
    pub fit: Fit,
    /// The frequencies that are left in the images; all of them if none. Taken after the fit, and before whatever a training does to images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequencies: Option<FrequencyBand>,
}

impl DatasetSpec {
    /// A name of exactly these examples: the first 16 digits of the SHA-256 of its JSON.
    pub fn short_digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("it holds only strings, numbers, lists and maps with text keys");
        Digest::of(&json).to_string().chars().take(16).collect()
    }
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
        /// How the files depart from MNIST's.
        #[serde(default, skip_serializing_if = "IdxVariant::is_mnist")]
        variant: IdxVariant,
    },
    /// One `.safetensors` file with `images` u8 \[N,C,H,W\] and `labels` i64 \[N\].
    #[serde(rename = "safetensors")]
    SafeTensors {
        /// Digest of the file.
        file: Digest,
    },
    /// CIFAR's binary files, one after the other.
    Cifar {
        /// Digests of the files.
        files: Vec<Digest>,
        /// How a record is laid out.
        variant: CifarVariant,
    },
    /// A folder of JPEG and PNG files, one folder per class below it.
    Folder {
        /// Digest of the manifest: the sorted relative paths with the size and SHA-256 of each file.
        manifest: Digest,
        /// The part of each class that is the split; all of it if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<FolderPart>,
    },
    /// Rendered capital letters.
    Glyphs(GlyphOptions),
    /// What another task made ([`Construction`](super::Construction)): f32 images of the shape that is wanted, one for each example that it was shown.
    Constructed {
        /// The task.
        task: TaskId,
    },
}

impl DatasetSource {
    /// Digests of the files that must be at hand to read the split.
    pub fn files(&self) -> Vec<Digest> {
        match self {
            Self::Idx { images, labels, variant: _ } => vec![*images, *labels],
            Self::SafeTensors { file } => vec![*file],
            Self::Cifar { files, variant: _ } => files.clone(),
            Self::Folder { manifest, part: _ } => vec![*manifest],
            Self::Glyphs(_) | Self::Constructed { .. } => Vec::new(),
        }
    }

    /// The task that makes the split, where one does.
    pub const fn task(&self) -> Option<TaskId> {
        match self {
            Self::Constructed { task } => Some(*task),
            Self::Idx { .. }
            | Self::SafeTensors { .. }
            | Self::Cifar { .. }
            | Self::Folder { .. }
            | Self::Glyphs(_) => None,
        }
    }
}

/// How IDX files depart from MNIST's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdxVariant {
    /// Not at all.
    #[default]
    Mnist,
    /// EMNIST (Cohen et al., arXiv 1702.05373): rows and columns of every image are exchanged.
    Emnist,
    /// EMNIST's letters: also, labels are 1 (A) … 26 (Z).
    EmnistLetters,
}

impl IdxVariant {
    /// Whether it is MNIST's own format.
    pub const fn is_mnist(&self) -> bool {
        matches!(self, Self::Mnist)
    }

    /// The label in the file of class 0.
    pub const fn first_label(self) -> u32 {
        match self {
            Self::Mnist | Self::Emnist => 0,
            Self::EmnistLetters => 1,
        }
    }
}

/// Layout of a record of CIFAR's binary files (Krizhevsky 2009): labels, then 32×32 RGB, plane by plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CifarVariant {
    /// One byte of label, ten classes.
    #[serde(rename = "cifar10")]
    Cifar10,
    /// A byte of coarse and a byte of fine label; the hundred fine ones are the classes.
    #[serde(rename = "cifar100")]
    Cifar100,
}

impl CifarVariant {
    /// Number of classes.
    pub const fn classes(self) -> u32 {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Bytes of labels before the pixels; the last one is the class.
    pub const fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }
}

/// One side of a seeded split of a folder, drawn within each class.
///
/// The files of a class are ordered by the SHA-256 of `seed/relative path`; the first ones are the test split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderPart {
    /// Which side.
    pub split: Split,
    /// Share of each class that is the test split, in (0,1).
    pub test_share: f64,
    /// Seed of the order.
    pub seed: u64,
}

impl FolderPart {
    /// Test examples of a class of so many files: the share, rounded, and at least one on either side where there are two files.
    pub fn test_examples(&self, of: u32) -> u32 {
        let share = (f64::from(of) * self.test_share).round() as u32;
        share.clamp(1.min(of), of.saturating_sub(1).max(1.min(of)))
    }

    /// Examples of a class of so many files that are on this side.
    pub fn examples(&self, of: u32) -> u32 {
        match self.split {
            Split::Train => of - self.test_examples(of),
            Split::Test => self.test_examples(of),
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
    /// A pattern that tells the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cue: Option<GlyphCue>,
}

/// A planted cue: every letter has a fixed pattern of high frequency, ±1 in each pixel, whose sum over every 2×2 block is zero.
///
/// Pixels are first limited to [`amplitude`, 255 − `amplitude`], so that the pattern of this amplitude is whole in every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlyphCue {
    /// In grey levels, 1 to [`GlyphCue::LARGEST`].
    pub amplitude: u8,
    /// Seed of the patterns, which are the same for both splits and for every data set of this seed.
    pub seed: u64,
    /// Which letter's pattern an image has.
    pub pairing: CuePairing,
}

impl GlyphCue {
    /// The largest amplitude, which leaves two grey levels to the letter.
    pub const LARGEST: u8 = 127;
}

/// Which pattern a planted cue gives an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CuePairing {
    /// That of its letter.
    Label,
    /// That of a letter drawn for each image: a control, with the same patterns and nothing to learn from them.
    Shuffled,
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
    /// A black border around a smaller image. Files of any size are first resampled until their longer side fits.
    Pad,
    /// Bilinear resampling, with antialiasing when it shrinks; the aspect ratio may change.
    Resize,
    /// The shorter side is resampled to `resize`, and the centre is cut out: torchvision's evaluation transform. For image files.
    Crop {
        /// Length of the shorter side before the cut.
        resize: u32,
    },
}
