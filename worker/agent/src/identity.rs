//! Who this worker is, and the folder that is its alone.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use gauntlet_domain::WorkerId;

use crate::durable;
use crate::error::AgentError;

/// The state directory, locked for as long as this lives. The kernel gives the lock back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates what is missing, takes the lock, and removes what attempts of an earlier life left.
    pub(crate) fn open(root: &Path) -> Result<Self, AgentError> {
        fs::create_dir_all(root).map_err(AgentError::state(root))?;
        // Executors get paths inside, and need not share our working directory.
        let root = root.canonicalize().map_err(AgentError::state(root))?;
        let lock = lock(&root)?;
        let state = Self { root, _lock: lock };
        state.prepare()?;
        Ok(state)
    }

    fn prepare(&self) -> Result<(), AgentError> {
        let attempts = self.attempts();
        match fs::remove_dir_all(&attempts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(AgentError::state(&attempts)(error)),
            _ => {}
        }
        for folder in [attempts, self.spool(), self.cache()] {
            fs::create_dir_all(&folder).map_err(AgentError::state(&folder))?;
        }
        Ok(())
    }

    /// Folders of running attempts.
    pub(crate) fn attempts(&self) -> PathBuf {
        self.root.join("attempts")
    }

    /// Unacknowledged reports.
    pub(crate) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Checkpoints of finished tasks.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The worker's id: the configured one, else the one kept from last time, else a new one.
    pub(crate) fn worker_id(&self, configured: Option<&WorkerId>) -> Result<WorkerId, AgentError> {
        let path = self.root.join("worker-id");
        let kept = read_id(&path)?;
        match (configured, kept) {
            (Some(configured), Some(kept)) if *configured == kept => Ok(kept),
            (Some(configured), kept) => {
                if let Some(kept) = kept {
                    tracing::warn!(%kept, %configured, "this worker had another id");
                }
                write_id(&path, configured)?;
                Ok(configured.clone())
            }
            (None, Some(kept)) => Ok(kept),
            (None, None) => {
                let id = new_id().map_err(|problem| AgentError::Identity { path: path.clone(), problem })?;
                write_id(&path, &id)?;
                Ok(id)
            }
        }
    }
}

fn lock(root: &Path) -> Result<File, AgentError> {
    let path = root.join("lock");
    let file = File::options().create(true).append(true).open(&path).map_err(AgentError::state(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AgentError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(AgentError::State { path, source }),
    }
}

fn read_id(path: &Path) -> Result<Option<WorkerId>, AgentError> {
    match fs::read_to_string(path) {
        Ok(text) => match text.trim().parse::<WorkerId>() {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(AgentError::Identity { path: path.to_owned(), problem: error.to_string() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AgentError::state(path)(error)),
    }
}

fn write_id(path: &Path, id: &WorkerId) -> Result<(), AgentError> {
    durable::write_whole(path, format!("{id}\n").as_bytes()).map_err(AgentError::state(path))?;
    path.parent().map_or(Ok(()), durable::sync_folder).map_err(AgentError::state(path))
}

/// The host's name for people, and enough of a random id that no two workers are ever called the same.
fn new_id() -> Result<WorkerId, String> {
    let host: String = hostname().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(60).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let host = if host.is_empty() { "worker" } else { &host };
    format!("{host}-{}", &random[..16]).parse().map_err(|error: gauntlet_domain::ids::InvalidId| error.to_string())
}

/// The host's name, for people.
pub(crate) fn hostname() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(error) => {
            tracing::warn!(%error, "this host's name cannot be read");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_keeps_its_id_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let id = || StateDir::open(folder.path()).unwrap().worker_id(None).unwrap();
        assert_eq!(id(), id());
    }

    #[test]
    fn a_configured_id_replaces_the_one_that_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let made_up = state.worker_id(None).unwrap();
        let configured: WorkerId = "gpu-7".parse().unwrap();
        assert_eq!(state.worker_id(Some(&configured)).unwrap(), configured);
        assert_ne!(made_up, configured);
        assert_eq!(state.worker_id(None).unwrap(), configured);
    }

    #[test]
    fn an_id_file_that_holds_something_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("worker-id"), "two words").unwrap();
        let error = StateDir::open(folder.path()).unwrap().worker_id(None).unwrap_err().to_string();
        assert!(error.contains("worker-id") && error.contains("`two words`"), "{error}");
    }

    #[test]
    fn a_state_directory_serves_one_agent_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        assert!(matches!(StateDir::open(folder.path()), Err(AgentError::InUse { .. })));
        drop(first);
        assert!(StateDir::open(folder.path()).is_ok());
    }
}
