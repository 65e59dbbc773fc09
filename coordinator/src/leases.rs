//! The loop that looks after leases: renews those of workers that are heard, gives away what the others ran, and keeps sessions and database in step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use gauntlet_domain::{AttemptRef, WorkerId};
use tonic::Status;

use crate::pace::Pace;
use crate::sessions::{Seen, Told};
use crate::shared::Shared;
use crate::store::{Error, Orphan};

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    // At the start as after an outage, nobody may have been there to renew leases.
    let mut grace_due = true;
    let mut pace = Pace::default();
    let mut last = Instant::now();
    loop {
        // A process that was stopped has missed what its workers said meanwhile.
        grace_due |= last.elapsed() > shared.config.lease_ttl / 2;
        last = Instant::now();
        match shared.outage.note(pass(&shared, &mut grace_due, &mut pace).await) {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => grace_due = true,
            Err(error) => drop(crate::status::logged(&error)),
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(shared.config.tick()) => {}
        }
    }
}

async fn pass(shared: &Arc<Shared>, grace_due: &mut bool, pace: &mut Pace) -> Result<(), Error> {
    if *grace_due {
        shared.store.grant_grace(shared.config.lease_ttl).await?;
        *grace_due = false;
    }
    let start = Instant::now();
    renew(shared).await?;
    let looks = pace.is_due(start, false);
    let expired = if looks { shared.store.expired_workers().await? } else { Vec::new() };
    // A database that hung has let leases run out that we would have renewed.
    if start.elapsed() > shared.config.lease_ttl / 4 {
        *grace_due = true;
        pace.looked(Instant::now(), start.elapsed());
        return Ok(());
    }
    for worker in expired {
        let transitions = shared.store.expire_worker(&worker).await?;
        shared.committed(&transitions);
    }
    reconcile(shared, looks).await?;
    if looks {
        pace.looked(Instant::now(), start.elapsed());
    }
    Ok(())
}

async fn renew(shared: &Shared) -> Result<(), Error> {
    let sessions = shared.sessions.due_for_renewal(shared.config.renewal());
    if sessions.is_empty() {
        return Ok(());
    }
    shared.store.renew_leases(&sessions, shared.config.lease_ttl).await?;
    for (worker, number) in &sessions {
        shared.sessions.renewed(worker, *number);
    }
    Ok(())
}

/// What another coordinator did to tasks and workers of our sessions, or what was lost between the database and us: the latter only where all that is
/// leased may be looked at.
async fn reconcile(shared: &Arc<Shared>, looks: bool) -> Result<(), Error> {
    let seen = shared.sessions.seen();
    if seen.is_empty() {
        return Ok(());
    }
    stop_what_ended(shared, &seen).await?;
    follow_workers(shared, &seen).await?;
    if looks {
        ask_back_what_is_paused(shared).await?;
        take_back_what_never_left(shared).await?;
    }
    Ok(())
}

async fn stop_what_ended(shared: &Arc<Shared>, seen: &[Seen]) -> Result<(), Error> {
    let owners: BTreeMap<AttemptRef, &WorkerId> =
        seen.iter().flat_map(|seen| seen.running.iter().map(move |attempt| (*attempt, &seen.worker))).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let attempts: Vec<AttemptRef> = owners.keys().copied().collect();
    for (attempt, outcome, message) in shared.store.ended_attempts(&attempts).await? {
        let taken_away = matches!(outcome.as_str(), "lost" | "cancelled").then_some(message.as_str());
        if let Some(worker) = owners.get(&attempt) {
            shared.sessions.ended(worker, attempt, taken_away);
        }
        shared.changed();
    }
    Ok(())
}

async fn follow_workers(shared: &Shared, seen: &[Seen]) -> Result<(), Error> {
    let sessions: Vec<(WorkerId, i64)> = seen.iter().map(|seen| (seen.worker.clone(), seen.number)).collect();
    let changed = shared.store.changed_sessions(&sessions).await?;
    let numbers: BTreeMap<WorkerId, i64> =
        if changed.is_empty() { BTreeMap::new() } else { sessions.into_iter().collect() };
    for row in changed {
        let Some(ours) = numbers.get(&row.worker).copied() else { continue };
        if row.session > ours {
            let status = Status::aborted("a later session of this worker, with another coordinator, replaced this one");
            shared.sessions.close(&row.worker, ours, status);
        } else if row.draining {
            shared.sessions.drain(&row.worker, Told::Now { hand_back: row.hands_back });
        }
    }
    Ok(())
}

/// Asked again each time: a worker that was asked already goes on stopping, and one that has come back since may not know.
async fn ask_back_what_is_paused(shared: &Shared) -> Result<(), Error> {
    for (worker, attempt, sweep) in shared.store.asked_back(&shared.config.coordinator_id).await? {
        shared.sessions.hand_back(&worker, attempt, &format!("sweep {sweep} is paused"));
    }
    Ok(())
}

/// A claim whose answer was lost on the way from the database, or whose session ended before it was sent.
async fn take_back_what_never_left(shared: &Arc<Shared>) -> Result<(), Error> {
    let mut orphans = shared.store.leased_to(&shared.config.coordinator_id).await?;
    let mut keep_unknown = || {
        orphans.retain(|(orphan, session)| shared.sessions.lacks(&orphan.worker, *session, orphan.attempt));
        orphans.is_empty()
    };
    if keep_unknown() {
        return Ok(());
    }
    // What was being claimed is known once nobody claims; that must not wait for the look above.
    drop(shared.claiming.lock().await);
    keep_unknown();
    let orphans: Vec<Orphan> = orphans.into_iter().map(|(orphan, _)| orphan).collect();
    if orphans.is_empty() {
        return Ok(());
    }
    let transitions = shared.store.take_back(&orphans).await?;
    shared.committed(&transitions);
    Ok(())
}
