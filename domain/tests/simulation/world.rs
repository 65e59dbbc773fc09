//! The virtual clock, and everything that moves on it.

mod coordinators;
mod workers;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::time::Duration;

use gauntlet_domain::schedule::{QueueKey, Snapshot, decide, wanted};
use gauntlet_domain::share::UserName;
use gauntlet_domain::task::{Event as TaskEvent, Task, TaskState, Timestamp};
use gauntlet_domain::{AttemptRef, Digest, TaskId, WorkerId};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::coordinator::{Coordinator, Session};
use super::database::{Database, Row, Verdict};
use super::faults::{Fault, SECOND};
use super::network::{Stream, StreamId};
use super::shares::{PassedOver, Shares};
use super::worker::{Action, Ending, ToCoordinator, ToWorker, Worker};

// The defaults of coordinators and agents.
const HEARTBEAT: i64 = 2 * SECOND;
const SILENCE: i64 = 3 * HEARTBEAT;
const LEASE_TTL: i64 = 30 * SECOND;
const RENEWAL: i64 = LEASE_TTL / 3;
const LOOK_AFTER_LEASES: i64 = SECOND;
const POLL: i64 = SECOND;
/// Either side gives a connection up after so long without a word.
const KEEPALIVE: i64 = 10 * SECOND;
/// Most tasks per claim.
const BATCH: usize = 500;
/// By then everything has to have ended: faults end long before.
const DEADLINE: i64 = 48 * 3600 * SECOND;
/// Time for the last words after the last task has ended.
const AFTERMATH: i64 = 300 * SECOND;

const LEASE: Duration = Duration::from_micros(LEASE_TTL as u64);

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub workers: u64,
    pub tasks: u64,
    pub coordinators: u64,
}

/// What happened in a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub worlds: u64,
    pub tasks: u64,
    pub faults: u64,
    pub attempts: u64,
    pub messages: u64,
    pub stale_reports: u64,
    pub repeated_reports: u64,
    pub handed_back: u64,
    pub ended: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.tasks += other.tasks;
        self.faults += other.faults;
        self.attempts += other.attempts;
        self.messages += other.messages;
        self.stale_reports += other.stale_reports;
        self.repeated_reports += other.repeated_reports;
        self.handed_back += other.handed_back;
        other.ended.iter().for_each(|(state, count)| *self.ended.entry(state).or_default() += count);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, tasks, faults, attempts, messages, stale_reports, repeated_reports, handed_back, ended } =
            self;
        write!(
            f,
            "{worlds} worlds: {tasks} tasks ({ended:?}), {faults} faults, {attempts} attempts, {messages} messages, "
        )?;
        write!(
            f,
            "{stale_reports} stale and {repeated_reports} repeated reports, {handed_back} attempts handed back by signal"
        )
    }
}

#[derive(Debug, Clone)]
enum Event {
    Look(usize, u32),
    LookAfterLeases(usize, u32),
    Up(StreamId, ToCoordinator),
    Down(StreamId, ToWorker),
    WorkerTick(usize, u32),
    Finish(usize, u32, AttemptRef),
    Fault(Fault),
    WorkerUp(usize),
    CoordinatorUp(usize),
}

/// What happens when; of one moment, what was put down first comes first.
struct Appointment {
    at: Timestamp,
    number: u64,
    event: Event,
}

impl Ord for Appointment {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Appointment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Appointment {}

pub struct World {
    random: ChaCha8Rng,
    now: Timestamp,
    agenda: BinaryHeap<Reverse<Appointment>>,
    sequence: u64,
    database: Database,
    database_up_from: Timestamp,
    coordinators: Vec<Coordinator>,
    crash_after_commit: BTreeSet<usize>,
    workers: Vec<Worker>,
    streams: Vec<Stream>,
    tasks: Vec<TaskId>,
    passed_over: PassedOver,
    counts: Counts,
}

impl World {
    pub fn new(seed: u64, size: Size) -> Self {
        let coordinator = || Coordinator { up: true, ..Coordinator::default() };
        let mut world = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Timestamp(0),
            agenda: BinaryHeap::new(),
            sequence: 0,
            database: Database::default(),
            database_up_from: Timestamp(0),
            coordinators: (0..size.coordinators).map(|_| coordinator()).collect(),
            crash_after_commit: BTreeSet::new(),
            workers: Vec::new(),
            streams: Vec::new(),
            tasks: Vec::new(),
            passed_over: PassedOver::default(),
            counts: Counts { worlds: 1, tasks: size.tasks, ..Counts::default() },
        };
        world.database.shares = Shares::draw(&mut world.random, size.tasks);
        world.add_tasks(size.tasks);
        world.add_workers(size.workers);
        world.add_faults();
        for coordinator in 0..world.coordinators.len() {
            world.start_coordinator(coordinator);
        }
        world
    }

    /// A graph like that of a sweep: what needs nothing, what needs one of these, and what needs one of those.
    fn add_tasks(&mut self, count: u64) {
        let mut dependents: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        let mut rows = Vec::new();
        for number in 0..count {
            let id = TaskId::from_digest(Digest::of(&number.to_le_bytes()));
            let roots = (count / 10).max(1);
            let inputs: Vec<TaskId> = match number {
                number if number < roots => Vec::new(),
                _ => {
                    let wanted = self.random.random_range(1..3);
                    let chosen: BTreeSet<usize> =
                        (0..wanted).map(|_| self.random.random_range(0..number as usize)).collect();
                    chosen.into_iter().map(|input| self.tasks[input]).collect()
                }
            };
            inputs.iter().for_each(|input| dependents.entry(*input).or_default().push(id));
            self.tasks.push(id);
            let ending = match self.random.random_range(0..1000) {
                0..5 => Ending::Permanent,
                5..15 => Ending::Resource,
                15..20 => Ending::Crash,
                _ => Ending::Success,
            };
            let row = Row {
                task: Task::submitted(inputs.len() as u32, self.now),
                inputs,
                dependents: Vec::new(),
                queue: self.database.shares.any(&mut self.random),
                cost: self.random.random_range(1..60 * SECOND) as u64,
                ending,
                attempts: BTreeMap::new(),
            };
            rows.push((id, row));
        }
        for (id, row) in rows {
            let dependents = dependents.remove(&id).unwrap_or_default();
            self.database.insert(id, Row { dependents, ..row });
        }
    }

    fn add_workers(&mut self, count: u64) {
        for number in 0..count as usize {
            let slots = self.random.random_range(1..5);
            self.workers.push(Worker::new(format!("w{number}").parse().unwrap(), slots));
            let start = self.random.random_range(0..HEARTBEAT);
            self.after(start, Event::WorkerTick(number, 0));
        }
    }

    /// Faults come for ten minutes; some are over only later.
    fn add_faults(&mut self) {
        let (workers, coordinators) = (self.workers.len(), self.coordinators.len());
        let count = self.random.random_range(0..20 + 2 * workers);
        for _ in 0..count {
            let fault = Fault::draw(&mut self.random, workers, coordinators, self.tasks.len());
            let at = self.random.random_range(0..600 * SECOND);
            self.after(at, Event::Fault(fault));
        }
        self.counts.faults = count as u64;
    }

    /// Until everything has ended.
    ///
    /// # Errors
    /// What must not be.
    pub fn run(mut self) -> Result<Counts, String> {
        let mut quiet_from = None;
        while let Some(Reverse(Appointment { at, event, .. })) = self.agenda.pop() {
            self.now = at;
            self.happen(event);
            if let Some(violation) = self.database.ledger.violation() {
                return Err(format!("{violation} (at {:.3} s)", self.now.0 as f64 / SECOND as f64));
            }
            if self.database.open == 0 {
                let from = *quiet_from.get_or_insert(self.now);
                if self.now.0 - from.0 > AFTERMATH {
                    return self.conclude();
                }
            }
            if self.now.0 > DEADLINE {
                let waiting = self
                    .database
                    .rows
                    .iter()
                    .find(|(_, row)| matches!(row.task.state, TaskState::Ready | TaskState::Leased));
                return Err(format!("{} tasks never ended, one of them {waiting:?}", self.database.open));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn conclude(mut self) -> Result<Counts, String> {
        for worker in &self.workers {
            if !worker.holds().is_empty() {
                return Err(format!("{} still has {:?} when everything has ended", worker.id, worker.holds()));
            }
        }
        for row in self.database.rows.values() {
            *self.counts.ended.entry(row.task.state.name()).or_default() += 1;
            self.counts.attempts += row.attempts.len() as u64;
            let crashed = row.ending == Ending::Crash && row.task.state == TaskState::Failed;
            let quarantined = row.task.reason.as_ref().is_some_and(|reason| reason.starts_with("quarantined"));
            if crashed && row.task.failures.crash >= 3 && !quarantined {
                return Err(format!("a task was not quarantined that crashed so often: {:?}", row.task));
            }
            let failed_without_cause = row.task.state == TaskState::Failed && row.ending == Ending::Success;
            if failed_without_cause && row.task.failures.transient + row.task.failures.lost == 0 {
                return Err(format!("a task failed that had no reason to: {:?}", row.task));
            }
        }
        Ok(self.counts)
    }

    fn after(&mut self, wait: i64, event: Event) {
        self.at(Timestamp(self.now.0 + wait), event);
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.agenda.push(Reverse(Appointment { at, number: self.sequence, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look(coordinator, life) => self.look(coordinator, life),
            Event::LookAfterLeases(coordinator, life) => self.look_after_leases(coordinator, life),
            Event::Up(stream, message) => self.arrive_up(stream, message),
            Event::Down(stream, message) => self.arrive_down(stream, message),
            Event::WorkerTick(worker, life) => self.worker_tick(worker, life),
            Event::Finish(worker, life, attempt) => self.finish(worker, life, attempt),
            Event::Fault(fault) => self.strike(fault),
            Event::WorkerUp(worker) => {
                self.workers[worker].up = true;
                self.workers[worker].last_contact = self.now;
                let life = self.workers[worker].life;
                self.after(0, Event::WorkerTick(worker, life));
            }
            Event::CoordinatorUp(coordinator) => {
                self.coordinators[coordinator].up = true;
                self.start_coordinator(coordinator);
            }
        }
    }

    fn start_coordinator(&mut self, coordinator: usize) {
        let life = self.coordinators[coordinator].life;
        self.after(0, Event::LookAfterLeases(coordinator, life));
        self.after(POLL, Event::Look(coordinator, life));
    }

    fn strike(&mut self, fault: Fault) {
        let until = |time: i64| Timestamp(self.now.0 + time);
        match fault {
            Fault::WorkerCrash { worker, down } if self.workers[worker].up => {
                self.workers[worker].crash();
                self.after(down, Event::WorkerUp(worker));
            }
            Fault::WorkerHandsBack { worker } if self.workers[worker].up => {
                let actions = self.workers[worker].hand_back();
                self.counts.handed_back += actions.len() as u64;
                self.act(worker, actions);
            }
            Fault::WorkerPause { worker, pause } => self.workers[worker].paused_until = until(pause),
            Fault::Partition { worker, cut } => self.workers[worker].cut_until = until(cut),
            Fault::CoordinatorCrash { coordinator, down } => self.crash_coordinator(coordinator, down),
            Fault::CoordinatorPause { coordinator, pause } => {
                self.coordinators[coordinator].paused_until = until(pause).0;
            }
            Fault::CoordinatorCrashAfterCommit { coordinator } => {
                self.crash_after_commit.insert(coordinator);
            }
            Fault::DatabaseOutage { down } => self.database_up_from = until(down),
            Fault::Cancel { task } => {
                let event = TaskEvent::Cancelled { reason: "by the user".to_owned() };
                self.database.advance(self.tasks[task], event, self.now);
            }
            Fault::WorkerCrash { .. } | Fault::WorkerHandsBack { .. } => {}
        }
    }

    fn crash_coordinator(&mut self, coordinator: usize, down: i64) {
        if self.coordinators[coordinator].up {
            self.coordinators[coordinator].crash();
            self.after(down, Event::CoordinatorUp(coordinator));
        }
    }

    /// True where the coordinator died of it.
    fn committed(&mut self, coordinator: usize) -> bool {
        let dies = self.crash_after_commit.remove(&coordinator);
        if dies {
            self.crash_coordinator(coordinator, 2 * SECOND);
        }
        dies
    }

    /// Puts the event off if whoever it is for cannot attend to it now.
    fn put_off(&mut self, until: i64, event: Event) -> bool {
        let later = until > self.now.0;
        if later {
            self.at(Timestamp(until), event);
        }
        later
    }
}
