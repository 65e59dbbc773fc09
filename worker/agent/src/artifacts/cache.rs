//! Checkpoints of finished tasks at hand on this host.
//!
//! A file is called `<task>-<digest>`, so that the folder itself is the index. Whoever uses one gets a hard link of his own: it stays his when the
//! cache lets go of the file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gauntlet_domain::experiment::ArtifactRef;
use gauntlet_domain::{Digest, TaskId};

use super::{ArtifactError, Artifacts, describe};
use crate::durable;

/// The cache.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
}

impl Cache {
    /// The cache in a folder that exists.
    pub(crate) fn open(folder: PathBuf, max_bytes: u64) -> io::Result<Self> {
        durable::remove_partial_files(&folder)?;
        Ok(Self { folder, max_bytes })
    }

    /// Tasks whose checkpoint is here.
    pub(crate) fn held_tasks(&self) -> Vec<TaskId> {
        let names = match self.files() {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "the cache cannot be listed");
                Vec::new()
            }
        };
        names.into_iter().filter_map(|file| file.task).collect()
    }

    /// Links the checkpoint of a task to `link`, from here or else from the store.
    pub(crate) async fn obtain(
        &self,
        artifacts: &Artifacts,
        task: TaskId,
        artifact: &ArtifactRef,
        link: &Path,
    ) -> Result<(), ArtifactError> {
        let path = self.path(task, &artifact.digest);
        if self.link_verified(&path, artifact, link).await {
            return Ok(());
        }
        // Under a name of its own: two attempts may want the same one.
        artifacts.fetch(artifact, link).await?;
        self.insert(task, artifact, link);
        Ok(())
    }

    /// The checkpoint of a task, if it is here; it may be damaged.
    pub(crate) fn find(&self, task: TaskId, digest: &Digest) -> Option<PathBuf> {
        Some(self.path(task, digest)).filter(|path| path.is_file())
    }

    /// Keeps a verified file.
    pub(crate) fn insert(&self, task: TaskId, artifact: &ArtifactRef, file: &Path) {
        let path = self.path(task, &artifact.digest);
        match fs::hard_link(file, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::warn!(path = %path.display(), %error, "a checkpoint is not cached");
            }
            _ => {}
        }
        if let Err(error) = self.shrink(&path) {
            tracing::warn!(folder = %self.folder.display(), %error, "the cache cannot be kept small");
        }
    }

    async fn link_verified(&self, path: &Path, artifact: &ArtifactRef, link: &Path) -> bool {
        if fs::hard_link(path, link).is_err() {
            return false;
        }
        match describe(link.to_owned()).await {
            Ok(found) if found == *artifact => {
                touch(path);
                true
            }
            found => {
                tracing::warn!(path = %path.display(), ?found, "a cached checkpoint is damaged and is fetched again");
                // What cannot be removed will be found damaged again.
                let _ = fs::remove_file(path);
                let _ = fs::remove_file(link);
                false
            }
        }
    }

    /// Lets the longest unused files go, but never `newest`.
    fn shrink(&self, newest: &Path) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_by_key(|file| file.used);
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files.iter().filter(|file| file.path != newest) {
            if bytes <= self.max_bytes {
                break;
            }
            fs::remove_file(&file.path)?;
            bytes -= file.bytes;
        }
        Ok(())
    }

    fn files(&self) -> io::Result<Vec<CachedFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let task = task_of(&entry.file_name().to_string_lossy());
            files.push(CachedFile { path: entry.path(), task, bytes: metadata.len(), used: metadata.modified()? });
        }
        Ok(files)
    }

    fn path(&self, task: TaskId, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{task}-{digest}"))
    }
}

struct CachedFile {
    path: PathBuf,
    task: Option<TaskId>,
    bytes: u64,
    used: SystemTime,
}

fn task_of(name: &str) -> Option<TaskId> {
    let (task, digest) = name.split_once('-')?;
    digest.parse::<Digest>().ok()?;
    task.parse().ok()
}

/// Marks a file as just used. A mark that fails makes it go a little earlier, no more.
fn touch(path: &Path) {
    let touched = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(path = %path.display(), %error, "a cached checkpoint cannot be marked as used");
    }
}
