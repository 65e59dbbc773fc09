//! Which worker runs it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::fit::{Demand, DemandKey, DeviceUse, Fit, Place, Room, lacks_time};
use super::{QueueKey, QueueView, ReadyTask, Snapshot, WorkerView};
use crate::ids::{TaskId, WorkerId};

/// Workers of equal rank among which one is looked for that worked with the data set.
const LOOK: usize = 8;

/// What is known of a task that is not known.
static UNKNOWN: Demand =
    Demand { min_memory_mib: None, peak_memory_mib: BTreeMap::new(), secs_per_cost: BTreeMap::new(), data: None };

type Rank = (u64, u32);

/// A worker as it is after what was given so far.
#[derive(Debug)]
struct Host<'a> {
    view: &'a WorkerView,
    free_slots: u32,
    uses: Vec<DeviceUse>,
}

impl<'a> Host<'a> {
    fn new(view: &'a WorkerView) -> Self {
        let mut uses = view.uses.clone();
        uses.resize(view.traits.devices.len(), DeviceUse::default());
        Self { view, free_slots: view.free_slots, uses }
    }

    /// The larger the part of its slots that is free, the higher; then the more are free. A small worker does not wait until large ones are full.
    fn rank(&self) -> Rank {
        let part = (u64::from(self.free_slots) << 32) / u64::from(self.view.slots.max(1));
        (part, self.free_slots)
    }

    fn room(&self) -> Room<'_> {
        Room { traits: &self.view.traits, free_slots: self.free_slots, uses: &self.uses }
    }
}

/// The free slots.
#[derive(Debug)]
pub(super) struct Places<'a> {
    demands: &'a BTreeMap<DemandKey, Demand>,
    longest_secs: Option<f64>,
    /// By id.
    hosts: Vec<Host<'a>>,
    free_slots: u64,
    /// The highest rank first. Entries whose rank has changed since are passed over.
    roomiest: BinaryHeap<(Rank, Reverse<usize>)>,
    /// Workers that hold what some task needs.
    holders: BTreeMap<TaskId, Vec<usize>>,
    /// What fits nowhere any more.
    closed: BTreeSet<(QueueKey, DemandKey)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let takers = snapshot.workers.iter().filter(|worker| worker.takes_work && worker.free_slots > 0);
        let mut hosts: Vec<Host<'a>> = takers.map(Host::new).collect();
        hosts.sort_by(|a, b| a.view.id.cmp(&b.view.id));
        let inputs: BTreeSet<TaskId> =
            snapshot.queues.iter().flat_map(|queue| &queue.ready).flat_map(|task| &task.inputs).copied().collect();
        let ranks = hosts.iter().enumerate().map(|(index, host)| (host.rank(), Reverse(index)));
        Self {
            demands: &snapshot.demands,
            longest_secs: snapshot.longest_secs,
            free_slots: hosts.iter().map(|host| u64::from(host.free_slots)).sum(),
            roomiest: ranks.collect(),
            holders: holders(&hosts, &inputs),
            closed: BTreeSet::new(),
            hosts,
        }
    }

    pub(super) const fn are_full(&self) -> bool {
        self.free_slots == 0
    }

    /// A slot for the task, on a worker that holds most of its inputs, else on one of the highest rank.
    pub(super) fn take(&mut self, queue: &QueueView, task: &ReadyTask) -> Option<(WorkerId, Place)> {
        if self.closed.contains(&(queue.key, task.demand)) {
            return None;
        }
        match self.holder(queue, task).or_else(|| self.roomiest(queue, task)) {
            Some((index, place)) => {
                self.occupy(index, place, 1);
                Some((self.hosts[index].view.id.clone(), place))
            }
            None => {
                self.keep_for(queue, task);
                None
            }
        }
    }

    fn demand(&self, task: &ReadyTask) -> &'a Demand {
        self.demands.get(&task.demand).unwrap_or(&UNKNOWN)
    }

    fn place(&self, index: usize, queue: &QueueView, task: &ReadyTask) -> Option<Place> {
        let (host, demand) = (&self.hosts[index], self.demand(task));
        match host.room().fit(&queue.requires, demand) {
            Fit::Now(place) if lacks_time(host.view, demand, task.cost, self.longest_secs).is_none() => Some(place),
            Fit::Now(_) | Fit::Later(_) | Fit::Never(_) => None,
        }
    }

    fn occupy(&mut self, index: usize, place: Place, slots: u32) {
        let host = &mut self.hosts[index];
        let slots = slots.min(host.free_slots);
        host.free_slots -= slots;
        self.free_slots -= u64::from(slots);
        if let Some(taken) = place.device.and_then(|device| host.uses.get_mut(device)) {
            taken.tasks += slots;
            taken.memory_mib = taken.memory_mib.saturating_add(place.memory_mib);
        }
        if host.free_slots > 0 {
            self.roomiest.push((host.rank(), Reverse(index)));
        }
    }

    fn holder(&self, queue: &QueueView, task: &ReadyTask) -> Option<(usize, Place)> {
        let mut held: BTreeMap<usize, usize> = BTreeMap::new();
        for holder in task.inputs.iter().filter_map(|input| self.holders.get(input)).flatten() {
            *held.entry(*holder).or_default() += 1;
        }
        let placed =
            held.into_iter().filter_map(|(worker, count)| Some((worker, count, self.place(worker, queue, task)?)));
        let best = placed.max_by_key(|(worker, count, _)| (*count, self.hosts[*worker].rank(), Reverse(*worker)));
        best.map(|(worker, _, place)| (worker, place))
    }

    fn roomiest(&mut self, queue: &QueueView, task: &ReadyTask) -> Option<(usize, Place)> {
        let data = self.demand(task).data.as_ref();
        let mut looked_at = Vec::new();
        let mut found: Option<(Rank, usize, Place)> = None;
        let mut candidates = 0;
        while candidates < LOOK
            && let Some((rank, Reverse(index))) = self.roomiest.pop()
        {
            if self.hosts[index].free_slots == 0 || self.hosts[index].rank() != rank {
                continue;
            }
            looked_at.push((rank, Reverse(index)));
            if found.is_some_and(|(highest, ..)| rank < highest) {
                break;
            }
            let Some(place) = self.place(index, queue, task) else { continue };
            candidates += 1;
            let knows_data = data.is_none_or(|data| self.hosts[index].view.data.contains(data));
            if found.is_none() || knows_data {
                found = Some((rank, index, place));
            }
            if knows_data {
                break;
            }
        }
        self.roomiest.extend(looked_at);
        found.map(|(_, index, place)| (index, place))
    }

    /// Keeps the device on which the task fits soonest from others, unless it is only time that lacks.
    fn keep_for(&mut self, queue: &QueueView, task: &ReadyTask) {
        let demand = self.demand(task);
        let mut best: Option<(u32, usize, usize)> = None;
        for (index, host) in self.hosts.iter().enumerate() {
            match host.room().fit(&queue.requires, demand) {
                Fit::Now(_) => return,
                Fit::Later(device) if best.is_none_or(|(most, ..)| host.room().left_of(device) > most) => {
                    best = Some((host.room().left_of(device), index, device));
                }
                Fit::Later(_) | Fit::Never(_) => {}
            }
        }
        self.closed.insert((queue.key, task.demand));
        if let Some((_, index, device)) = best {
            let slots = self.hosts[index].room().slots_of(device);
            self.occupy(index, Place { device: Some(device), memory_mib: 0 }, slots);
        }
    }
}

/// Whoever is shorter is gone through: what a worker holds, or what is needed.
fn holders(hosts: &[Host<'_>], inputs: &BTreeSet<TaskId>) -> BTreeMap<TaskId, Vec<usize>> {
    let mut holders: BTreeMap<TaskId, Vec<usize>> = BTreeMap::new();
    for (index, Host { view: worker, .. }) in hosts.iter().enumerate() {
        let (few, many) =
            if worker.holds.len() < inputs.len() { (&worker.holds, inputs) } else { (inputs, &worker.holds) };
        for input in few.iter().filter(|input| many.contains(input)) {
            holders.entry(*input).or_default().push(index);
        }
    }
    holders
}

#[cfg(test)]
mod tests;
