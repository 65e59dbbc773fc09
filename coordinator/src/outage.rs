//! Whether the database is there: said once when it goes and once when it comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::store::Error;

/// Whether the database is there, as the last transaction found it.
#[derive(Debug, Default)]
pub struct Outage {
    down: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// Whether the database was away at the last try.
    pub fn is_on(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Takes note of how a transaction went, and hands it on.
    pub fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(error) if error.is_unavailable() => self.begins(error),
            _ if self.is_on() => self.ends(),
            _ => {}
        }
        result
    }

    fn begins(&self, error: &Error) {
        if !self.down.swap(true, Ordering::Relaxed) {
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            tracing::warn!("{error}; trying again until it is back");
        }
    }

    fn ends(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
            let seconds = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            tracing::info!(seconds, "the database is back");
        }
    }
}
