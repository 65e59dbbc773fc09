//! What is known of the files a sweep names, found out by whoever can open them.

use std::collections::BTreeMap;
use std::fmt;

use super::place::Place;
use crate::digest::Digest;
use crate::experiment::{CheckpointFormat, CifarVariant, MomentTensor, ParameterShape};

/// More classes than this come from wrong labels.
pub const MOST_CLASSES: u32 = 65_536;

/// Where a file lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilePlace {
    /// A path as written in the sweep file, relative to that file.
    Sweep(String),
    /// A path below the data directory, named by the catalogue.
    Data(String),
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sweep(path) => f.write_str(path),
            Self::Data(path) => write!(f, "<data>/{path}"),
        }
    }
}

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// IDX, u8 \[N,H,W\].
    IdxImages,
    /// IDX, u8 \[N\].
    IdxLabels,
    /// `images` u8 \[N,C,H,W\] and `labels` i64 \[N\].
    SafeTensorsDataset,
    /// CIFAR's binary format.
    Cifar(CifarVariant),
    /// A folder with one folder of images per class.
    ImageFolder {
        /// Where the path ends in `test` and nothing lies there, `val` in its place will do.
        or_val: bool,
    },
    /// A state dict.
    Checkpoint(CheckpointFormat),
}

/// A file that a sweep needs, and the field that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// Where it lies.
    pub place: FilePlace,
    /// What it should hold.
    pub role: FileRole,
    /// The field that names it, such as `dataset[0].test`.
    pub at: Place,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileFacts {
    /// SHA-256 of the file as it lies on disk; of the manifest, for a folder.
    pub digest: Digest,
    /// What it holds.
    pub content: FileContent,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum FileContent {
    /// Grey images.
    IdxImages {
        /// Their count.
        examples: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// Labels.
    IdxLabels {
        /// Their count.
        examples: u32,
        /// The largest label.
        max_label: u32,
        /// Examples of each label, from 0; empty where there are more labels than [`MOST_CLASSES`].
        per_class: Vec<u32>,
    },
    /// Images and labels.
    SafeTensorsDataset {
        /// Their count.
        examples: u32,
        /// 1 or 3.
        channels: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// The largest label.
        max_label: u32,
        /// Examples of each label, from 0; empty where there are more labels than [`MOST_CLASSES`].
        per_class: Vec<u32>,
    },
    /// Labelled images of 32×32, RGB.
    Cifar {
        /// Their count.
        examples: u32,
        /// How they are laid out.
        variant: CifarVariant,
        /// Examples of each class.
        per_class: Vec<u32>,
    },
    /// Images, RGB, of varying size.
    ImageFolder {
        /// The classes in the order of their labels: by the bytes of their names.
        classes: Vec<FolderClass>,
    },
    /// Weights, all finite.
    Checkpoint {
        /// Names and shapes of the tensors, sorted by name.
        tensors: Vec<ParameterShape>,
        /// Values of those that may be a normalisation.
        moments: Vec<MomentTensor>,
    },
}

/// A folder of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderClass {
    /// The folder's name.
    pub name: String,
    /// How many images lie in it, at any depth.
    pub examples: u32,
}

/// What is known of each file a sweep names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// By place.
    pub files: BTreeMap<FilePlace, FileFacts>,
}

impl ParameterShape {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().product()
    }
}
