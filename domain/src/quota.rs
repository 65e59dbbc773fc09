//! Quotas at the moment of a claim, and in words: why a ready task waits.

use std::collections::BTreeMap;

use crate::schedule::{QueueKey, QueueView, UserView};
use crate::share::{Quota, UserName};

/// Tasks that may still be started in queues and for users; who is not named here has no bound.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    queues: BTreeMap<QueueKey, u32>,
    users: BTreeMap<UserName, u32>,
    user_of: BTreeMap<QueueKey, UserName>,
}

impl Rooms {
    /// Notes a queue with its quota and its user's, and what runs in it and for him.
    pub fn add(&mut self, queue: QueueKey, quota: (Quota, u32), user: &UserName, user_quota: (Quota, u32)) {
        self.queues.insert(queue, quota.0.room(quota.1));
        self.users.insert(user.clone(), user_quota.0.room(user_quota.1));
        self.user_of.insert(queue, user.clone());
    }

    /// Starts a task of a queue, if there is room.
    pub fn take(&mut self, queue: QueueKey) -> bool {
        let user = self.user_of.get(&queue).and_then(|user| self.users.get_mut(user));
        match (self.queues.get_mut(&queue), user) {
            (Some(0), _) | (_, Some(0)) => false,
            (in_queue, for_user) => {
                for room in in_queue.into_iter().chain(for_user) {
                    *room -= 1;
                }
                true
            }
        }
    }
}

/// Who goes before a queue in which something is ready, and what bounds it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precedence {
    /// Its sweep may run so many tasks at once, and they run.
    pub full: Option<u32>,
    /// The same of its user.
    pub user_full: Option<(UserName, u32)>,
    /// Users with something ready who run less for their weights.
    pub users_before: usize,
    /// Sweeps of the same user with something ready that have a higher priority, or the same and run less for their weights.
    pub sweeps_before: usize,
}

/// What goes before a queue; none if nothing of it is ready.
pub fn precedence(users: &[UserView], queues: &[QueueView], key: QueueKey) -> Option<Precedence> {
    let queue = queues.iter().find(|queue| queue.key == key)?;
    let user = users.iter().find(|user| user.name == queue.user)?;
    let full = |quota: Quota, running: u32| quota.most().filter(|_| quota.room(running) == 0);
    let less = |running: (u32, u32), weights: (u32, u32)| {
        u64::from(running.0) * u64::from(weights.1) < u64::from(running.1) * u64::from(weights.0)
    };
    let waits = |other: &UserView| {
        let queues = queues.iter().filter(|queue| queue.user == other.name);
        full(other.quota, other.running).is_none() && queues.into_iter().any(|it| full(it.quota, it.running).is_none())
    };
    let user_goes_before = |other: &&UserView| {
        let weights = (other.weight.get(), user.weight.get());
        other.name != user.name && less((other.running, user.running), weights) && waits(other)
    };
    let sweep_goes_before = |other: &&QueueView| {
        let weights = (other.weight.get(), queue.weight.get());
        let first = other.priority > queue.priority
            || (other.priority == queue.priority && less((other.running, queue.running), weights));
        other.key != key && other.user == queue.user && first && full(other.quota, other.running).is_none()
    };
    Some(Precedence {
        full: full(queue.quota, queue.running),
        user_full: full(user.quota, user.running).map(|most| (user.name.clone(), most)),
        users_before: users.iter().filter(user_goes_before).count(),
        sweeps_before: queues.iter().filter(sweep_goes_before).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Requirements;
    use crate::share::Weight;

    fn name(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn user(of: &str, running: u32, weight: u32, quota: Quota) -> UserView {
        UserView { name: name(of), weight: Weight::try_from(weight).unwrap(), quota, running }
    }

    fn queue(key: i32, of: &str, priority: i32, running: u32, quota: Quota) -> QueueView {
        QueueView {
            key: QueueKey(key),
            user: name(of),
            priority,
            weight: Weight::ONE,
            quota,
            running,
            preempts: false,
            requires: Requirements::default(),
            demands: Vec::new(),
            ready: Vec::new(),
            more: true,
        }
    }

    #[test]
    fn nothing_is_started_beyond_the_quota_of_a_sweep_or_of_its_user() {
        let two = Quota::of(2).unwrap();
        let mut rooms = Rooms::default();
        rooms.add(QueueKey(1), (two, 1), &name("ada"), (Quota::NONE, 1));
        rooms.add(QueueKey(2), (Quota::NONE, 0), &name("bob"), (two, 1));
        rooms.add(QueueKey(3), (Quota::NONE, 1), &name("bob"), (two, 1));
        let taken = [1, 1, 2, 3, 9].map(|key| rooms.take(QueueKey(key)));
        assert_eq!(taken, [true, false, true, false, true]);
    }

    #[test]
    fn a_place_tells_who_goes_before_and_what_bounds_it() {
        let one = Quota::of(1).unwrap();
        let users = [user("ada", 4, 2, Quota::NONE), user("bob", 1, 1, Quota::NONE), user("cyd", 0, 1, Quota::NONE)];
        let queues = [
            queue(1, "ada", 0, 1, one),
            queue(2, "ada", 5, 3, Quota::NONE),
            queue(3, "ada", 0, 2, Quota::NONE),
            queue(4, "bob", 0, 1, Quota::NONE),
            queue(5, "cyd", 0, 1, one),
        ];
        let found = precedence(&users, &queues, QueueKey(1)).unwrap();
        assert_eq!(found, Precedence { full: Some(1), user_full: None, users_before: 1, sweeps_before: 1 });
        assert_eq!(precedence(&users, &queues, QueueKey(4)).unwrap(), Precedence::default());
        let bounded = [user("ada", 4, 2, Quota::of(3).unwrap())];
        let found = precedence(&bounded, &queues, QueueKey(3)).unwrap();
        assert_eq!((found.user_full, found.sweeps_before), (Some((name("ada"), 3)), 1));
        assert_eq!(precedence(&users, &queues, QueueKey(9)), None);
    }
}
