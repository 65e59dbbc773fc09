//! What is known of files that were looked at before, so that a large folder is not read whole whenever it is opened.
//!
//! Nothing depends on it: a file is compared with its digest again when it is decoded. An entry counts as long as size, inode and the times of the
//! last change of content and attributes are the same, and is not kept when the file was changed in the moment it was read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gauntlet_domain::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, InFile};

/// A file that changed less than this ago may change again without another time.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells that a file is the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self, DataError> {
        let found = fs::metadata(path).in_file(path)?;
        Ok(Self {
            bytes: found.len(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    fn settled(&self, now: Duration) -> bool {
        let last = self.modified.0.max(self.changed.0);
        u64::try_from(last).is_ok_and(|last| Duration::from_secs(last) + SETTLED <= now)
    }
}

/// What was found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) sha256: Digest,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What is known of the files of a folder.
pub(super) struct Cache {
    file: Option<PathBuf>,
    known: BTreeMap<String, (Stamp, Known)>,
    opened: Duration,
}

impl Cache {
    /// What was stored of a folder; nothing where that cannot be read.
    pub(super) fn open(root: &Path) -> Self {
        let file = cache_dir().zip(fs::canonicalize(root).ok()).map(|(folder, root)| {
            let name = Digest::of(root.as_os_str().as_encoded_bytes());
            folder.join(format!("{name}.json"))
        });
        let known = file.as_ref().and_then(|file| serde_json::from_slice(&fs::read(file).ok()?).ok());
        let opened = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { file, known: known.unwrap_or_default(), opened }
    }

    pub(super) fn get(&self, path: &str, stamp: &Stamp) -> Option<Known> {
        let (then, known) = self.known.get(path)?;
        (then == stamp).then_some(*known)
    }

    /// Keeps what was found. A cache that cannot be written is no loss but of time.
    pub(super) fn store<'a>(&self, found: impl Iterator<Item = (&'a str, &'a (Stamp, Known))>) {
        let settled: BTreeMap<&str, &(Stamp, Known)> =
            found.filter(|(_, (stamp, _))| stamp.settled(self.opened)).collect();
        let same = settled.len() == self.known.len()
            && settled.iter().all(|(path, found)| self.known.get(*path) == Some(*found));
        let Some(file) = self.file.as_ref().filter(|_| !same) else { return };
        let _no_loss = write(file, &settled);
    }
}

/// Writes beside the file and renames, so that another process reads the old one or the new one.
fn write(file: &Path, known: &BTreeMap<&str, &(Stamp, Known)>) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&beside, serde_json::to_vec(known)?)?;
    fs::rename(&beside, file)
}

/// `gauntlet/folders` in the user's folder for caches.
fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("gauntlet/folders"))
}
