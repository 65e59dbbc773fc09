//! Which ready task goes to which worker.
//!
//! Tasks wait in *queues*, one for each sweep that is charged for something; queues belong to users. [`decide`] gives slots to users in proportion to
//! their weights, inside a user to the sweeps of the highest priority in proportion to theirs, and inside a sweep to the longest chain of tasks.
//! A worker gets a task only where [`fit`] says that it has what the task needs. [`wanted`] says how much of each queue has to be seen for that, so that nothing grows with the backlog; [`Turns`] remembers who was served when,
//! so that nobody is passed over for ever where everybody has equally much; [`preemptions`] says what may be stopped for a sweep that must not wait.

mod contest;
mod fit;
mod placement;
mod preemption;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{TaskId, WorkerId};
use crate::share::{Quota, UserName, Weight};

pub use contest::wanted;
pub use fit::{
    Demand, DemandKey, Device, DeviceUse, Fit, Lack, Outlook, Place, Requirements, WorkerTraits, fit, lacks_time,
    outlook,
};
pub use preemption::{RunningView, preemptions};
pub use turns::Turns;

use contest::Contest;
use placement::Places;

/// Number of the queue of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey(pub i32);

/// What the scheduler sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Workers with a live session.
    pub workers: Vec<WorkerView>,
    /// The users of these queues.
    pub users: Vec<UserView>,
    /// Queues in which something is ready.
    pub queues: Vec<QueueView>,
    /// What the tasks need; of those that are not here nothing is known.
    pub demands: BTreeMap<DemandKey, Demand>,
    /// The wall time of the worker that is allowed most of it, where all are limited, in seconds.
    pub longest_secs: Option<f64>,
}

/// A worker, as far as placement goes.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// Who.
    pub id: WorkerId,
    /// What it is.
    pub traits: Arc<WorkerTraits>,
    /// Attempts it can run at once.
    pub slots: u32,
    /// Attempts it could start now.
    pub free_slots: u32,
    /// False while it drains or misses heartbeats: it keeps what it runs and gets nothing new.
    pub takes_work: bool,
    /// What of each device is taken.
    pub uses: Vec<DeviceUse>,
    /// Seconds until its wall time is over, where that is limited.
    pub remaining_secs: Option<f64>,
    /// Training tasks whose checkpoint it holds.
    pub holds: BTreeSet<TaskId>,
    /// The data sets that it worked with last.
    pub data: Vec<Arc<str>>,
}

impl WorkerView {
    /// An idle worker that takes any work and of which nothing else is known.
    pub fn plain(id: WorkerId, slots: u32) -> Self {
        Self {
            id,
            traits: Arc::default(),
            slots,
            free_slots: slots,
            takes_work: true,
            uses: Vec::new(),
            remaining_secs: None,
            holds: BTreeSet::new(),
            data: Vec::new(),
        }
    }
}

/// A user, as far as shares go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Who.
    pub name: UserName,
    /// Share beside other users.
    pub weight: Weight,
    /// Tasks of all sweeps of this user that may run at once.
    pub quota: Quota,
    /// Tasks of all sweeps of this user that run.
    pub running: u32,
}

/// A queue: what is ready and charged to one sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    /// Which.
    pub key: QueueKey,
    /// Whose sweep it is.
    pub user: UserName,
    /// Higher goes first, among the queues of one user.
    pub priority: i32,
    /// Share beside queues of the same user and priority.
    pub weight: Weight,
    /// Tasks that may run at once.
    pub quota: Quota,
    /// Tasks that run.
    pub running: u32,
    /// Whether it may take slots from sweeps of lower priority.
    pub preempts: bool,
    /// What its tasks ask of a worker.
    pub requires: Requirements,
    /// The demands of the tasks that are ready.
    pub demands: Vec<DemandKey>,
    /// Its front: the longest chains, then the smallest ids.
    pub ready: Vec<ReadyTask>,
    /// Whether more may be ready than the front shows.
    pub more: bool,
}

/// A task that may be leased now.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyTask {
    /// Which.
    pub id: TaskId,
    /// Seconds that the longest chain of tasks which starts with it is expected to take; the longest goes first, so that the end of a sweep is not one long chain on one worker.
    pub critical_path_cost: f64,
    /// Tasks whose checkpoint it needs.
    pub inputs: Vec<TaskId>,
    /// What it needs of a device.
    pub demand: DemandKey,
    /// Its cost, where some worker's wall time is limited.
    pub cost: f64,
}

/// A decision: this worker shall run this task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which.
    pub task: TaskId,
    /// The queue it waits in.
    pub queue: QueueKey,
    /// Who.
    pub worker: WorkerId,
    /// Where on it.
    pub place: Place,
    /// What it needs.
    pub demand: DemandKey,
}

/// Gives free slots to ready tasks.
///
/// The next slot goes to the user who has least running for his weight, then to the one whose turn it is; of his queues to the highest priority, then
/// to the one that has least running for its weight, then to the one whose turn it is; of a queue to the longest chain, then to the smallest id. No quota
/// is exceeded. A task goes to a worker that has what it needs ([`fit`], [`lacks_time`]): the one that holds most of its inputs, else the one of whose
/// slots the largest part is free, preferably one that worked with its data set. Tasks that fit nowhere now are passed over; the first of each kind, where it fits a device
/// once that is free, keeps that device from others, so that small tasks cannot starve a large one.
///
/// It ends early where a queue would be next whose front does not show what comes then: see [`wanted`].
pub fn decide(snapshot: &Snapshot, turns: &Turns) -> Vec<Assignment> {
    if snapshot.queues.iter().all(|queue| queue.ready.is_empty()) {
        return Vec::new();
    }
    let mut contest = Contest::new(&snapshot.users, &snapshot.queues, turns);
    let mut places = Places::new(snapshot);
    let mut fronts: Vec<_> = snapshot.queues.iter().map(|queue| front(queue).into_iter()).collect();
    let mut passed_over = vec![false; snapshot.queues.len()];
    let mut seen = BTreeSet::new();
    let mut assignments = Vec::new();
    while !places.are_full()
        && let Some(index) = contest.next()
    {
        let queue = &snapshot.queues[index];
        let given = fronts[index].by_ref().filter(|task| seen.insert(task.id)).find_map(|task| {
            let place = places.take(queue, task);
            passed_over[index] |= place.is_none();
            place.map(|(worker, place)| Assignment {
                task: task.id,
                queue: queue.key,
                worker,
                place,
                demand: task.demand,
            })
        });
        match given {
            Some(assignment) => {
                contest.serve();
                assignments.push(assignment);
            }
            // Who is passed over does not hold up the others.
            None if queue.more && !passed_over[index] => break,
            None => contest.retire(),
        }
    }
    assignments
}

/// The front of a queue, in order.
fn front(queue: &QueueView) -> Vec<&ReadyTask> {
    let mut ready: Vec<&ReadyTask> = queue.ready.iter().collect();
    ready.sort_by(|a, b| b.critical_path_cost.total_cmp(&a.critical_path_cost).then(a.id.cmp(&b.id)));
    ready
}
