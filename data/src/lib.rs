//! The files behind a sweep: data sets and checkpoints, read and checked, and the drawing of glyphs.
//!
//! * [`load`] reads a split as a spec wants it, [`load_constructed`] one that another task made; [`ImageFolder`] and [`Loader`] read image files as they are needed;
//! * [`inspect`] tells the planner what a file holds;
//! * [`read_checkpoint`] reads weights, PyTorch's pickles included, as data: nothing in them is executed;
//! * [`glyphs`] draws letters from fonts, the same bits on every machine.
//!
//! Files are not trusted: a size that a header claims is checked against the file before memory is taken for it.
//!
//! This crate must **not** know: tch, the network, the database, async. The `gauntlet` command links it where no libtorch is installed.

mod checkpoint;
mod cifar;
mod constructed;
mod error;
mod file;
mod fit;
mod folder;
pub mod glyphs;
mod idx;
mod images;
mod inspect;
mod labelled_tensors;
mod loader;
mod parallel;
mod picture;
mod safetensors_file;
mod subset;

pub use checkpoint::{NamedTensor, read_checkpoint, read_verified_checkpoint};
pub use constructed::{ConstructedImages, load_constructed};
pub use error::DataError;
pub use file::{Places, digest_file};
pub use folder::{ImageFolder, find_folder};
pub use images::{Images, load};
pub use inspect::inspect;
pub use loader::{Loader, Wanted};
pub use picture::{Frame, Size, View, resized_size};

/// What can be wrong with a file, by format.
pub mod problem {
    pub use crate::checkpoint::{PickleProblem, TensorProblem, TorchProblem, WeightsProblem};
    pub use crate::cifar::CifarProblem;
    pub use crate::folder::FolderProblem;
    pub use crate::glyphs::GlyphsProblem;
    pub use crate::idx::{Axes, IdxKind, IdxProblem};
    pub use crate::images::DatasetProblem;
    pub use crate::picture::{ImageProblem, MOST_IMAGE_BYTES, MOST_PIXELS};
    pub use crate::safetensors_file::SafeTensorsProblem;
}
