//! Why an agent cannot run.

use std::io;
use std::path::{Path, PathBuf};

/// Why [`Agent::run`](crate::Agent::run) ended early.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting that makes no sense.
    #[error("worker setting `{setting}`: {problem}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Another agent works in this state directory.
    #[error("the state directory {} is in use by another worker; give each worker its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The state directory cannot be used.
    #[error("the worker's state at {}: {source}", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file that keeps the worker's id holds something else.
    #[error("{} should hold the worker's id: {problem}; delete it to get a new id", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No executor can be started.
    #[error("the executor cannot be started: {message}")]
    Executor {
        /// Why, with the last lines it wrote.
        message: String,
    },
    /// The coordinator will not have this worker.
    #[error("the coordinator at {endpoint} refuses this worker: {message}")]
    Refused {
        /// Its address.
        endpoint: String,
        /// Its reason.
        message: String,
    },
}

impl AgentError {
    /// For `map_err` around file operations.
    pub(crate) fn state(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::State { path, source }
    }

    pub(crate) fn setting(setting: &'static str, problem: impl ToString) -> Self {
        Self::Setting { setting, problem: problem.to_string() }
    }
}
