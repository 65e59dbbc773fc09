use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::ids::{AttemptNumber, AttemptRef};
use crate::task::Timestamp;

fn id(n: u32) -> TaskId {
    TaskId::from_digest(Digest::of(&n.to_le_bytes()))
}

fn name(n: usize) -> UserName {
    format!("user-{n}").parse().unwrap()
}

fn weight(n: u32) -> Weight {
    n.try_into().unwrap()
}

fn worker(name: &str, free_slots: u32, holds: &[u32]) -> WorkerView {
    WorkerView { holds: holds.iter().map(|n| id(*n)).collect(), ..WorkerView::plain(name.parse().unwrap(), free_slots) }
}

fn ready(n: u32, cost: f64, inputs: &[u32]) -> ReadyTask {
    let inputs = inputs.iter().map(|n| id(*n)).collect();
    ReadyTask { id: id(n), critical_path_cost: cost, inputs, demand: DemandKey::default(), cost: 1.0 }
}

fn user(n: usize) -> UserView {
    UserView { name: name(n), weight: Weight::ONE, quota: Quota::NONE, running: 0 }
}

fn queue(key: i32, user: usize, ready: Vec<ReadyTask>) -> QueueView {
    QueueView {
        key: QueueKey(key),
        user: name(user),
        priority: 0,
        weight: Weight::ONE,
        quota: Quota::NONE,
        running: 0,
        preempts: false,
        requires: Requirements::default(),
        demands: vec![DemandKey::default()],
        ready,
        more: false,
    }
}

/// A queue with so many ready tasks.
fn long(key: i32, user: usize, tasks: u32) -> QueueView {
    queue(key, user, (0..tasks).map(|n| ready(key as u32 * 100_000 + n, 1.0, &[])).collect())
}

fn snapshot(workers: Vec<WorkerView>, users: Vec<UserView>, queues: Vec<QueueView>) -> Snapshot {
    Snapshot { workers, users, queues, ..Snapshot::default() }
}

fn by_queue(assignments: &[Assignment]) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    assignments.iter().for_each(|given| *counts.entry(given.queue.0).or_default() += 1);
    counts
}

fn decided(snapshot: &Snapshot) -> Vec<Assignment> {
    let mut turns = Turns::default();
    turns.seat(&snapshot.users, &snapshot.queues);
    decide(snapshot, &turns)
}

#[test]
fn the_longest_chain_goes_first_and_to_the_worker_that_holds_its_input() {
    let tasks = vec![ready(1, 1.0, &[]), ready(2, 5.0, &[9]), ready(3, 3.0, &[])];
    let snapshot = snapshot(vec![worker("a", 1, &[]), worker("b", 1, &[9])], vec![user(0)], vec![queue(1, 0, tasks)]);
    let pairs: Vec<_> = decided(&snapshot).into_iter().map(|given| (given.task, given.worker.to_string())).collect();
    assert_eq!(pairs, [(id(2), "b".to_owned()), (id(3), "a".to_owned())]);
}

#[test]
fn slots_are_shared_by_the_weights_of_users_then_by_the_weights_of_their_sweeps() {
    let snapshot = snapshot(
        vec![worker("a", 12, &[])],
        vec![UserView { weight: weight(3), ..user(0) }, user(1)],
        vec![QueueView { weight: weight(2), ..long(1, 0, 100) }, long(2, 0, 100), long(3, 1, 100)],
    );
    assert_eq!(by_queue(&decided(&snapshot)), BTreeMap::from([(1, 6), (2, 3), (3, 3)]));
}

#[test]
fn a_higher_priority_goes_first_among_the_sweeps_of_its_user_and_takes_nothing_from_another_user() {
    let snapshot = snapshot(
        vec![worker("a", 6, &[])],
        vec![user(0), user(1)],
        vec![long(1, 0, 100), QueueView { priority: 5, ..long(2, 0, 2) }, long(3, 1, 100)],
    );
    assert_eq!(by_queue(&decided(&snapshot)), BTreeMap::from([(1, 1), (2, 2), (3, 3)]));
}

#[test]
fn what_runs_already_counts() {
    let snapshot = snapshot(
        vec![worker("a", 4, &[])],
        vec![UserView { running: 10, ..user(0) }, UserView { running: 8, ..user(1) }],
        vec![long(1, 0, 100), long(2, 1, 100)],
    );
    assert_eq!(by_queue(&decided(&snapshot)), BTreeMap::from([(1, 1), (2, 3)]));
}

/// One slot, tasks that are over at once: nobody ever has anything running when it is decided.
fn starts_on_one_slot(users: &[UserView], queues: &[QueueView], rounds: usize) -> Vec<i32> {
    let mut turns = Turns::default();
    let snapshot = snapshot(vec![worker("a", 1, &[])], users.to_vec(), queues.to_vec());
    let mut served = Vec::new();
    for _ in 0..rounds {
        turns.seat(users, queues);
        let given = decide(&snapshot, &turns);
        turns.served(users, queues, given.iter().map(|given| given.queue));
        served.extend(given.iter().map(|given| given.queue.0));
    }
    served
}

#[test]
fn where_tasks_are_over_at_once_everybody_has_his_turn_as_often_as_his_weight_says() {
    let users = [UserView { weight: weight(3), ..user(0) }, user(1)];
    let queues = [long(1, 0, 9), long(2, 0, 9), long(3, 1, 9)];
    let served = starts_on_one_slot(&users, &queues, 80);
    let count = |key| served.iter().filter(|it| **it == key).count();
    assert_eq!([1, 2, 3].map(count), [30, 30, 20]);
}

#[test]
fn an_absence_earns_nothing() {
    let (users, queues) = ([user(0), user(1)], [long(1, 0, 9), long(2, 1, 9)]);
    let mut turns = Turns::default();
    let one = |turns: &mut Turns, who: &[usize]| {
        let users: Vec<_> = who.iter().map(|who| users[*who].clone()).collect();
        let queues: Vec<_> = who.iter().map(|who| queues[*who].clone()).collect();
        turns.seat(&users, &queues);
        let given = decide(&snapshot(vec![worker("a", 1, &[])], users.clone(), queues.clone()), turns);
        turns.served(&users, &queues, given.iter().map(|given| given.queue));
        given[0].queue.0
    };
    (0..1000).for_each(|_| assert_eq!(one(&mut turns, &[0]), 1));
    let after: Vec<i32> = (0..6).map(|_| one(&mut turns, &[0, 1])).collect();
    assert_eq!(after.iter().filter(|it| **it == 2).count(), 3, "{after:?}");
}

#[test]
fn tasks_that_go_on_for_long_earn_nothing_against_tasks_that_are_over_at_once() {
    let (mut users, mut queues) = ([user(0), user(1)], [long(1, 0, 9), long(2, 1, 9)]);
    (users[0].running, queues[0].running) = (1, 1);
    let mut turns = Turns::default();
    let one = |turns: &mut Turns, users: &[UserView], queues: &[QueueView]| {
        turns.seat(users, queues);
        let (users, queues) = (users.to_vec(), queues.to_vec());
        let given = decide(&snapshot(vec![worker("a", 1, &[])], users, queues.clone()), turns);
        turns.served(&[user(0), user(1)], &queues, given.iter().map(|given| given.queue));
        given[0].queue.0
    };
    (0..1000).for_each(|_| assert_eq!(one(&mut turns, &users, &queues), 2));
    (users[0].running, queues[0].running) = (0, 0);
    let after: Vec<i32> = (0..6).map(|_| one(&mut turns, &users, &queues)).collect();
    let of_other = after.iter().filter(|it| **it == 2).count();
    assert!(of_other >= 2, "no more than the one turn of the last look: {after:?}");
}

#[test]
fn a_look_needs_no_more_of_the_queues_than_there_are_slots() {
    let users: Vec<_> = (0..1000).map(user).collect();
    let unseen = |n: i32| QueueView { more: true, ..queue(n, n as usize, Vec::new()) };
    let queues: Vec<_> = (0..1000).map(unseen).collect();
    let mut turns = Turns::default();
    turns.seat(&users, &queues);
    let wanted = wanted(&users, &queues, &turns, 500);
    assert_eq!(wanted.iter().map(|(_, count)| count).sum::<usize>(), 500);
    assert!(wanted.iter().all(|(_, count)| *count == 1));
}

fn quota() -> impl Strategy<Value = Quota> {
    prop_oneof![3 => Just(Quota::NONE), 1 => (1u32..6).prop_map(|most| Quota::of(most).unwrap())]
}

type Drawn = (u32, u32, Quota);

/// Up to four users with up to three sweeps each, that have something running and something ready.
fn snapshots() -> impl Strategy<Value = Snapshot> {
    let workers = prop::collection::vec((0u32..4, any::<bool>(), prop::collection::btree_set(0u32..5, 0..3)), 0..6);
    let sweep = (
        (1u32..4, 0u32..5, quota()),
        -1i32..2,
        prop::collection::vec((0.0f64..9.0, prop::collection::vec(0u32..5, 0..2)), 0..12),
    );
    let user = ((1u32..4, 0u32..3, quota()), prop::collection::vec(sweep, 1..4));
    (workers, prop::collection::vec(user, 1..5)).prop_map(|(workers, drawn)| {
        let workers = workers.into_iter().enumerate().map(|(n, (slots, takes_work, holds))| WorkerView {
            takes_work,
            ..worker(&format!("w{n}"), slots, &holds.into_iter().collect::<Vec<_>>())
        });
        let (mut users, mut queues) = (Vec::new(), Vec::new());
        for (number, ((user_weight, elsewhere, user_quota), sweeps)) in drawn.into_iter().enumerate() {
            let running =
                sweeps.iter().map(|((_, running, _), _, _): &(Drawn, i32, Vec<_>)| running).sum::<u32>() + elsewhere;
            users.push(UserView { name: name(number), weight: weight(user_weight), quota: user_quota, running });
            for ((sweep_weight, running, quota), priority, tasks) in sweeps {
                let key = queues.len() as i32;
                let task =
                    |(n, (cost, inputs)): (usize, (f64, Vec<u32>))| ready(key as u32 * 100 + n as u32, cost, &inputs);
                let tasks = tasks.into_iter().enumerate().map(task).collect();
                queues.push(QueueView {
                    priority,
                    running,
                    quota,
                    weight: weight(sweep_weight),
                    ..queue(key, number, tasks)
                });
            }
        }
        snapshot(workers.collect(), users, queues)
    })
}

fn slots(snapshot: &Snapshot) -> usize {
    snapshot.workers.iter().filter(|it| it.takes_work).map(|it| it.free_slots as usize).sum()
}

/// Room that quotas leave, and what is ready within it.
fn startable(snapshot: &Snapshot) -> usize {
    let of_user = |user: &UserView| {
        let queues = snapshot.queues.iter().filter(|queue| queue.user == user.name);
        let sum: usize = queues.map(|queue| queue.ready.len().min(queue.quota.room(queue.running) as usize)).sum();
        sum.min(user.quota.room(user.running) as usize)
    };
    snapshot.users.iter().map(of_user).sum()
}

proptest! {
    #[test]
    fn no_task_is_given_twice_and_no_slot_is_filled_twice(snapshot in snapshots()) {
        let decisions = decided(&snapshot);
        let tasks: BTreeSet<_> = decisions.iter().map(|d| d.task).collect();
        prop_assert_eq!(tasks.len(), decisions.len());
        for worker in &snapshot.workers {
            let given = decisions.iter().filter(|d| d.worker == worker.id).count();
            let room = if worker.takes_work { worker.free_slots as usize } else { 0 };
            prop_assert!(given <= room);
        }
    }

    #[test]
    fn no_slot_stays_free_while_a_task_waits_that_may_run(snapshot in snapshots()) {
        prop_assert_eq!(decided(&snapshot).len(), startable(&snapshot).min(slots(&snapshot)));
    }

    #[test]
    fn no_quota_is_exceeded(snapshot in snapshots()) {
        let decisions = decided(&snapshot);
        for queue in &snapshot.queues {
            let given = decisions.iter().filter(|d| d.queue == queue.key).count();
            prop_assert!(given <= queue.quota.room(queue.running) as usize);
        }
        for user in &snapshot.users {
            let his: BTreeSet<_> = snapshot.queues.iter().filter(|it| it.user == user.name).map(|it| it.key).collect();
            let given = decisions.iter().filter(|d| his.contains(&d.queue)).count();
            prop_assert!(given <= user.quota.room(user.running) as usize);
        }
    }

    /// Weighted max-min: what a user got last was his while he had no more for his weight than anybody who still waits has now.
    #[test]
    fn nobody_gets_more_than_his_share_while_another_user_waits(snapshot in snapshots()) {
        let decisions = decided(&snapshot);
        let given = |user: &UserView| {
            let his = |d: &&Assignment| snapshot.queues.iter().any(|it| it.key == d.queue && it.user == user.name);
            decisions.iter().filter(his).count() as u64
        };
        let waits = |user: &UserView| {
            let rest = |queue: &&QueueView| queue.user == user.name && {
                let got = decisions.iter().filter(|d| d.queue == queue.key).count();
                got < queue.ready.len().min(queue.quota.room(queue.running) as usize)
            };
            snapshot.queues.iter().any(|queue| rest(&queue)) && given(user) < user.quota.room(user.running).into()
        };
        for waiting in snapshot.users.iter().filter(|user| waits(user)) {
            let has = u64::from(waiting.running) + given(waiting);
            for other in snapshot.users.iter().filter(|other| given(other) > 0) {
                let before = u64::from(other.running) + given(other) - 1;
                prop_assert!(before * u64::from(waiting.weight.get()) <= has * u64::from(other.weight.get()));
            }
        }
    }

    #[test]
    fn no_sweep_waits_behind_one_of_lower_priority_of_its_user(snapshot in snapshots()) {
        let decisions = decided(&snapshot);
        let given = |queue: &QueueView| decisions.iter().filter(|d| d.queue == queue.key).count();
        for low in snapshot.queues.iter().filter(|queue| given(queue) > 0) {
            for high in snapshot.queues.iter().filter(|high| high.user == low.user && high.priority > low.priority) {
                prop_assert_eq!(given(high), high.ready.len().min(high.quota.room(high.running) as usize));
            }
        }
    }

    /// The bound of ARCHITECTURE.md: of users who have nothing running each gets his first task before any of those who were there gets a second one,
    /// whatever waits, however heavy the others are, and however fast their tasks end.
    #[test]
    fn a_newcomers_first_task_is_started_with_one_of_the_next_slots_and_their_number_is_that_of_the_users(
        weights in prop::collection::vec(1u32..9, 1..6),
        endless in prop::collection::vec(any::<bool>(), 1..6),
        before in 0usize..40,
        newcomers in 1usize..4,
    ) {
        let old = weights.len();
        let keeps = |n: usize| endless.get(n).copied().unwrap_or(false);
        let mut users: Vec<_> = weights.iter().enumerate().map(|(n, w)| UserView { weight: weight(*w), ..user(n) }).collect();
        let mut queues: Vec<_> = (0..old).map(|n| long(n as i32, n, 60)).collect();
        let mut turns = Turns::default();
        let mut one = |users: &mut Vec<UserView>, queues: &mut Vec<QueueView>| {
            turns.seat(users, queues);
            let snapshot = snapshot(vec![worker("a", 1, &[])], users.clone(), queues.clone());
            let given = decide(&snapshot, &turns).remove(0);
            turns.served(users, queues, [given.queue]);
            let index = given.queue.0 as usize;
            queues[index].ready.retain(|task| task.id != given.task);
            // Some users' tasks go on for ever, those of others are over before the next look.
            users[index].running += u32::from(keeps(index));
            queues[index].running += u32::from(keeps(index));
            index
        };
        for _ in 0..before {
            one(&mut users, &mut queues);
        }
        for n in old..old + newcomers {
            users.push(user(n));
            queues.push(long(n as i32, n, 1));
        }
        let idle = users.iter().filter(|user| user.running == 0).count();
        let served: Vec<usize> = (0..idle).map(|_| one(&mut users, &mut queues)).collect();
        for n in old..old + newcomers {
            prop_assert!(served.contains(&n), "{n} is not among {served:?}");
        }
    }

    /// What is seen by asking for what is wanted leads to the same decisions as if all were seen.
    #[test]
    fn the_fronts_that_are_wanted_are_enough(snapshot in snapshots()) {
        let mut turns = Turns::default();
        turns.seat(&snapshot.users, &snapshot.queues);
        let mut seen = snapshot.clone();
        seen.queues.iter_mut().for_each(|queue| { queue.ready.clear(); queue.more = true; });
        loop {
            let wanted = wanted(&seen.users, &seen.queues, &turns, slots(&seen));
            if wanted.is_empty() { break }
            for (key, count) in wanted {
                let all = snapshot.queues.iter().find(|queue| queue.key == key).map(front).unwrap();
                let queue = seen.queues.iter_mut().find(|queue| queue.key == key).unwrap();
                queue.ready = all.into_iter().take(count).cloned().collect();
                queue.more = queue.ready.len() == count;
            }
        }
        prop_assert_eq!(decide(&seen, &turns), decide(&snapshot, &turns));
        let shown: usize = seen.queues.iter().map(|queue| queue.ready.len()).sum();
        prop_assert!(shown <= 2 * slots(&seen), "{shown} tasks for {} slots", slots(&seen));
    }
}

fn running(n: u32, queue: i32, user: usize, priority: i32, repeated_secs: f64) -> RunningView {
    RunningView {
        attempt: AttemptRef { task: id(n), attempt: AttemptNumber(1) },
        worker: "b".parse().unwrap(),
        queue: QueueKey(queue),
        user: name(user),
        priority,
        repeated_secs,
        started_at: Timestamp(i64::from(n)),
        leaving: false,
    }
}

fn full(queues: Vec<QueueView>, users: Vec<UserView>) -> Snapshot {
    snapshot(vec![worker("a", 0, &[]), worker("b", 0, &[])], users, queues)
}

fn numbers(stopped: &[AttemptRef], of: &[RunningView]) -> Vec<u32> {
    let number = |attempt: &AttemptRef| of.iter().position(|it| it.attempt == *attempt).unwrap() as u32;
    stopped.iter().map(number).collect()
}

#[test]
fn a_preempting_sweep_takes_from_lower_priorities_what_it_can_start_and_what_costs_least() {
    let urgent = QueueView { priority: 5, preempts: true, ..long(2, 0, 2) };
    let snapshot = full(vec![long(1, 0, 9), urgent], vec![UserView { running: 4, ..user(0) }]);
    let runs =
        vec![running(0, 1, 0, 0, 9.0), running(1, 1, 0, 0, 1.0), running(2, 1, 0, 0, 1.0), running(3, 3, 0, 5, 0.0)];
    let stopped = preemptions(&snapshot, &Turns::default(), &runs);
    assert_eq!(
        numbers(&stopped, &runs),
        [2, 1],
        "of two that cost as little the younger one first; an equal priority never"
    );
}

#[test]
fn nothing_is_preempted_for_who_did_not_ask_or_while_a_slot_is_free_or_becomes_free() {
    let urgent = |preempts| QueueView { priority: 5, preempts, ..long(2, 0, 1) };
    let runs = vec![running(0, 1, 0, 0, 1.0), RunningView { leaving: true, ..running(1, 1, 0, 0, 1.0) }];
    let users = || vec![UserView { running: 2, ..user(0) }];
    assert!(preemptions(&full(vec![urgent(false)], users()), &Turns::default(), &runs[..1]).is_empty());
    assert!(preemptions(&full(vec![urgent(true)], users()), &Turns::default(), &runs).is_empty());
    let roomy = Snapshot { workers: vec![worker("a", 1, &[])], ..full(vec![urgent(true)], users()) };
    assert!(preemptions(&roomy, &Turns::default(), &runs[..1]).is_empty());
    let leaves = WorkerView { takes_work: false, ..worker("a", 1, &[]) };
    let stays = Snapshot { workers: vec![leaves, worker("b", 0, &[])], ..roomy };
    assert_eq!(preemptions(&stays, &Turns::default(), &runs[..1]).len(), 1, "the slot of a worker that leaves is none");
}

#[test]
fn another_user_loses_only_what_is_beyond_his_fair_share() {
    let urgent = QueueView { priority: 5, preempts: true, ..long(2, 1, 9) };
    let snapshot = full(vec![urgent], vec![UserView { running: 6, ..user(0) }, user(1)]);
    let runs: Vec<_> = (0..6).map(|n| running(n, 1, 0, 0, 1.0)).collect();
    assert_eq!(preemptions(&snapshot, &Turns::default(), &runs).len(), 3);
    let equal: Vec<_> = (0..6).map(|n| running(n, 1, 0, 5, 1.0)).collect();
    assert!(preemptions(&snapshot, &Turns::default(), &equal).is_empty());
}

proptest! {
    #[test]
    fn preemption_stops_no_more_than_can_start_and_nothing_of_equal_or_higher_priority(
        snapshot in snapshots(),
        drawn in prop::collection::vec((0usize..4, -2i32..2, 0.0f64..5.0, any::<bool>()), 0..12),
    ) {
        let mut snapshot = snapshot;
        snapshot.workers.push(worker("b", 0, &[]));
        snapshot.queues.iter_mut().for_each(|queue| queue.preempts = queue.priority > 0);
        let runs: Vec<_> = drawn
            .into_iter()
            .enumerate()
            .map(|(n, (user, priority, cost, leaving))| RunningView { leaving, ..running(n as u32, 50, user, priority, cost) })
            .collect();
        let stopped = preemptions(&snapshot, &Turns::default(), &runs);
        let ready: usize = snapshot.queues.iter().filter(|it| it.preempts).map(|it| it.ready.len()).sum();
        prop_assert!(stopped.len() <= ready);
        let distinct: BTreeSet<_> = stopped.iter().collect();
        prop_assert_eq!(distinct.len(), stopped.len());
        for attempt in &stopped {
            let victim = runs.iter().find(|it| it.attempt == *attempt).unwrap();
            prop_assert!(!victim.leaving && victim.priority < 1);
        }
    }
}
