//! Whose turn it is where everybody has equally much.

use std::collections::{BTreeMap, BTreeSet};

use super::{QueueKey, QueueView, UserView};
use crate::share::{UserName, Weight};

/// How far a task of weight 1 moves a turn.
const STRIDE: u64 = 1_000_000;

/// When somebody is served next: the lower, the earlier. Of equal ones, who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Turn {
    served: u64,
    seat: u64,
}

impl Turn {
    /// Whoever has something running is not behind: it is not that he waits.
    fn keep_up(&mut self, now: u64, running: u32) {
        if running > 0 {
            self.served = self.served.max(now);
        }
    }

    /// After one more task was started.
    pub(super) const fn next(self, weight: Weight) -> Self {
        Self { served: self.served + STRIDE / weight.get() as u64, seat: self.seat }
    }
}

/// The earliest turn of those who have nothing; where there are none, of all.
fn earliest(turns: impl IntoIterator<Item = (bool, u64)>) -> Option<u64> {
    turns.into_iter().map(|(has_nothing, served)| (!has_nothing, served)).min().map(|(_, served)| served)
}

/// Who was served how often for his weight, of those who want something.
///
/// What runs says how much somebody has, but not whose turn it is between two who have nothing because their tasks are over in no time. So everybody
/// moves on with each task that is started for him, the slower the more weight he has. Whoever comes anew stands beside the one who is next, behind
/// him: neither an absence nor tasks that go on for long earn anything, and nobody who comes later goes before.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    users: BTreeMap<UserName, Turn>,
    queues: BTreeMap<QueueKey, (UserName, Turn)>,
    seats: u64,
}

impl Turns {
    /// Seats those who came, lets nobody fall behind while he has something, and forgets those who left as soon as their turn would be the newcomers'.
    /// To be called with every look at the queues.
    pub fn seat(&mut self, users: &[UserView], queues: &[QueueView]) {
        let known = |user: &UserView| Some((user.running == 0, self.users.get(&user.name)?.served));
        let now = earliest(users.iter().filter_map(known));
        let now = now.or_else(|| self.users.values().map(|turn| turn.served).min()).unwrap_or(0);
        let present: BTreeSet<&UserName> = users.iter().map(|user| &user.name).collect();
        self.users.retain(|name, turn| turn.served > now || present.contains(name));
        for user in users {
            self.seats += 1;
            let turn = self.users.entry(user.name.clone()).or_insert(Turn { served: now, seat: self.seats });
            turn.keep_up(now, user.running);
        }
        self.seat_queues(queues);
    }

    fn seat_queues(&mut self, queues: &[QueueView]) {
        let present: BTreeMap<QueueKey, &UserName> = queues.iter().map(|queue| (queue.key, &queue.user)).collect();
        self.queues.retain(|key, (user, _)| present.get(key).is_none_or(|owner| *owner == user));
        let mut known: BTreeMap<&UserName, Vec<(bool, u64)>> = BTreeMap::new();
        for queue in queues {
            if let Some((_, turn)) = self.queues.get(&queue.key) {
                known.entry(&queue.user).or_default().push((queue.running == 0, turn.served));
            }
        }
        let now: BTreeMap<&UserName, u64> =
            known.into_iter().filter_map(|(user, turns)| Some((user, earliest(turns)?))).collect();
        // A user of whom nothing is here begins anew, and what is behind would begin where it is.
        self.queues.retain(|key, (user, turn)| {
            present.contains_key(key) || now.get(user).is_some_and(|now| turn.served > *now)
        });
        for queue in queues {
            self.seats += 1;
            let now = now.get(&queue.user).copied().unwrap_or(0);
            let newcomer = || (queue.user.clone(), Turn { served: now, seat: self.seats });
            let (_, turn) = self.queues.entry(queue.key).or_insert_with(newcomer);
            turn.keep_up(now, queue.running);
        }
    }

    /// Notes that tasks of these queues were started.
    pub fn served(&mut self, users: &[UserView], queues: &[QueueView], started: impl IntoIterator<Item = QueueKey>) {
        let weights: BTreeMap<&UserName, Weight> = users.iter().map(|user| (&user.name, user.weight)).collect();
        let queues: BTreeMap<QueueKey, &QueueView> = queues.iter().map(|queue| (queue.key, queue)).collect();
        for key in started {
            let Some(queue) = queues.get(&key) else { continue };
            if let Some((_, turn)) = self.queues.get_mut(&key) {
                *turn = turn.next(queue.weight);
            }
            if let (Some(turn), Some(weight)) = (self.users.get_mut(&queue.user), weights.get(&queue.user)) {
                *turn = turn.next(*weight);
            }
        }
    }

    pub(super) fn of_user(&self, name: &UserName) -> Turn {
        self.users.get(name).copied().unwrap_or_default()
    }

    pub(super) fn of_queue(&self, key: QueueKey) -> Turn {
        self.queues.get(&key).map(|(_, turn)| *turn).unwrap_or_default()
    }
}
