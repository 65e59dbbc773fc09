//! The scheduling loop: look at the workers and the front of the queue, decide, claim what is still free, send it off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use gauntlet_domain::schedule::{
    Assignment, Demand, DemandKey, Outlook, QueueKey, QueueView, Snapshot, Turns, UserView, WorkerView, decide,
    outlook, wanted,
};
use gauntlet_domain::share::{Quota, UserName};
use gauntlet_domain::{TaskId, WorkerId};
use gauntlet_proto::v1;

use crate::demands::Demands;
use crate::looks::Looks;
use crate::preempt;
use crate::sessions::Given;
use crate::shared::Shared;
use crate::store::{ClaimFor, Claimed, Contenders, Error, Front, Orphan};

/// Most tasks per claim.
const BATCH: usize = 500;
/// For what no notification tells of: tasks that another coordinator made ready, workers that are heard again.
const POLL: Duration = Duration::from_secs(1);

/// What the loop remembers from one look to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// Whose turn it is.
    pub turns: Turns,
    /// What tasks need.
    pub demands: Demands,
    /// What was seen of the queues.
    pub looks: Looks,
    preempted_at: Option<Instant>,
}

/// Runs until the coordinator stops.
pub async fn run(shared: Arc<Shared>) {
    let mut backoff = backoff();
    let mut memory = Memory::default();
    while !shared.stop.is_cancelled() {
        let pause = match shared.outage.note(turn(&shared, &mut memory).await) {
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

/// Fills free slots, and where none is left to fill asks for those that urgent sweeps may have. True if there may be more to do at once.
async fn turn(shared: &Arc<Shared>, memory: &mut Memory) -> Result<bool, Error> {
    if pass(shared, memory).await? {
        return Ok(true);
    }
    if memory.preempted_at.is_none_or(|at| at.elapsed() >= POLL) {
        memory.preempted_at = Some(Instant::now());
        preempt::pass(shared, memory).await?;
    }
    Ok(false)
}

fn backoff() -> impl Iterator<Item = Duration> {
    let delays =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_max_delay(Duration::from_secs(2));
    delays.with_jitter().without_max_times().build()
}

/// Least slots that a look at the queues asks for: those of a task that backs off then cost no look each.
const LOOK: usize = 16;

/// Fills free slots once. True if there may be more to do at once.
async fn pass(shared: &Arc<Shared>, memory: &mut Memory) -> Result<bool, Error> {
    let silence = shared.config.silence();
    let free = shared.sessions.free_slots(silence);
    if free == 0 {
        return Ok(false);
    }
    let mut snapshot = look(shared, memory, free.clamp(LOOK, BATCH)).await?;
    let ready = || snapshot.queues.iter().flat_map(|queue| &queue.ready);
    let inputs = ready().flat_map(|task| task.inputs.iter().copied()).collect();
    let (workers, sessions): (Vec<WorkerView>, BTreeMap<WorkerId, i64>) = shared
        .sessions
        .takers(silence, &inputs)
        .into_iter()
        .map(|(view, number)| (view.clone(), (view.id, number)))
        .unzip();
    snapshot.workers = workers;
    let decided: BTreeMap<TaskId, Assignment> =
        decide(&snapshot, &memory.turns).into_iter().take(BATCH).map(|given| (given.task, given)).collect();
    let claim = |given: &Assignment| {
        let session = *sessions.get(&given.worker)?;
        let (queue, bounded) = (Some(given.queue), bounded(&snapshot, given.queue));
        Some(ClaimFor { session, task: given.task, worker: given.worker.clone(), queue, bounded })
    };
    let claims: Vec<ClaimFor> = decided.values().filter_map(claim).collect();
    if claims.is_empty() {
        return Ok(memory.looks.found_nothing());
    }
    let decided = Decided { by_task: decided, sessions, snapshot };
    let Sent { given, unsent } = {
        let _claiming = shared.claiming.lock().await;
        let claimed = shared.store.claim(&claims).await?;
        let queue_of = |claim: &Claimed| decided.by_task.get(&claim.attempt.task).map(|given| given.queue);
        let Snapshot { users, queues, .. } = &decided.snapshot;
        memory.turns.served(users, queues, claimed.iter().filter_map(queue_of));
        send_off(shared, claimed, &decided)
    };
    if !unsent.is_empty() {
        let taken_back = shared.store.take_back(&unsent).await?;
        shared.committed(&taken_back);
    }
    if given > 0 {
        shared.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
    // Nothing given: the sessions or the tasks are in other hands, and the next look shows it.
    Ok(given > 0 || memory.looks.found_nothing())
}

/// The user of a queue, if there is a quota of either.
fn bounded(snapshot: &Snapshot, key: QueueKey) -> Option<UserName> {
    let queue = snapshot.queues.iter().find(|queue| queue.key == key)?;
    let has_quota = |user: &UserView| user.name == queue.user && user.quota != Quota::NONE;
    (queue.quota != Quota::NONE || snapshot.users.iter().any(has_quota)).then(|| queue.user.clone())
}

/// The queues, each as far as the next so many slots could need it, for the workers that take work.
async fn look(shared: &Shared, memory: &mut Memory, slots: usize) -> Result<Snapshot, Error> {
    let Contenders { users, mut queues, .. } = memory.looks.contenders(shared).await?;
    memory.turns.seat(&users, &queues);
    let takers = shared.sessions.takers(shared.config.silence(), &BTreeSet::new());
    let workers: Vec<WorkerView> = takers.into_iter().map(|(view, _)| view).collect();
    let keys: BTreeSet<_> = queues.iter().flat_map(|queue| queue.demands.iter().copied()).collect();
    let kinds = shared.sessions.device_kinds();
    let demands = memory.demands.of(&keys, &kinds, shared.config.learning_interval, &shared.store).await?;
    let blocked = part_by_outlook(&mut queues, &demands, &workers);
    let longest_secs = shared.sessions.longest_secs();
    let costs = workers.iter().any(|worker| worker.remaining_secs.is_some());
    let blocked = match blocked.is_empty() {
        true => BTreeMap::new(),
        false => shared.store.fronts(&blocked, memory.looks.marks(), costs).await?,
    };
    loop {
        let wanted = wanted(&users, &queues, &memory.turns, slots);
        let front = |queue: &QueueView, count| Front { queue: queue.key, demands: queue.demands.clone(), count };
        let fronts = wanted
            .iter()
            .filter_map(|(key, count)| queues.iter().find(|queue| queue.key == *key).map(|queue| front(queue, *count)));
        let fronts: Vec<Front> = fronts.collect();
        if fronts.is_empty() {
            for queue in &mut queues {
                queue.ready.extend(blocked.get(&queue.key).into_iter().flatten().cloned());
            }
            return Ok(Snapshot { workers, users, queues, demands, longest_secs });
        }
        let mut fronts = shared.store.fronts(&fronts, memory.looks.marks(), costs).await?;
        memory.looks.saw(&fronts);
        for (key, count) in wanted {
            if let Some(queue) = queues.iter_mut().find(|queue| queue.key == key) {
                queue.ready = fronts.remove(&key).unwrap_or_default();
                queue.more = queue.ready.len() == count;
            }
        }
    }
}

/// Leaves to the queues the demands that fit some worker now. Of what fits one once that is free, the first of each kind is to be seen, so that it keeps
/// a device for itself; what fits none is not looked at.
fn part_by_outlook(
    queues: &mut Vec<QueueView>,
    demands: &BTreeMap<DemandKey, Demand>,
    workers: &[WorkerView],
) -> Vec<Front> {
    let unknown = Demand::default();
    let mut blocked = Vec::new();
    queues.retain_mut(|queue| {
        let outlook = |key: &DemandKey| outlook(workers, &queue.requires, demands.get(key).unwrap_or(&unknown));
        let mut later = false;
        let now = |demand: &DemandKey| match outlook(demand) {
            Outlook::Now => true,
            Outlook::Later => {
                later = true;
                blocked.push(Front { queue: queue.key, demands: vec![*demand], count: 1 });
                false
            }
            Outlook::Never => false,
        };
        queue.demands = queue.demands.iter().copied().filter(now).collect();
        later || !queue.demands.is_empty()
    });
    blocked
}

/// What was decided, with what it was decided on.
struct Decided {
    by_task: BTreeMap<TaskId, Assignment>,
    sessions: BTreeMap<WorkerId, i64>,
    /// Its workers are ordered by id.
    snapshot: Snapshot,
}

impl Decided {
    fn given(&self, claim: Claimed) -> Given {
        let assignment = self.by_task.get(&claim.attempt.task);
        let place = assignment.map(|given| given.place).unwrap_or_default();
        let demand = assignment.and_then(|given| self.snapshot.demands.get(&given.demand));
        let workers = &self.snapshot.workers;
        let worker = workers.binary_search_by(|worker| worker.id.cmp(&claim.worker)).ok().map(|index| &workers[index]);
        let device = place.device.and_then(|device| worker?.traits.devices.get(device));
        Given {
            attempt: claim.attempt,
            spec: claim.spec.clone(),
            inputs: claim.inputs.iter().map(|(task, _)| *task).collect(),
            data: demand.and_then(|demand| demand.data.clone()),
            place,
            queue: assignment.map(|given| given.queue),
            assign: v1::Assign {
                device: device.map(|device| device.name.clone()).unwrap_or_default(),
                memory_mib: place.memory_mib,
                ..assignment_of(claim)
            },
        }
    }
}

struct Sent {
    given: usize,
    unsent: Vec<Orphan>,
}

fn send_off(shared: &Shared, claimed: Vec<Claimed>, decided: &Decided) -> Sent {
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
        let number = decided.sessions.get(&worker).copied();
        if number.is_some_and(|number| shared.sessions.assign(&worker, number, decided.given(claim))) {
            sent.given += 1;
        } else {
            sent.unsent.push(Orphan { attempt, worker });
        }
    }
    sent
}

fn assignment_of(claim: Claimed) -> v1::Assign {
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
        device: String::new(),
        memory_mib: 0,
    }
}
