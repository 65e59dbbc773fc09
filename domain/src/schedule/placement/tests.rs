use std::sync::Arc;

use proptest::prelude::*;

use super::super::fit::{Device, Lack, Outlook, Requirements, WorkerTraits, fit, outlook};
use super::super::{Assignment, Turns, UserView, decide};
use super::*;
use crate::digest::Digest;
use crate::forecast::DeviceKind;
use crate::share::{Quota, Weight};

const SMALL: DemandKey = DemandKey(1);
const LARGE: DemandKey = DemandKey(2);

fn id(n: u32) -> TaskId {
    TaskId::from_digest(Digest::of(&n.to_le_bytes()))
}

fn gpu() -> DeviceKind {
    DeviceKind::of("cuda:0", 1)
}

/// Tasks that were seen to take so much memory, and a second for a unit of cost.
fn demand(peak_memory_mib: u32) -> Demand {
    Demand {
        peak_memory_mib: [(gpu(), peak_memory_mib)].into(),
        secs_per_cost: [(gpu(), 1.0)].into(),
        ..Demand::default()
    }
}

/// A worker with GPUs of so much memory and four slots each, of which so many run a task that has 1000 MiB.
fn worker(name: &str, memory_mib: &[u32], busy: &[u32]) -> WorkerView {
    let device = |(n, memory): (usize, &u32)| Device { name: format!("cuda:{n}"), memory_mib: Some(*memory), slots: 4 };
    let devices: Vec<Device> = memory_mib.iter().enumerate().map(device).collect();
    let uses: Vec<DeviceUse> = busy.iter().map(|tasks| DeviceUse { tasks: *tasks, memory_mib: tasks * 1000 }).collect();
    let slots = 4 * devices.len() as u32;
    let free_slots = slots - busy.iter().sum::<u32>();
    let labels = [("gpu".to_owned(), name.to_owned())].into();
    let traits = Arc::new(WorkerTraits { labels, kind: gpu(), devices });
    WorkerView { traits, uses, free_slots, ..WorkerView::plain(name.parse().unwrap(), slots) }
}

fn task(n: u32, demand: DemandKey, rank: f64) -> ReadyTask {
    ReadyTask { id: id(n), critical_path_cost: rank, inputs: Vec::new(), demand, cost: 100.0 }
}

fn queue(key: i32, ready: Vec<ReadyTask>) -> QueueView {
    QueueView {
        key: QueueKey(key),
        user: "ada".parse().unwrap(),
        priority: 0,
        weight: Weight::ONE,
        quota: Quota::NONE,
        running: 0,
        preempts: false,
        requires: Requirements::default(),
        demands: vec![SMALL, LARGE],
        ready,
        more: false,
    }
}

fn snapshot(workers: Vec<WorkerView>, queues: Vec<QueueView>) -> Snapshot {
    let user = UserView { name: "ada".parse().unwrap(), weight: Weight::ONE, quota: Quota::NONE, running: 0 };
    let demands = [(SMALL, demand(800)), (LARGE, demand(5000))].into();
    Snapshot { workers, users: vec![user], queues, demands, longest_secs: None }
}

fn places(snapshot: &Snapshot) -> Vec<(TaskId, String, Option<usize>)> {
    let decided = decide(snapshot, &Turns::default());
    decided.into_iter().map(|it| (it.task, it.worker.to_string(), it.place.device)).collect()
}

#[test]
fn tasks_share_a_device_while_their_memory_fits_with_a_margin() {
    let tasks = (0..4).map(|n| task(n, LARGE, 0.0)).collect();
    let decided = decide(&snapshot(vec![worker("a", &[12_000], &[0])], vec![queue(1, tasks)]), &Turns::default());
    let memory: Vec<u32> = decided.iter().map(|it| it.place.memory_mib).collect();
    assert_eq!(memory, [5750, 5750], "two of 5000 MiB and 15 % each, though four slots are free");
}

#[test]
fn the_device_with_most_free_memory_is_taken() {
    let snapshot =
        snapshot(vec![worker("a", &[8_000, 8_000, 4_000], &[3, 1, 0])], vec![queue(1, vec![task(1, SMALL, 0.0)])]);
    assert_eq!(places(&snapshot), [(id(1), "a".to_owned(), Some(1))]);
}

#[test]
fn what_ran_on_a_device_once_is_not_kept_away_by_the_margin() {
    let fits = |memory| fit(&worker("a", &[memory], &[0]), &Requirements::default(), &demand(5000));
    assert_eq!(fits(5000), Fit::Now(Place { device: Some(0), memory_mib: 5000 }));
    assert_eq!(fits(4999), Fit::Never(Lack::Memory(5750)));
}

#[test]
fn a_task_that_ran_out_of_memory_waits_for_a_larger_device() {
    let needy = Demand { min_memory_mib: Some(9_000), ..demand(5000) };
    let fits = |memory| fit(&worker("a", &[memory], &[0]), &Requirements::default(), &needy);
    assert_eq!(fits(8_000), Fit::Never(Lack::Memory(9_000)));
    assert_eq!(fits(16_000), Fit::Now(Place { device: Some(0), memory_mib: 9_000 }));
}

#[test]
fn a_task_that_was_never_seen_leaves_the_other_slots_their_part() {
    let fits = |busy| fit(&worker("a", &[8_000], &[busy]), &Requirements::default(), &Demand::default());
    assert_eq!(fits(1), Fit::Now(Place { device: Some(0), memory_mib: 2_000 }));
    let asked = Requirements { memory_mib: Some(7_500), ..Requirements::default() };
    assert_eq!(fit(&worker("a", &[8_000], &[1]), &asked, &Demand::default()), Fit::Later(0));
}

#[test]
fn a_label_that_a_sweep_asks_for_is_one_that_the_worker_carries() {
    let asks = |value: &str| Requirements { labels: [("gpu".to_owned(), value.to_owned())].into(), memory_mib: None };
    let of = |value: &str| QueueView { requires: asks(value), ..queue(1, vec![task(1, SMALL, 0.0)]) };
    let workers = || vec![worker("a", &[8_000], &[0]), worker("b", &[8_000], &[3])];
    assert_eq!(places(&snapshot(workers(), vec![of("b")])), [(id(1), "b".to_owned(), Some(0))]);
    assert_eq!(places(&snapshot(workers(), vec![of("c")])), []);
    assert_eq!(outlook(&workers(), &asks("c"), &demand(800)), Outlook::Never);
    assert_eq!(fit(&workers()[0], &asks("c"), &demand(800)), Fit::Never(Lack::Label("gpu".into(), "c".into())));
}

#[test]
fn a_large_task_keeps_a_device_from_the_small_ones_behind_it_and_leaves_them_the_others() {
    let small = |n| task(n, SMALL, 1.0);
    let tasks = vec![task(1, LARGE, 9.0), small(2), small(3), small(4), small(5), small(6)];
    let workers = vec![worker("a", &[6_000], &[2]), worker("b", &[6_000], &[3])];
    let placed = places(&snapshot(workers, vec![queue(1, tasks)]));
    assert_eq!(placed.len(), 1, "{placed:?}");
    assert_eq!(placed[0].1, "b", "on the other one the large task has to wait for less");
}

#[test]
fn what_fits_nowhere_does_not_hold_up_what_does() {
    let large = (0..9).map(|n| task(n, LARGE, 9.0));
    let tasks = large.chain([task(100, SMALL, 1.0)]).collect();
    let hidden = QueueView { more: true, ..queue(1, tasks) };
    let other = queue(2, vec![task(200, SMALL, 1.0)]);
    let placed = places(&snapshot(vec![worker("a", &[4_000], &[0])], vec![hidden, other]));
    assert_eq!(placed.iter().map(|it| it.0).collect::<Vec<_>>(), [id(100), id(200)]);
}

#[test]
fn a_worker_gets_what_it_is_expected_to_finish_and_a_training_longer_than_any_wall_time_half_of_it() {
    let with = |remaining_secs, longest_secs| {
        let worker = WorkerView { remaining_secs: Some(remaining_secs), ..worker("a", &[8_000], &[0]) };
        let it = snapshot(vec![worker], vec![queue(1, vec![task(1, SMALL, 0.0)])]);
        places(&Snapshot { longest_secs, ..it }).len()
    };
    assert_eq!([with(101.0, None), with(99.0, None)], [1, 0], "it is expected to take 100 seconds");
    assert_eq!([with(71.0, Some(140.0)), with(69.0, Some(140.0))], [1, 0]);
}

#[test]
fn of_equally_free_workers_the_one_that_worked_with_the_data_is_taken() {
    let data: Arc<str> = "pets".into();
    let knows = |it: WorkerView| WorkerView { data: vec![Arc::clone(&data)], ..it };
    let small = || worker("a", &[8_000], &[0]);
    let taken = |workers| {
        let mut it = snapshot(workers, vec![queue(1, vec![task(1, SMALL, 0.0)])]);
        it.demands.insert(SMALL, Demand { data: Some(Arc::clone(&data)), ..demand(800) });
        places(&it)[0].1.clone()
    };
    assert_eq!(taken(vec![small(), knows(worker("b", &[8_000], &[0]))]), "b");
    assert_eq!(taken(vec![small(), knows(worker("b", &[8_000], &[1]))]), "a", "balance goes first");
}

#[test]
fn a_worker_of_one_slot_does_not_wait_until_large_ones_are_full() {
    let busy = |name: &str, free_slots| WorkerView { free_slots, ..WorkerView::plain(name.parse().unwrap(), 32) };
    let small = WorkerView::plain("small".parse().unwrap(), 1);
    let tasks = (0..3).map(|n| task(n, DemandKey(0), f64::from(9 - n))).collect();
    let placed = places(&snapshot(vec![busy("a", 20), busy("b", 30), small], vec![queue(1, tasks)]));
    let names: Vec<&str> = placed.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "small").count(), 1, "{placed:?}");
    assert_eq!(names.iter().filter(|name| **name == "b").count(), 2, "{placed:?}");
}

fn workers() -> impl Strategy<Value = Vec<WorkerView>> {
    let device = (1_000u32..16_000, 0u32..4);
    prop::collection::vec(prop::collection::vec(device, 1..3), 1..5).prop_map(|drawn| {
        let named = |(n, devices): (usize, Vec<(u32, u32)>)| {
            let (memory, busy): (Vec<u32>, Vec<u32>) = devices.into_iter().unzip();
            worker(&format!("w{n}"), &memory, &busy)
        };
        drawn.into_iter().enumerate().map(named).collect()
    })
}

proptest! {
    #[test]
    fn no_device_is_given_more_tasks_or_memory_than_it_has(
        workers in workers(),
        drawn in prop::collection::vec((0i32..3, 0.0f64..9.0), 0..40),
    ) {
        let tasks = drawn.iter().enumerate().map(|(n, (demand, rank))| task(n as u32, DemandKey(*demand), *rank)).collect();
        let snapshot = snapshot(workers, vec![queue(1, tasks)]);
        let decided = decide(&snapshot, &Turns::default());
        for worker in &snapshot.workers {
            for (index, device) in worker.traits.devices.iter().enumerate() {
                let here = |it: &&Assignment| it.worker == worker.id && it.place.device == Some(index);
                let given: Vec<_> = decided.iter().filter(here).collect();
                let taken = worker.uses[index];
                prop_assert!(given.len() as u32 + taken.tasks <= device.slots);
                let memory: u32 = given.iter().map(|it| it.place.memory_mib).sum();
                prop_assert!(given.is_empty() || memory + taken.memory_mib <= device.memory_mib.unwrap());
            }
        }
    }

    /// Slot by slot as tasks end, small tasks never running out: the large one is started all the same.
    #[test]
    fn a_large_task_is_not_starved_by_small_ones_that_never_end_to_come(order in prop::collection::vec(0usize..4, 12..40)) {
        let mut running = [Some(1_000u32); 4];
        for (round, slot) in order.into_iter().chain(0..4).enumerate() {
            running[slot] = None;
            let uses = DeviceUse { tasks: running.iter().flatten().count() as u32, memory_mib: running.iter().flatten().sum() };
            let free = 4 - uses.tasks;
            let host = WorkerView { uses: vec![uses], free_slots: free, ..worker("a", &[6_000], &[0]) };
            let small = (0..4).map(|n| task(100 * round as u32 + n + 2, SMALL, 1.0));
            let tasks = [task(1, LARGE, 9.0)].into_iter().chain(small).collect();
            for given in decide(&snapshot(vec![host], vec![queue(1, tasks)]), &Turns::default()) {
                if given.task == id(1) {
                    return Ok(());
                }
                let free = running.iter().position(Option::is_none).unwrap();
                running[free] = Some(given.place.memory_mib);
            }
        }
        prop_assert!(false, "the large task never ran");
    }
}
