//! What may be stopped for a sweep that must not wait.

use std::collections::{BTreeMap, BTreeSet};

use super::contest::Contest;
use super::fit::{Demand, Fit, fit};
use super::{QueueKey, QueueView, Snapshot, Turns, UserView, WorkerView};
use crate::ids::{AttemptRef, WorkerId};
use crate::share::UserName;
use crate::task::Timestamp;

/// An attempt that runs and could be handed back.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningView {
    /// Which.
    pub attempt: AttemptRef,
    /// Who runs it.
    pub worker: WorkerId,
    /// The queue that is charged for it.
    pub queue: QueueKey,
    /// Whose sweep that is.
    pub user: UserName,
    /// Priority of that sweep.
    pub priority: i32,
    /// Seconds of work that would have to be done again.
    pub repeated_secs: f64,
    /// When it was started.
    pub started_at: Timestamp,
    /// It was asked to stop already, and will free its slot.
    pub leaving: bool,
}

/// What shall be handed back for sweeps that were submitted with `--preempt` and cannot start what is ready; in the order in which to ask for it.
///
/// A sweep takes slots from sweeps of strictly lower priority alone: from any of the same user, and from another user only what he has beyond his fair
/// share of all slots. Of these the one goes first whose stop costs least work, then the youngest. Not more is stopped than can be started, nothing
/// where a slot that would do is free or about to be, and nothing on a worker that could not run what waits. The snapshot is to hold all workers.
pub fn preemptions(snapshot: &Snapshot, turns: &Turns, running: &[RunningView]) -> Vec<AttemptRef> {
    let leaving = running.iter().filter(|attempt| attempt.leaving).count();
    let free: usize = takers(snapshot).map(|worker| worker.free_slots as usize).sum();
    let mut shares = Shares::new(snapshot, running, free);
    let mut victims: Vec<&RunningView> = running.iter().filter(|attempt| !attempt.leaving).collect();
    victims.sort_by(|a, b| {
        a.repeated_secs
            .total_cmp(&b.repeated_secs)
            .then(b.started_at.cmp(&a.started_at))
            .then(a.attempt.cmp(&b.attempt))
    });
    let preempting: Vec<QueueView> = snapshot.queues.iter().filter(|queue| queue.preempts).cloned().collect();
    let fits: Vec<Fits> = preempting.iter().map(|queue| Fits::of(queue, snapshot)).collect();
    let mut contest = Contest::new(&snapshot.users, &preempting, turns);
    let mut waiting: Vec<usize> = preempting.iter().map(|queue| queue.ready.len()).collect();
    // What is free or about to be serves the first of them.
    let mut served = 0;
    let mut stopped = Vec::new();
    while let Some(index) = contest.next() {
        if waiting[index] == 0 {
            contest.retire();
            continue;
        }
        if served < fits[index].free_slots + leaving {
            served += 1;
        } else {
            let may_stop = |victim: &&RunningView| {
                fits[index].on.contains(&victim.worker) && shares.may_take(&preempting[index], victim)
            };
            let Some(victim) = victims.iter().position(may_stop).map(|place| victims.remove(place)) else {
                contest.retire();
                continue;
            };
            shares.moves(&victim.user, &preempting[index].user);
            stopped.push(victim.attempt);
        }
        waiting[index] -= 1;
        contest.serve();
    }
    stopped
}

fn takers(snapshot: &Snapshot) -> impl Iterator<Item = &WorkerView> {
    snapshot.workers.iter().filter(|worker| worker.takes_work)
}

/// Where what is next in a queue could run.
struct Fits<'a> {
    on: BTreeSet<&'a WorkerId>,
    /// Slots that it could have at once.
    free_slots: usize,
}

impl<'a> Fits<'a> {
    fn of(queue: &QueueView, snapshot: &'a Snapshot) -> Self {
        let unknown = Demand::default();
        let next = queue.ready.first().and_then(|task| snapshot.demands.get(&task.demand)).unwrap_or(&unknown);
        let mut fits = Self { on: BTreeSet::new(), free_slots: 0 };
        for worker in takers(snapshot) {
            match fit(worker, &queue.requires, next) {
                Fit::Now(_) => fits.free_slots += worker.free_slots as usize,
                Fit::Later(_) => {}
                Fit::Never(_) => continue,
            }
            fits.on.insert(&worker.id);
        }
        fits
    }
}

/// Slots of each user, and how many would be fair.
struct Shares {
    running: BTreeMap<UserName, u64>,
    weights: BTreeMap<UserName, u64>,
    slots: u64,
}

impl Shares {
    fn new(snapshot: &Snapshot, running: &[RunningView], free: usize) -> Self {
        let mut shares = Self {
            running: BTreeMap::new(),
            weights: snapshot
                .users
                .iter()
                .map(|user: &UserView| (user.name.clone(), user.weight.get().into()))
                .collect(),
            slots: (running.len() + free) as u64,
        };
        for attempt in running {
            *shares.running.entry(attempt.user.clone()).or_default() += 1;
            // Of whom nothing else is known.
            shares.weights.entry(attempt.user.clone()).or_insert(1);
        }
        shares
    }

    fn may_take(&self, taker: &QueueView, victim: &RunningView) -> bool {
        victim.priority < taker.priority && (victim.user == taker.user || self.has_too_much(&victim.user))
    }

    /// Whether a user keeps his fair share when he gives one up.
    fn has_too_much(&self, user: &UserName) -> bool {
        let running = self.running.get(user).copied().unwrap_or(0);
        let weight = self.weights.get(user).copied().unwrap_or(1);
        let all: u64 = self.weights.values().sum();
        running.saturating_sub(1) * all >= self.slots * weight
    }

    fn moves(&mut self, from: &UserName, to: &UserName) {
        if let Some(running) = self.running.get_mut(from) {
            *running -= 1;
        }
        *self.running.entry(to.clone()).or_default() += 1;
    }
}
