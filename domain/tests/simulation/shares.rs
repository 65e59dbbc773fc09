//! Users and their sweeps: the tables, and an observer of who is passed over.

use std::collections::BTreeMap;

use gauntlet_domain::schedule::{DemandKey, QueueKey, QueueView, Requirements, UserView};
use gauntlet_domain::share::{Quota, UserName, Weight};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// The tables of users and sweeps.
#[derive(Debug, Default, Clone)]
pub struct Shares {
    users: Vec<UserView>,
    queues: Vec<QueueView>,
}

impl Shares {
    /// Up to four users with up to three sweeps each, for so many tasks.
    pub fn draw(random: &mut ChaCha8Rng, tasks: u64) -> Self {
        let mut shares = Self::default();
        for number in 0..random.random_range(1..5) {
            let user = UserView {
                name: format!("user-{number}").parse().unwrap(),
                weight: weight(random),
                quota: quota(random, tasks),
                running: 0,
            };
            for _ in 0..random.random_range(1..4) {
                shares.queues.push(QueueView {
                    key: QueueKey(shares.queues.len() as i32),
                    user: user.name.clone(),
                    priority: random.random_range(0..3),
                    weight: weight(random),
                    quota: quota(random, tasks),
                    running: 0,
                    preempts: false,
                    requires: Requirements::default(),
                    demands: vec![DemandKey::default()],
                    ready: Vec::new(),
                    more: true,
                });
            }
            shares.users.push(user);
        }
        shares
    }

    /// One of the queues.
    pub fn any(&self, random: &mut ChaCha8Rng) -> QueueKey {
        self.queues[random.random_range(0..self.queues.len())].key
    }

    fn queue(&self, key: QueueKey) -> &QueueView {
        &self.queues[key.0 as usize]
    }

    /// These queues with their users, and what they run.
    pub fn contest(
        &self,
        queues: impl Iterator<Item = QueueKey>,
        running: &BTreeMap<QueueKey, u32>,
    ) -> (Vec<UserView>, Vec<QueueView>) {
        let view = |key: QueueKey| QueueView { running: of(running, key), ..self.queue(key).clone() };
        let queues: Vec<QueueView> = queues.map(view).collect();
        let users = self.users.iter().filter(|user| queues.iter().any(|queue| queue.user == user.name));
        let users = users.map(|user| UserView { running: self.of_user(user, running), ..user.clone() });
        (users.collect(), queues)
    }

    fn of_user(&self, user: &UserView, running: &BTreeMap<QueueKey, u32>) -> u32 {
        self.queues.iter().filter(|queue| queue.user == user.name).map(|queue| of(running, queue.key)).sum()
    }

    /// Whether one more may run.
    pub fn leave_room(&self, key: QueueKey, running: &BTreeMap<QueueKey, u32>) -> bool {
        let queue = self.queue(key);
        let mut user = self.users.iter().filter(|user| user.name == queue.user);
        queue.quota.room(of(running, key)) > 0 && user.all(|user| user.quota.room(self.of_user(user, running)) > 0)
    }

    /// The quota that so many running tasks exceed.
    pub fn exceeded(&self, running: &BTreeMap<QueueKey, u32>) -> Option<String> {
        let most = |quota: Quota| quota.most().unwrap_or(u32::MAX);
        let queue = self.queues.iter().find(|queue| of(running, queue.key) > most(queue.quota));
        let user = self.users.iter().find(|user| self.of_user(user, running) > most(user.quota));
        let of_queue = queue.map(|queue| format!("{:?} of {:?} tasks", queue.key, queue.quota));
        of_queue.or_else(|| user.map(|user| format!("{} of {:?} tasks", user.name, user.quota)))
    }
}

fn of(running: &BTreeMap<QueueKey, u32>, key: QueueKey) -> u32 {
    running.get(&key).copied().unwrap_or(0)
}

fn weight(random: &mut ChaCha8Rng) -> Weight {
    random.random_range(1u32..4).try_into().unwrap()
}

/// Seldom one, and none so small that a large world would last for days.
fn quota(random: &mut ChaCha8Rng, tasks: u64) -> Quota {
    let most = random.random_range(1..20) + tasks as u32 / 20;
    if random.random_bool(0.2) { Quota::of(most).unwrap() } else { Quota::NONE }
}

/// Slots that went to others while a user had nothing running and could have started something; at one coordinator, since its start.
#[derive(Debug, Default)]
pub struct PassedOver {
    slots: BTreeMap<(usize, u32, UserName), u64>,
}

impl PassedOver {
    /// A look of a coordinator at queues of which these users could start something, who was decided for and whose tasks were started.
    ///
    /// # Errors
    /// A user waited for more slots than the bound of ARCHITECTURE.md says.
    pub fn note(
        &mut self,
        coordinator: (usize, u32),
        able: &[UserView],
        decided: &[UserName],
        started: &[UserName],
    ) -> Result<(), String> {
        let here = |user: &UserName| (coordinator.0, coordinator.1, user.clone());
        let waits = |user: &&UserView| user.running == 0 && !decided.contains(&user.name);
        let waiting: Vec<&UserView> = able.iter().filter(waits).collect();
        self.slots.retain(|(number, life, user), _| {
            (*number, *life) != coordinator || waiting.iter().any(|waiting| waiting.name == *user)
        });
        for user in waiting {
            let slots = self.slots.entry(here(&user.name)).or_default();
            *slots += started.len() as u64;
            if *slots > bound(user) {
                return Err(format!("{} was passed over for {slots} slots", user.name));
            }
        }
        Ok(())
    }
}

/// Three others of at most three times the weight, each of whom may go once more than his weight says.
fn bound(user: &UserView) -> u64 {
    3 * (u64::from(3 / user.weight.get()) + 2)
}
