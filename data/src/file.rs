//! Files by path and by digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gauntlet_domain::{Digest, TaskId};
use sha2::{Digest as _, Sha256};

use crate::error::{DataError, InFile};

const CHUNK_BYTES: usize = 1 << 16;

/// Where the files lie that a spec names.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Files by digest.
    pub files: BTreeMap<Digest, PathBuf>,
    /// The data directory; typefaces lie in its `fonts/`.
    pub data_dir: PathBuf,
    /// What other tasks made: trained weights, and data sets.
    pub task_artifacts: BTreeMap<TaskId, PathBuf>,
}

impl Places {
    /// Path of the file with this digest.
    pub(crate) fn path(&self, digest: &Digest) -> Result<&Path, DataError> {
        self.files.get(digest).map(PathBuf::as_path).ok_or(DataError::NotAtHand { digest: *digest })
    }

    /// Path of what a task made.
    pub(crate) fn task_artifact(&self, task: TaskId) -> Result<&Path, DataError> {
        self.task_artifacts.get(&task).map(PathBuf::as_path).ok_or(DataError::NotMade { task })
    }
}

/// SHA-256 of a file, read in small pieces.
///
/// # Errors
/// Where there is no readable file.
pub fn digest_file(path: &Path) -> Result<Digest, DataError> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk).in_file(path)?;
        if count == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&chunk[..count]);
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    let length = file.metadata().in_file(path)?.len();
    bytes
        .try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))
        .map_err(std::io::Error::from)
        .in_file(path)?;
    file.read_to_end(&mut bytes).in_file(path)?;
    Ok(bytes)
}

/// The bytes of a file, which have the expected digest.
pub(crate) fn read_verified(path: &Path, expected: &Digest) -> Result<Vec<u8>, DataError> {
    let bytes = read(path)?;
    let found = Digest::of(&bytes);
    if found == *expected {
        Ok(bytes)
    } else {
        Err(DataError::WrongDigest { path: path.to_owned(), found, expected: *expected })
    }
}

/// Opens a regular file: a pipe would never end, and a directory cannot be read.
fn open(path: &Path) -> Result<File, DataError> {
    if !std::fs::metadata(path).in_file(path)?.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    File::open(path).in_file(path)
}
