//! The identity of a folder of images.

use std::path::Path;
use std::sync::Mutex;

use gauntlet_domain::Digest;
use sha2::{Digest as _, Sha256};

use super::cache::{Cache, Known, Stamp};
use super::listing::{Found, list};
use crate::error::{DataError, InFile};
use crate::file::read;
use crate::parallel;
use crate::picture::{self, ImageProblem, MOST_IMAGE_BYTES, Size};

/// First line of the text that is hashed.
const TITLE: &str = "gauntlet image folder 1\n";

/// An image file with what identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the folder, with `/` between its parts.
    pub(super) path: String,
    /// Number of its class.
    pub(super) class: u32,
    /// SHA-256 of the file.
    pub(super) sha256: Digest,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Size of the image, from its header.
    pub(super) size: Size,
}

/// What a folder holds.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Names of the classes; a class is its number here.
    pub(super) classes: Vec<String>,
    /// Sorted by path.
    pub(super) entries: Vec<Entry>,
}

impl Manifest {
    /// Looks at every file of a folder, those that are known and unchanged excepted.
    pub(super) fn of(root: &Path, threads: usize) -> Result<Self, DataError> {
        let (classes, found) = list(root)?;
        let cache = Cache::open(root);
        let slots: Vec<Mutex<Option<(Stamp, Known)>>> = found.iter().map(|_| Mutex::new(None)).collect();
        parallel::for_each(found.iter().zip(&slots), threads, |(file, slot)| {
            let looked = look(root, file, &cache)?;
            *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(looked);
            Ok::<(), DataError>(())
        })?;
        let looked: Vec<(Stamp, Known)> = slots
            .into_iter()
            .filter_map(|slot| slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            .collect();
        cache.store(found.iter().map(|file| file.path.as_str()).zip(&looked));
        let entry = |(Found { path, class }, (stamp, known)): (Found, (Stamp, Known))| {
            let size = Size { width: known.width, height: known.height };
            Entry { path, class, sha256: known.sha256, bytes: stamp.bytes, size }
        };
        Ok(Self { classes, entries: found.into_iter().zip(looked).map(entry).collect() })
    }

    /// SHA-256 of a title and one line `SHA-256 bytes path` per file.
    pub(super) fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(TITLE);
        for entry in &self.entries {
            hasher.update(format!("{} {} {}\n", entry.sha256, entry.bytes, entry.path));
        }
        Digest::from_bytes(hasher.finalize().into())
    }
}

fn look(root: &Path, file: &Found, cache: &Cache) -> Result<(Stamp, Known), DataError> {
    let path = root.join(&file.path);
    let stamp = Stamp::of(&path)?;
    if let Some(known) = cache.get(&file.path, &stamp) {
        return Ok((stamp, known));
    }
    if stamp.bytes > MOST_IMAGE_BYTES {
        return Err(ImageProblem::FileTooLarge { found: stamp.bytes }).in_file(&path);
    }
    let bytes = read(&path)?;
    let size = picture::probe(&bytes).in_file(&path)?;
    let known = Known { sha256: Digest::of(&bytes), width: size.width, height: size.height };
    Ok((stamp, known))
}
