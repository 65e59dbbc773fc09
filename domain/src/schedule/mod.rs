//! Which ready task goes to which worker: one pure function, [`decide`].

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{TaskId, WorkerId};

/// What the scheduler sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Workers with a live session.
    pub workers: Vec<WorkerView>,
    /// Tasks that may be leased now, a prefix of the queue at least as long as there are free slots.
    pub ready: Vec<ReadyTask>,
}

/// A worker, as far as placement goes.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// Who.
    pub id: WorkerId,
    /// Attempts it could start now.
    pub free_slots: u32,
    /// False while it drains or misses heartbeats: it keeps what it runs and gets nothing new.
    pub takes_work: bool,
    /// Training tasks whose checkpoint it holds.
    pub holds: BTreeSet<TaskId>,
}

/// A task that may be leased now.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyTask {
    /// Which.
    pub id: TaskId,
    /// Higher goes first.
    pub priority: i32,
    /// Seconds that the longest chain of tasks which starts with it is expected to take; the longest goes first, so that the end of a sweep is not one long chain on one worker.
    pub critical_path_cost: f64,
    /// Tasks whose checkpoint it needs.
    pub inputs: Vec<TaskId>,
}

/// A decision: this worker shall run this task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which.
    pub task: TaskId,
    /// Who.
    pub worker: WorkerId,
}

/// Gives ready tasks to free slots: in order of priority, then critical path, then id; each to the worker that holds most of its inputs, then to the one with most free slots.
pub fn decide(snapshot: &Snapshot) -> Vec<Assignment> {
    let mut ready: Vec<&ReadyTask> = snapshot.ready.iter().collect();
    ready.sort_by(|a, b| {
        (b.priority.cmp(&a.priority)).then(b.critical_path_cost.total_cmp(&a.critical_path_cost)).then(a.id.cmp(&b.id))
    });
    let mut seen = BTreeSet::new();
    ready.retain(|task| seen.insert(task.id));
    let mut free: BTreeMap<&WorkerId, (u32, &WorkerView)> = snapshot
        .workers
        .iter()
        .filter(|worker| worker.takes_work)
        .map(|worker| (&worker.id, (worker.free_slots, worker)))
        .collect();
    let mut assignments = Vec::new();
    for task in ready {
        let Some(worker) = best_worker(task, &free) else { break };
        if let Some((slots, _)) = free.get_mut(&worker) {
            *slots -= 1;
        }
        assignments.push(Assignment { task: task.id, worker });
    }
    assignments
}

fn best_worker(task: &ReadyTask, free: &BTreeMap<&WorkerId, (u32, &WorkerView)>) -> Option<WorkerId> {
    free.values()
        .filter(|(slots, _)| *slots > 0)
        .max_by_key(|(slots, worker)| {
            let held = task.inputs.iter().filter(|input| worker.holds.contains(input)).count();
            (held, *slots, std::cmp::Reverse(&worker.id))
        })
        .map(|(_, worker)| worker.id.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Digest;

    fn id(n: u8) -> TaskId {
        TaskId::from_digest(Digest::of(&[n]))
    }

    fn worker(name: &str, free_slots: u32, holds: &[u8]) -> WorkerView {
        WorkerView {
            id: name.parse().unwrap(),
            free_slots,
            takes_work: true,
            holds: holds.iter().map(|n| id(*n)).collect(),
        }
    }

    fn ready(n: u8, cost: f64, inputs: &[u8]) -> ReadyTask {
        ReadyTask { id: id(n), priority: 0, critical_path_cost: cost, inputs: inputs.iter().map(|n| id(*n)).collect() }
    }

    #[test]
    fn the_longest_chain_goes_first_and_to_the_worker_that_holds_its_input() {
        let snapshot = Snapshot {
            workers: vec![worker("a", 1, &[]), worker("b", 1, &[9])],
            ready: vec![ready(1, 1.0, &[]), ready(2, 5.0, &[9]), ready(3, 3.0, &[])],
        };
        let pairs: Vec<_> = decide(&snapshot).into_iter().map(|a| (a.task, a.worker.to_string())).collect();
        assert_eq!(pairs, [(id(2), "b".to_owned()), (id(3), "a".to_owned())]);
    }

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        let workers = prop::collection::vec((0u32..4, any::<bool>(), prop::collection::btree_set(0u8..5, 0..3)), 0..6);
        let tasks = prop::collection::vec((-2i32..3, 0.0f64..9.0, prop::collection::vec(0u8..5, 0..2)), 0..30);
        (workers, tasks).prop_map(|(workers, tasks)| Snapshot {
            workers: workers
                .into_iter()
                .enumerate()
                .map(|(n, (slots, takes, holds))| WorkerView {
                    takes_work: takes,
                    ..worker(&format!("w{n}"), slots, &holds.into_iter().collect::<Vec<_>>())
                })
                .collect(),
            ready: tasks
                .into_iter()
                .enumerate()
                .map(|(n, (priority, cost, inputs))| ReadyTask { priority, ..ready(n as u8, cost, &inputs) })
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn no_task_is_given_twice_and_no_slot_is_filled_twice(snapshot in snapshots()) {
            let decisions = decide(&snapshot);
            let tasks: BTreeSet<_> = decisions.iter().map(|d| d.task).collect();
            prop_assert_eq!(tasks.len(), decisions.len());
            for worker in &snapshot.workers {
                let given = decisions.iter().filter(|d| d.worker == worker.id).count();
                let room = if worker.takes_work { worker.free_slots as usize } else { 0 };
                prop_assert!(given <= room);
            }
        }

        #[test]
        fn no_slot_stays_free_while_a_task_waits(snapshot in snapshots()) {
            let slots: u32 = snapshot.workers.iter().filter(|w| w.takes_work).map(|w| w.free_slots).sum();
            prop_assert_eq!(decide(&snapshot).len(), snapshot.ready.len().min(slots as usize));
        }

        #[test]
        fn no_task_waits_behind_one_of_lower_priority(snapshot in snapshots()) {
            let given: &BTreeSet<_> = &decide(&snapshot).into_iter().map(|d| d.task).collect();
            let of = |taken: bool| snapshot.ready.iter().filter(move |t| given.contains(&t.id) == taken).map(|t| t.priority);
            if let (Some(lowest), Some(highest)) = (of(true).min(), of(false).max()) {
                prop_assert!(lowest >= highest);
            }
        }
    }
}
