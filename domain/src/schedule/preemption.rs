//! What may be stopped for a sweep that must not wait.

use std::collections::BTreeMap;

use super::contest::Contest;
use super::{QueueKey, QueueView, Snapshot, Turns, UserView};
use crate::ids::AttemptRef;
use crate::share::UserName;
use crate::task::Timestamp;

/// An attempt that runs and could be handed back.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningView {
    /// Which.
    pub attempt: AttemptRef,
    /// The queue that is charged for it.
    pub queue: QueueKey,
    /// Whose sweep that is.
    pub user: UserName,
    /// Priority of that sweep.
    pub priority: i32,
    /// Work that would have to be done again, in the unit of [`crate::plan::PlannedTask::cost`]: what was done since its last checkpoint.
    pub repeated_cost: f64,
    /// When it was started.
    pub started_at: Timestamp,
    /// It was asked to stop already, and will free its slot.
    pub leaving: bool,
}

/// What shall be handed back for sweeps that were submitted with `--preempt` and cannot start what is ready; in the order in which to ask for it.
///
/// A sweep takes slots from sweeps of strictly lower priority alone: from any of the same user, and from another user only what he has beyond his fair
/// share of all slots. Of these the one goes first whose stop costs least work, then the youngest. Not more is stopped than can be started, and
/// nothing where a slot is free or about to be.
pub fn preemptions(snapshot: &Snapshot, turns: &Turns, running: &[RunningView]) -> Vec<AttemptRef> {
    let takes_work = snapshot.workers.iter().filter(|worker| worker.takes_work);
    let free: usize = takes_work.map(|worker| worker.free_slots as usize).sum();
    let leaving = running.iter().filter(|attempt| attempt.leaving).count();
    let mut shares = Shares::new(snapshot, running, free);
    let mut victims: Vec<&RunningView> = running.iter().filter(|attempt| !attempt.leaving).collect();
    victims.sort_by(|a, b| {
        a.repeated_cost
            .total_cmp(&b.repeated_cost)
            .then(b.started_at.cmp(&a.started_at))
            .then(a.attempt.cmp(&b.attempt))
    });
    let preempting: Vec<QueueView> = snapshot.queues.iter().filter(|queue| queue.preempts).cloned().collect();
    let mut contest = Contest::new(&snapshot.users, &preempting, turns);
    let mut waiting: Vec<usize> = preempting.iter().map(|queue| queue.ready.len()).collect();
    // What is free or about to be serves the first of them.
    let mut at_hand = free + leaving;
    let mut stopped = Vec::new();
    while let Some(index) = contest.next() {
        if waiting[index] == 0 {
            contest.retire();
            continue;
        }
        if at_hand > 0 {
            at_hand -= 1;
        } else {
            let victim = victims.iter().position(|victim| shares.may_take(&preempting[index], victim));
            let Some(victim) = victim.map(|place| victims.remove(place)) else {
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
