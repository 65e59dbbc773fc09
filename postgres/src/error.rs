use std::io;
use std::path::{Path, PathBuf};

/// Why the private server cannot run, in words that tell what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server of a supported version.
    #[error(
        "no Postgres {oldest} or newer was found (looked at {}); run `make setup`, install Postgres with the system's \
         package manager, or name its bin directory in GAUNTLET_POSTGRES_BIN", looked_at.join(", ")
    )]
    NotFound {
        /// The oldest major version that is supported.
        oldest: u32,
        /// Where it was looked for.
        looked_at: Vec<String>,
    },
    /// The data was made by another major version than the installed ones.
    #[error(
        "the database in {} was made by Postgres {found}, and only {} is here; install Postgres {found}, or use another \
         state directory", data_dir.display(), installed.join(", ")
    )]
    OtherVersion {
        /// The data directory.
        data_dir: PathBuf,
        /// The major version that made it.
        found: String,
        /// What is installed.
        installed: Vec<String>,
    },
    /// Another process uses the state directory.
    #[error(
        "the private database in {} is in use by {holder}; stop that one, connect to it instead of starting a second \
         one, or use another state directory", state_dir.display()
    )]
    InUse {
        /// The state directory.
        state_dir: PathBuf,
        /// The process that holds it, as far as it is known.
        holder: String,
    },
    /// Root may not run Postgres, and there is nobody to run it as.
    #[error(
        "Postgres refuses to run as root, and none of the users {} exists to run it as; add one (`useradd --system \
         gauntlet`) or start this as another user", candidates.join(", ")
    )]
    NoAccount {
        /// The users that would do.
        candidates: Vec<String>,
    },
    /// A directory that is not safe to use or not ours.
    #[error("{} cannot be used: {problem}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The server or `initdb` failed.
    #[error("{program} failed: {problem}")]
    Failed {
        /// Which program.
        program: String,
        /// Its last words.
        problem: String,
    },
    /// A file or process operation failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, on which file.
        action: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried on which path.
    pub(crate) fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let action = format!("{verb} {}", path.display());
        move |source| Error::Io { action, source }
    }

    pub(crate) fn unusable(path: &Path, problem: impl Into<String>) -> Error {
        Error::Unusable { path: path.to_path_buf(), problem: problem.into() }
    }
}
