//! The scheduling loop: look at the workers and the front of the queue, decide, claim what is still free, send it off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use gauntlet_domain::schedule::{Snapshot, WorkerView, decide};
use gauntlet_domain::{TaskId, WorkerId};
use gauntlet_proto::v1;

use crate::sessions::Given;
use crate::shared::Shared;
use crate::store::{ClaimFor, Claimed, Error, Orphan};

/// Most tasks per claim.
const BATCH: usize = 500;
/// For what no notification tells of: tasks that another coordinator made ready, workers that are heard again.
const POLL: Duration = Duration::from_secs(1);

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    let mut backoff = backoff();
    while !shared.stop.is_cancelled() {
        let pause = match shared.outage.note(pass(&shared).await) {
            Ok(true) => continue,
            Ok(false) => {
                backoff = self::backoff();
                None
            }
            Err(error) => {
                if !error.is_unavailable() {
                    crate::status::logged(&error);
                }
                backoff.next()
            }
        };
        let wait = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => drop(tokio::time::timeout(POLL, shared.dispatch.notified()).await),
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = wait => {}
        }
    }
}

fn backoff() -> impl Iterator<Item = Duration> {
    let delays =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_max_delay(Duration::from_secs(2));
    delays.with_jitter().without_max_times().build()
}

/// Fills free slots once. True if there may be more to do at once.
async fn pass(shared: &Arc<Shared>) -> Result<bool, Error> {
    let silence = shared.config.silence();
    let free = shared.sessions.free_slots(silence);
    if free == 0 {
        return Ok(false);
    }
    let ready = shared.store.ready(free.min(BATCH)).await?;
    if ready.is_empty() {
        return Ok(false);
    }
    let inputs = ready.iter().flat_map(|task| task.inputs.iter().copied()).collect();
    let (workers, sessions): (Vec<WorkerView>, BTreeMap<WorkerId, i64>) = shared
        .sessions
        .takers(silence, &inputs)
        .into_iter()
        .map(|(view, number)| (view.clone(), (view.id, number)))
        .unzip();
    let claims: Vec<ClaimFor> = decide(&Snapshot { workers, ready })
        .into_iter()
        .filter_map(|decision| {
            Some(ClaimFor { session: *sessions.get(&decision.worker)?, task: decision.task, worker: decision.worker })
        })
        .collect();
    if claims.is_empty() {
        return Ok(false);
    }
    let Sent { given, unsent } = {
        let _claiming = shared.claiming.lock().await;
        let claimed = shared.store.claim(&claims).await?;
        send_off(shared, claimed, &sessions)
    };
    if !unsent.is_empty() {
        let taken_back = shared.store.take_back(&unsent).await?;
        shared.committed(&taken_back);
    }
    if given > 0 {
        shared.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
    // Nothing given: the sessions or the tasks are in other hands, and the next look shows it.
    Ok(given > 0)
}

struct Sent {
    given: usize,
    unsent: Vec<Orphan>,
}

fn send_off(shared: &Shared, claimed: Vec<Claimed>, sessions: &BTreeMap<WorkerId, i64>) -> Sent {
    let mut sent = Sent { given: 0, unsent: Vec::new() };
    for claim in claimed {
        tracing::info!(
            task = claim.attempt.task.short(),
            label = claim.label,
            from = "ready",
            to = "leased",
            attempt = claim.attempt.attempt.0,
            worker = %claim.worker,
            "leased"
        );
        let (attempt, worker) = (claim.attempt, claim.worker.clone());
        let number = sessions.get(&worker).copied();
        if number.is_some_and(|number| shared.sessions.assign(&worker, number, given(claim))) {
            sent.given += 1;
        } else {
            sent.unsent.push(Orphan { attempt, worker });
        }
    }
    sent
}

fn given(claim: Claimed) -> Given {
    Given {
        attempt: claim.attempt,
        spec: claim.spec.clone(),
        inputs: claim.inputs.iter().map(|(task, _)| *task).collect(),
        assign: assignment(claim),
    }
}

fn assignment(claim: Claimed) -> v1::Assign {
    let input = |(task, artifact): (TaskId, _)| v1::TaskArtifact {
        task_id: task.to_string(),
        artifact: Some(v1::Artifact::from(artifact)),
    };
    let checkpoint = |checkpoint: crate::store::TrainingCheckpoint| v1::TrainingCheckpoint {
        artifact: Some(checkpoint.artifact.into()),
        epoch: checkpoint.epoch,
    };
    v1::Assign {
        attempt: Some(claim.attempt.into()),
        spec_json: claim.spec_json,
        inputs: claim.inputs.into_iter().map(input).collect(),
        files: claim
            .files
            .into_iter()
            .map(|(digest, location)| v1::FileLocation { digest: digest.to_string(), location })
            .collect(),
        resume_from: claim.resume_from.map(checkpoint),
        label: claim.label,
        memory: Some(claim.memory.into()),
    }
}
