//! The scheduling loop: look at the workers and the front of the queue, decide, claim what is still free, send it off.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use gauntlet_domain::schedule::{QueueKey, Snapshot, Turns, UserView, WorkerView, decide, wanted};
use gauntlet_domain::share::{Quota, UserName};
use gauntlet_domain::{TaskId, WorkerId};
use gauntlet_proto::v1;

use crate::sessions::Given;
use crate::shared::Shared;
use crate::store::{ClaimFor, Claimed, Contenders, Error, Orphan};

/// Most tasks per claim.
const BATCH: usize = 500;
/// For what no notification tells of: tasks that another coordinator made ready, workers that are heard again.
const POLL: Duration = Duration::from_secs(1);

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    let mut backoff = backoff();
    let mut turns = Turns::default();
    while !shared.stop.is_cancelled() {
        let pause = match shared.outage.note(pass(&shared, &mut turns).await) {
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

/// Least slots that a look at the queues asks for: those of a task that backs off then cost no look each.
const LOOK: usize = 16;

/// Fills free slots once. True if there may be more to do at once.
async fn pass(shared: &Arc<Shared>, turns: &mut Turns) -> Result<bool, Error> {
    let silence = shared.config.silence();
    let free = shared.sessions.free_slots(silence);
    if free == 0 {
        return Ok(false);
    }
    let mut snapshot = look(shared, turns, free.clamp(LOOK, BATCH)).await?;
    let ready = snapshot.queues.iter().flat_map(|queue| &queue.ready);
    let inputs = ready.flat_map(|task| task.inputs.iter().copied()).collect();
    let (workers, sessions): (Vec<WorkerView>, BTreeMap<WorkerId, i64>) = shared
        .sessions
        .takers(silence, &inputs)
        .into_iter()
        .map(|(view, number)| (view.clone(), (view.id, number)))
        .unzip();
    snapshot.workers = workers;
    let decided = decide(&snapshot, turns);
    let queue_of: BTreeMap<TaskId, QueueKey> = decided.iter().map(|it| (it.task, it.queue)).collect();
    let claims: Vec<ClaimFor> = decided
        .into_iter()
        .take(BATCH)
        .filter_map(|decision| {
            let session = *sessions.get(&decision.worker)?;
            let (queue, bounded) = (Some(decision.queue), bounded(&snapshot, decision.queue));
            Some(ClaimFor { session, task: decision.task, worker: decision.worker, queue, bounded })
        })
        .collect();
    if claims.is_empty() {
        return Ok(false);
    }
    let Sent { given, unsent } = {
        let _claiming = shared.claiming.lock().await;
        let claimed = shared.store.claim(&claims).await?;
        let started = claimed.iter().filter_map(|claim| queue_of.get(&claim.attempt.task).copied());
        turns.served(&snapshot.users, &snapshot.queues, started);
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

/// The user of a queue, if there is a quota of either.
fn bounded(snapshot: &Snapshot, key: QueueKey) -> Option<UserName> {
    let queue = snapshot.queues.iter().find(|queue| queue.key == key)?;
    let has_quota = |user: &UserView| user.name == queue.user && user.quota != Quota::NONE;
    (queue.quota != Quota::NONE || snapshot.users.iter().any(has_quota)).then(|| queue.user.clone())
}

/// The queues, each as far as the next so many slots could need it.
async fn look(shared: &Shared, turns: &mut Turns, slots: usize) -> Result<Snapshot, Error> {
    let Contenders { users, mut queues } = shared.store.contenders().await?;
    turns.seat(&users, &queues);
    loop {
        let wanted = wanted(&users, &queues, turns, slots);
        if wanted.is_empty() {
            return Ok(Snapshot { workers: Vec::new(), users, queues });
        }
        let mut fronts = shared.store.fronts(&wanted).await?;
        for (key, count) in wanted {
            if let Some(queue) = queues.iter_mut().find(|queue| queue.key == key) {
                queue.ready = fronts.remove(&key).unwrap_or_default();
                queue.more = queue.ready.len() == count;
            }
        }
    }
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
