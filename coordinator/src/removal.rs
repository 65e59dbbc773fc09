//! The loop that removes what deleted sweeps leave, and artifacts that nothing refers to any more; and that deletes sweeps that are old enough.
//!
//! Several coordinators do it at once. Files are deleted by workers: a coordinator cannot reach the artifact store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gauntlet_domain::{Digest, WorkerId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::v1;

use crate::shared::Shared;
use crate::store::{Deletion, Error, Removal};

/// Between two steps of a removal: it is never urgent.
const BREATH: Duration = Duration::from_millis(20);
/// How often it is looked for sweeps that are old enough, and for what may be forgotten.
const HOUR: Duration = Duration::from_secs(3600);

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    let mut looked: Option<Instant> = None;
    loop {
        let pause = match shared.outage.note(pass(&shared, &mut looked).await) {
            Ok(true) => BREATH,
            Ok(false) | Err(Error::Unavailable(_) | Error::Conflict(_)) => shared.config.removal_interval,
            Err(error) => {
                crate::status::logged(&error);
                shared.config.removal_interval
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = shared.removal.notified(), if pause > BREATH => {}
        }
    }
}

/// True if there may be more to do at once.
async fn pass(shared: &Arc<Shared>, looked: &mut Option<Instant>) -> Result<bool, Error> {
    if looked.is_none_or(|at| at.elapsed() > HOUR) {
        retire(shared).await?;
        shared.store.forget_deleted_artifacts().await?;
        *looked = Some(Instant::now());
    }
    let removed = shared.store.remove_some().await?;
    let noted = shared.store.condemn_unreferenced().await?;
    order_deletions(shared).await?;
    Ok(removed == Removal::Some || noted > 0)
}

/// Deletes sweeps that ended longer ago than they are to be kept.
async fn retire(shared: &Arc<Shared>) -> Result<(), Error> {
    let Some(retention) = shared.config.retention else { return Ok(()) };
    loop {
        let old = shared.store.ended_before(retention).await?;
        if old.is_empty() {
            return Ok(());
        }
        for sweep in old {
            if let Deletion::Deleted(transitions) = shared.store.delete_sweep(&sweep, false).await? {
                tracing::info!(sweep, ?retention, "a sweep that ended long ago was deleted");
                shared.committed(&transitions);
            }
        }
    }
}

/// Gives what is condemned to workers that are here.
async fn order_deletions(shared: &Shared) -> Result<(), Error> {
    for seen in shared.sessions.seen() {
        if seen.draining || seen.silence > shared.config.silence() {
            continue;
        }
        let digests = shared.store.order_deletion(&seen.worker, seen.number).await?;
        if digests.is_empty() {
            return Ok(());
        }
        tracing::info!(worker = %seen.worker, artifacts = digests.len(), "a worker is told to delete artifacts");
        // If it is gone, its session is over, and the next one is told.
        shared.sessions.order_deletion(&seen.worker, seen.number, &digests);
    }
    Ok(())
}

/// Notes what a worker has deleted. While the database is away it waits; what is never noted is ordered again.
pub async fn note_deleted(
    shared: Arc<Shared>,
    worker: WorkerId,
    session: i64,
    deleted: Vec<Digest>,
    failed: Vec<Digest>,
) {
    if !failed.is_empty() {
        tracing::warn!(%worker, artifacts = failed.len(), "a worker could not delete artifacts; they are tried again");
    }
    let noted = shared.store.artifacts_deleted(&worker, session, &deleted, &failed).await;
    match shared.outage.note(noted) {
        Ok(()) if failed.is_empty() => shared.removal.notify_one(),
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, %worker, "what a worker has deleted could not be noted"),
    }
}

/// What a worker says that it deleted, and what it could not.
pub fn understand(wire: &v1::ArtifactsDeleted) -> Result<(Vec<Digest>, Vec<Digest>), InvalidField> {
    let digests = |texts: &[String], field: &str| -> Result<Vec<Digest>, InvalidField> {
        texts.iter().map(|text| convert::parse(text, field)).collect()
    };
    Ok((digests(&wire.deleted, "artifacts_deleted.deleted")?, digests(&wire.failed, "artifacts_deleted.failed")?))
}
