//! What a task needs of the worker that runs it, and whether one has it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::WorkerView;
use crate::forecast::DeviceKind;

/// Number of a demand. 0 is that of tasks of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DemandKey(pub i32);

/// What tasks of one kind of work need of a device, as far as it is known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Demand {
    /// Memory in MiB that it has at least: with less such a task ran out that spared all it could.
    pub min_memory_mib: Option<u32>,
    /// The most memory in MiB that such a task was seen to take, by kind of device.
    pub peak_memory_mib: BTreeMap<DeviceKind, u32>,
    /// Seconds per unit of cost, by kind of device.
    pub secs_per_cost: BTreeMap<DeviceKind, f64>,
    /// Names the data set.
    pub data: Option<Arc<str>>,
}

/// What a sweep asks of the workers for all of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// Labels that a worker carries.
    pub labels: BTreeMap<String, String>,
    /// Memory in MiB that a task gets, in place of what such tasks were seen to take.
    pub memory_mib: Option<u32>,
}

/// What a worker is, as far as it does not change during a session.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerTraits {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The kind of its devices.
    pub kind: DeviceKind,
    /// Its devices; none where it does not tell.
    pub devices: Vec<Device>,
}

impl Default for WorkerTraits {
    fn default() -> Self {
        Self { labels: BTreeMap::new(), kind: DeviceKind::of("cpu", 1), devices: Vec::new() }
    }
}

/// A device of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `cpu`, `cuda:0`, …
    pub name: String,
    /// Its memory in MiB, where that is known.
    pub memory_mib: Option<u32>,
    /// Tasks it can run at once.
    pub slots: u32,
}

/// What of a device is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceUse {
    /// Tasks that run on it.
    pub tasks: u32,
    /// Memory in MiB that is meant for them.
    pub memory_mib: u32,
}

/// Whether a worker can run a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Fit {
    /// At once.
    Now(Place),
    /// When enough of what it runs is over: on the device of this index.
    Later(usize),
    /// Not as it is.
    Never(Lack),
}

/// Where on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Index of the device; none where the worker does not tell its devices.
    pub device: Option<usize>,
    /// Memory in MiB that is meant for the task.
    pub memory_mib: u32,
}

/// What a worker lacks for a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Lack {
    /// A label, with this value.
    Label(String, String),
    /// A device with so much memory in MiB.
    Memory(u32),
    /// So many seconds of wall time.
    Time(f64),
}

/// Beside the most that was ever seen, a task gets this much more memory.
const MARGIN: f64 = 1.15;

impl Demand {
    /// Memory in MiB that a task gets on a device. Of one that was never seen nothing is known but that it should leave the other slots theirs.
    fn memory_on(&self, device: &Device, kind: &DeviceKind, requires: &Requirements) -> u32 {
        let Some(total) = device.memory_mib else { return 0 };
        let peak = self.peak_memory_mib.get(kind).copied();
        let with_margin = |peak: u32| {
            let wanted = (f64::from(peak) * MARGIN).ceil() as u32;
            // What did run there once is not kept away by the margin.
            if peak <= total { wanted.min(total) } else { wanted }
        };
        let usual = requires.memory_mib.or_else(|| peak.map(with_margin));
        let usual = usual.unwrap_or_else(|| total / device.slots.max(1));
        usual.max(self.min_memory_mib.unwrap_or(0))
    }

    /// Seconds that a task of this cost is expected to take on this kind of device, where that is known.
    fn secs(&self, cost: f64, kind: &DeviceKind) -> Option<f64> {
        self.secs_per_cost.get(kind).map(|secs_per_cost| secs_per_cost * cost)
    }
}

/// Whether a worker can run tasks like this, but for the time that they take.
pub fn fit(worker: &WorkerView, requires: &Requirements, demand: &Demand) -> Fit {
    let room = Room { traits: &worker.traits, free_slots: worker.free_slots, uses: &worker.uses };
    room.fit(requires, demand)
}

/// A worker with what is left of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) traits: &'a WorkerTraits,
    pub(super) free_slots: u32,
    pub(super) uses: &'a [DeviceUse],
}

impl Room<'_> {
    pub(super) fn fit(self, requires: &Requirements, demand: &Demand) -> Fit {
        let Self { traits, free_slots, .. } = self;
        if let Some((key, value)) = requires.labels.iter().find(|(key, value)| traits.labels.get(*key) != Some(*value))
        {
            return Fit::Never(Lack::Label(key.clone(), value.clone()));
        }
        if traits.devices.is_empty() {
            return if free_slots > 0 { Fit::Now(Place::default()) } else { Fit::Later(0) };
        }
        let needs = traits.devices.iter().map(|device| demand.memory_on(device, &traits.kind, requires));
        let needs: Vec<u32> = needs.collect();
        let large_enough = |index: &usize| traits.devices[*index].memory_mib.is_none_or(|total| needs[*index] <= total);
        let has_room = |index: &usize| self.slots_of(*index) > 0 && needs[*index] <= self.left_of(*index);
        let roomiest = |index: &usize| (self.left_of(*index), self.slots_of(*index), Reverse(*index));
        let candidates = || (0..traits.devices.len()).filter(large_enough);
        let now = candidates().filter(has_room).max_by_key(roomiest);
        match (now, candidates().max_by_key(roomiest)) {
            (Some(index), _) if free_slots > 0 => Fit::Now(Place { device: Some(index), memory_mib: needs[index] }),
            (_, Some(index)) => Fit::Later(index),
            (_, None) => Fit::Never(Lack::Memory(needs.into_iter().min().unwrap_or(0))),
        }
    }

    fn taken(self, device: usize) -> DeviceUse {
        self.uses.get(device).copied().unwrap_or_default()
    }

    /// Tasks that the device of this index could still run.
    pub(super) fn slots_of(self, device: usize) -> u32 {
        self.traits.devices.get(device).map_or(0, |it| it.slots.saturating_sub(self.taken(device).tasks))
    }

    /// Memory in MiB of the device of this index that is meant for nobody; very much where it is not known.
    pub(super) fn left_of(self, device: usize) -> u32 {
        let total = self.traits.devices.get(device).and_then(|device| device.memory_mib);
        total.map_or(u32::MAX, |total| total.saturating_sub(self.taken(device).memory_mib))
    }
}

/// Seconds that a worker lacks to finish a task. `longest_secs` is the wall time of the worker that is allowed most of it, where all are limited.
///
/// A task that no worker can finish goes on from its checkpoint on another one; to begin with it, half of the longest wall time is enough.
pub fn lacks_time(worker: &WorkerView, demand: &Demand, cost: f64, longest_secs: Option<f64>) -> Option<Lack> {
    let remaining = worker.remaining_secs?;
    let needed = demand.secs(cost, &worker.traits.kind)?;
    let needed = longest_secs.map_or(needed, |longest| needed.min(longest / 2.0));
    (needed > remaining).then_some(Lack::Time(needed))
}

/// How soon tasks like this can be run by any of these workers: the best of their fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlook {
    /// By none of them.
    Never,
    /// By one of them, when enough of what it runs is over.
    Later,
    /// At once.
    Now,
}

/// The best that these workers can do for tasks like this, but for the time that they take.
pub fn outlook(workers: &[WorkerView], requires: &Requirements, demand: &Demand) -> Outlook {
    let mut best = Outlook::Never;
    for worker in workers {
        match fit(worker, requires, demand) {
            Fit::Now(_) if worker.takes_work => return Outlook::Now,
            Fit::Now(_) | Fit::Later(_) => best = Outlook::Later,
            Fit::Never(_) => {}
        }
    }
    best
}
