//! The one translation from errors to gRPC status. Internals are logged under an id, and only the id is told.

use gauntlet_proto::convert::InvalidField;
use tonic::Status;

use crate::store;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the caller sent makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Precondition(String),
    /// Somebody else took the caller's place.
    #[error("{0}")]
    Replaced(String),
    /// This coordinator leaves.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
    /// The database's part.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A bug.
    #[error("{0}")]
    Bug(String),
}

impl From<InvalidField> for Error {
    fn from(error: InvalidField) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(message) => Self::invalid_argument(message),
            Error::NotFound(message) => Self::not_found(message),
            Error::Precondition(message) => Self::failed_precondition(message),
            Error::Replaced(message) => Self::aborted(message),
            Error::ShuttingDown => Self::unavailable(error.to_string()),
            Error::Store(store::Error::Unavailable(_) | store::Error::Conflict(_)) => {
                Self::unavailable("the coordinator cannot reach its database; try again in a moment")
            }
            Error::Store(store::Error::OutOfRange(what)) => Self::invalid_argument(format!("{what} is out of range")),
            Error::Store(_) | Error::Bug(_) => {
                Self::internal(format!("an internal error; the coordinator's log names it {}", logged(&error)))
            }
        }
    }
}

/// Logs an error that is nobody's business, and gives the id under which it stands there.
pub fn logged(error: &dyn std::error::Error) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let id = id[..8].to_owned();
    tracing::error!(error_id = id, error = %error, source = error.source().map(tracing::field::display), "internal error");
    id
}
