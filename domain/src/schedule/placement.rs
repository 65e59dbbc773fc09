//! Which worker runs it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{QueueView, ReadyTask, WorkerView};
use crate::ids::{TaskId, WorkerId};

/// The free slots.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// By id.
    workers: Vec<&'a WorkerView>,
    free: Vec<u32>,
    /// Most free slots first. Entries whose number has changed since are passed over.
    roomiest: BinaryHeap<(u32, Reverse<usize>)>,
    /// Workers that hold what some task needs.
    holders: BTreeMap<TaskId, Vec<usize>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(workers: &'a [WorkerView], queues: &[QueueView]) -> Self {
        let mut workers: Vec<&WorkerView> =
            workers.iter().filter(|worker| worker.takes_work && worker.free_slots > 0).collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        let inputs: BTreeSet<TaskId> =
            queues.iter().flat_map(|queue| &queue.ready).flat_map(|task| &task.inputs).copied().collect();
        let free: Vec<u32> = workers.iter().map(|worker| worker.free_slots).collect();
        let roomiest = free.iter().enumerate().map(|(index, slots)| (*slots, Reverse(index))).collect();
        Self { holders: holders(&workers, &inputs), workers, free, roomiest }
    }

    /// The slot of a worker that holds most of the task's inputs, then of one with most free slots, then of the first by id.
    pub(super) fn take(&mut self, task: &ReadyTask) -> Option<WorkerId> {
        let chosen = self.holder(task).or_else(|| self.roomiest())?;
        self.free[chosen] -= 1;
        if self.free[chosen] > 0 {
            self.roomiest.push((self.free[chosen], Reverse(chosen)));
        }
        Some(self.workers[chosen].id.clone())
    }

    fn holder(&self, task: &ReadyTask) -> Option<usize> {
        let mut held: BTreeMap<usize, usize> = BTreeMap::new();
        for holder in task.inputs.iter().filter_map(|input| self.holders.get(input)).flatten() {
            *held.entry(*holder).or_default() += 1;
        }
        let free = held.into_iter().filter(|(worker, _)| self.free[*worker] > 0);
        free.max_by_key(|(worker, count)| (*count, self.free[*worker], Reverse(*worker))).map(|(worker, _)| worker)
    }

    fn roomiest(&mut self) -> Option<usize> {
        loop {
            let (slots, Reverse(worker)) = self.roomiest.pop()?;
            if self.free[worker] == slots {
                return Some(worker);
            }
        }
    }
}

/// Whoever is shorter is gone through: what a worker holds, or what is needed.
fn holders(workers: &[&WorkerView], inputs: &BTreeSet<TaskId>) -> BTreeMap<TaskId, Vec<usize>> {
    let mut holders: BTreeMap<TaskId, Vec<usize>> = BTreeMap::new();
    for (index, worker) in workers.iter().enumerate() {
        let (few, many) =
            if worker.holds.len() < inputs.len() { (&worker.holds, inputs) } else { (inputs, &worker.holds) };
        for input in few.iter().filter(|input| many.contains(input)) {
            holders.entry(*input).or_default().push(index);
        }
    }
    holders
}
