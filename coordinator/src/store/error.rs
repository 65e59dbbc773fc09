//! What can go wrong between the coordinator and its database.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or went away; the same may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Another transaction was in the way; the same may succeed at once.
    #[error("another transaction was in the way: {0}")]
    Conflict(#[source] sqlx::Error),
    /// The database refused: a bug, of the code or of the data in it.
    #[error("the database refused: {0}")]
    Refused(#[source] sqlx::Error),
    /// Something in the database makes no sense: a bug, or the database of another version.
    #[error("the database holds what it should not: {0}")]
    Corrupt(String),
    /// A value does not fit into its column.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
}

impl Error {
    /// Whether the same may succeed later.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let sort = match &error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unavailable
            }
            // What a connection cut in the middle of an answer looks like.
            sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => Self::Unavailable,
            // A sweep was deleted between a look at who wants a task and the count of what became of it.
            sqlx::Error::Database(database) if database.constraint() == Some("counts_of_a_sweep") => Self::Conflict,
            sqlx::Error::Database(database) => sort_by_code(&database.code().unwrap_or_default()),
            _ => Self::Refused,
        };
        sort(error)
    }
}

/// By SQLSTATE: connection and operator trouble, full disks and server start-up pass; deadlocks, lock time-outs and serialisation failures pass at once.
fn sort_by_code(code: &str) -> fn(sqlx::Error) -> Error {
    match code {
        "40001" | "40P01" | "55P03" => Error::Conflict,
        "57014" => Error::Unavailable,
        _ if ["08", "53", "57P", "58", "25006"].iter().any(|class| code.starts_with(class)) => Error::Unavailable,
        _ => Error::Refused,
    }
}

/// Runs a transaction again when another one was in its way.
pub async fn retry_conflicts<T, F, Fut>(transaction: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let backoff =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(5)).with_max_times(8).with_jitter();
    transaction.retry(backoff).when(|error| matches!(error, Error::Conflict(_))).await
}
