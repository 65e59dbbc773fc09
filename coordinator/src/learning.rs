//! The loop that learns from finished attempts what work takes. Whatever goes wrong there costs forecasts some accuracy and nothing else.

use std::sync::Arc;

use crate::shared::Shared;

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(shared.config.learning_interval) => {}
        }
        match shared.outage.note(shared.store.learn().await) {
            Ok(attempts) if attempts > 0 => tracing::debug!(attempts, "learnt what work takes"),
            Ok(_) => {}
            Err(error) if error.is_unavailable() => {}
            Err(error) => drop(crate::status::logged(&error)),
        }
    }
}
