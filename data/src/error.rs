//! Why a file cannot be used, in sentences a user understands.

use std::io;
use std::path::{Path, PathBuf};

use gauntlet_domain::{Digest, TaskId};

use crate::checkpoint::{TorchProblem, WeightsProblem};
use crate::cifar::CifarProblem;
use crate::folder::FolderProblem;
use crate::glyphs::GlyphsProblem;
use crate::idx::IdxProblem;
use crate::images::DatasetProblem;
use crate::picture::ImageProblem;
use crate::safetensors_file::SafeTensorsProblem;

/// Why a file or a split cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing lies there.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A directory, a device, a pipe.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not the one that was planned with.
    #[error("`{}` is not the file that was planned with: its SHA-256 is {found}, expected {expected}", path.display())]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Digest of the bytes read.
        found: Digest,
        /// Digest that was asked for.
        expected: Digest,
    },
    /// A spec names a file that nobody brought.
    #[error("no file with SHA-256 {digest} is at hand")]
    NotAtHand {
        /// Digest that was asked for.
        digest: Digest,
    },
    /// A spec names what another task made, and nobody brought it.
    #[error("what task {task} made is not at hand")]
    NotMade {
        /// The task.
        task: TaskId,
    },
    /// A split that another task made, where images of whole grey levels are wanted.
    #[error("the images that task {task} made lie between grey levels")]
    BetweenLevels {
        /// The task.
        task: TaskId,
    },
    /// A file that is not in IDX format.
    #[error("`{}`: {problem}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: IdxProblem,
    },
    /// A file that is not in safetensors format.
    #[error("`{}`: {problem}", path.display())]
    SafeTensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: SafeTensorsProblem,
    },
    /// A file that is not a PyTorch state dict.
    #[error("`{}`: {problem}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: TorchProblem,
    },
    /// A readable checkpoint whose weights cannot be used.
    #[error("`{}`: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: WeightsProblem,
    },
    /// A file that is not in CIFAR's binary format.
    #[error("`{}` {problem}", path.display())]
    Cifar {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: CifarProblem,
    },
    /// A readable data set that is not what the spec wants.
    #[error("`{}`: {problem}", path.display())]
    Dataset {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: DatasetProblem,
    },
    /// A file that is no image that can be used.
    #[error("`{}` {problem}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ImageProblem,
    },
    /// A folder that is no data set.
    #[error("`{}` {problem}", path.display())]
    Folder {
        /// The folder, or what in it is wrong.
        path: PathBuf,
        /// What is wrong.
        problem: FolderProblem,
    },
    /// Files were asked of a data set that has none.
    #[error("the data set is not one of image files")]
    NoImageFiles,
    /// Glyphs that cannot be drawn.
    #[error("glyphs: {0}")]
    Glyphs(#[from] GlyphsProblem),
    /// More memory than there is.
    #[error("no memory for {bytes} bytes of images")]
    OutOfMemory {
        /// What was needed; the largest number where it does not fit one.
        bytes: u64,
    },
}

/// Names the file a problem was found in.
pub(crate) trait InFile<T> {
    /// The problem as an error about the file at `path`.
    fn in_file(self, path: &Path) -> Result<T, DataError>;
}

macro_rules! in_file {
    ($problem:ty, $variant:ident) => {
        impl<T> InFile<T> for Result<T, $problem> {
            fn in_file(self, path: &Path) -> Result<T, DataError> {
                self.map_err(|problem| DataError::$variant { path: path.to_owned(), problem })
            }
        }
    };
}

in_file!(IdxProblem, Idx);
in_file!(SafeTensorsProblem, SafeTensors);
in_file!(TorchProblem, Torch);
in_file!(WeightsProblem, Weights);
in_file!(DatasetProblem, Dataset);
in_file!(CifarProblem, Cifar);
in_file!(ImageProblem, Image);
in_file!(FolderProblem, Folder);

impl<T> InFile<T> for io::Result<T> {
    fn in_file(self, path: &Path) -> Result<T, DataError> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::NotFound { path: path.to_owned() },
            _ => DataError::Unreadable { path: path.to_owned(), source },
        })
    }
}
