//! The virtual clock, and everything that moves on it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::time::Duration;

use gauntlet_domain::schedule::{Snapshot, decide};
use gauntlet_domain::task::{Event as TaskEvent, Task, TaskState, Timestamp};
use gauntlet_domain::{AttemptRef, Digest, TaskId, WorkerId};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::coordinator::{Coordinator, Session};
use super::database::{Database, Row, Verdict};
use super::faults::{Fault, SECOND};
use super::network::{Stream, StreamId};
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
        other.ended.iter().for_each(|(state, count)| *self.ended.entry(state).or_default() += count);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, tasks, faults, attempts, messages, stale_reports, repeated_reports, ended } = self;
        write!(
            f,
            "{worlds} worlds: {tasks} tasks ({ended:?}), {faults} faults, {attempts} attempts, {messages} messages, "
        )?;
        write!(f, "{stale_reports} stale and {repeated_reports} repeated reports")
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
            counts: Counts { worlds: 1, tasks: size.tasks, ..Counts::default() },
        };
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
                _ => Ending::Success,
            };
            let row = Row {
                task: Task::submitted(inputs.len() as u32, self.now),
                inputs,
                dependents: Vec::new(),
                priority: self.random.random_range(0..3),
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
            let failed_without_cause = row.task.state == TaskState::Failed && row.ending == Ending::Success;
            if failed_without_cause && row.task.failures.transient == 0 {
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
            Fault::WorkerCrash { .. } => {}
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

    // Coordinators.

    fn lives(&self, coordinator: usize, life: u32) -> bool {
        let it = &self.coordinators[coordinator];
        it.up && it.life == life
    }

    fn wake(&mut self, coordinator: usize) {
        if !std::mem::replace(&mut self.coordinators[coordinator].awake, true) {
            let life = self.coordinators[coordinator].life;
            self.after(SECOND / 1000, Event::Look(coordinator, life));
        }
    }

    /// One look at the queue.
    fn look(&mut self, coordinator: usize, life: u32) {
        let until = self.coordinators[coordinator].paused_until.max(self.database_up_from.0);
        if !self.lives(coordinator, life) || self.put_off(until, Event::Look(coordinator, life)) {
            return;
        }
        // A look that was asked for and the regular one are the same loop.
        if !std::mem::replace(&mut self.coordinators[coordinator].awake, false) {
            self.after(POLL, Event::Look(coordinator, life));
        }
        let workers = self.coordinators[coordinator].takers(self.now, SILENCE);
        let free: usize = workers.iter().map(|worker| worker.free_slots as usize).sum();
        let ready = if free == 0 { Vec::new() } else { self.database.ready(free.min(BATCH), self.now) };
        if ready.is_empty() {
            return;
        }
        let mut claimed = Vec::new();
        for decision in decide(&Snapshot { workers, ready }) {
            let session = self.coordinators[coordinator].sessions[&decision.worker].number;
            if let Some(attempt) = self.database.claim(decision.task, &decision.worker, session, self.now) {
                claimed.push((decision.worker, attempt));
            }
        }
        if self.committed(coordinator) {
            return;
        }
        let some = !claimed.is_empty();
        for (worker, attempt) in claimed {
            let Some(session) = self.coordinators[coordinator].sessions.get_mut(&worker) else { continue };
            session.running.insert(attempt);
            let stream = session.stream;
            self.send_down(stream, ToWorker::Assign(attempt));
        }
        if some {
            self.wake(coordinator);
        }
    }

    fn look_after_leases(&mut self, coordinator: usize, life: u32) {
        let until = self.coordinators[coordinator].paused_until.max(self.database_up_from.0);
        let event = Event::LookAfterLeases(coordinator, life);
        if !self.lives(coordinator, life) || self.put_off(until, event) {
            return;
        }
        self.after(LOOK_AFTER_LEASES, Event::LookAfterLeases(coordinator, life));
        let now = self.now;
        let last = self.coordinators[coordinator].last_look.replace(now);
        if last.is_none_or(|last| now.0 - last.0 > LEASE_TTL / 2) {
            self.database.grant_grace(LEASE, now);
        }
        for (worker, session) in &mut self.coordinators[coordinator].sessions {
            if now.0 - session.renewed.0 >= RENEWAL && now.0 - session.heard.0 <= RENEWAL {
                self.database.renew(worker, session.number, LEASE, now);
                session.renewed = now;
            }
        }
        self.database.expire(now);
        if !self.committed(coordinator) {
            self.reconcile(coordinator);
            self.wake(coordinator);
        }
    }

    /// What another coordinator did to sessions and attempts of this one.
    fn reconcile(&mut self, coordinator: usize) {
        let workers: Vec<WorkerId> = self.coordinators[coordinator].sessions.keys().cloned().collect();
        for worker in workers {
            let session = &self.coordinators[coordinator].sessions[&worker];
            let (stream, number) = (session.stream, session.number);
            let known = session.running.clone();
            if self.database.workers[&worker].session != number {
                self.coordinators[coordinator].sessions.remove(&worker);
                continue;
            }
            let ended: Vec<AttemptRef> =
                known.iter().filter(|attempt| !self.database.is_running(&worker, **attempt)).copied().collect();
            for attempt in ended {
                self.coordinators[coordinator].sessions.get_mut(&worker).unwrap().running.remove(&attempt);
                self.send_down(stream, ToWorker::Cancel(attempt));
            }
            for orphan in self.database.leased_to(&worker) {
                if !known.contains(&orphan) {
                    self.database.take_back(&worker, orphan, self.now);
                }
            }
        }
    }

    fn arrive_up(&mut self, stream: StreamId, message: ToCoordinator) {
        let Stream { worker, coordinator, life, .. } = self.streams[stream];
        if !self.lives(coordinator, life) {
            return;
        }
        let talks = self.workers[worker].stream == Some(stream);
        let blocked = if talks { self.workers[worker].cut_until.0 } else { 0 };
        let database = if matches!(message, ToCoordinator::Heartbeat) { 0 } else { self.database_up_from.0 };
        let until = blocked.max(self.coordinators[coordinator].paused_until).max(database);
        if until > self.now.0 {
            let at = Stream::arrival(&mut self.streams[stream].latest_up, Timestamp(until));
            self.at(at, Event::Up(stream, message));
            return;
        }
        let id = self.workers[worker].id.clone();
        match message {
            ToCoordinator::Hello { attempts } => self.welcome(stream, &id, &attempts),
            ToCoordinator::Heartbeat => {
                let now = self.now;
                if let Some(session) = self.coordinators[coordinator].session(&id, stream) {
                    session.heard = now;
                    self.send_down(stream, ToWorker::Beat);
                }
            }
            ToCoordinator::Report { attempt, ending } => self.store_report(stream, &id, attempt, ending),
        }
    }

    fn welcome(&mut self, stream: StreamId, worker: &WorkerId, attempts: &BTreeSet<AttemptRef>) {
        let Stream { worker: index, coordinator, .. } = self.streams[stream];
        let (number, running, stale) = self.database.open_session(worker, attempts, LEASE, self.now);
        if self.committed(coordinator) {
            return;
        }
        let slots = self.workers[index].slots;
        let running = running.into_iter().collect();
        let session = Session { stream, number, slots, heard: self.now, renewed: self.now, running };
        self.coordinators[coordinator].sessions.insert(worker.clone(), session);
        self.send_down(stream, ToWorker::Welcome { stale });
        self.wake(coordinator);
    }

    fn store_report(&mut self, stream: StreamId, worker: &WorkerId, attempt: AttemptRef, ending: Ending) {
        let coordinator = self.streams[stream].coordinator;
        let current = self.database.is_running(worker, attempt);
        let verdict = self.database.report(worker, attempt, ending, self.now);
        match verdict {
            Verdict::Stale => self.counts.stale_reports += 1,
            Verdict::Accepted if !current => self.counts.repeated_reports += 1,
            Verdict::Accepted => {}
        }
        if self.committed(coordinator) {
            return;
        }
        if let Some(session) = self.coordinators[coordinator].session(worker, stream) {
            session.running.remove(&attempt);
        }
        self.send_down(stream, ToWorker::Acknowledge { attempt, accepted: verdict == Verdict::Accepted });
        self.wake(coordinator);
    }

    // Workers.

    fn delay(&mut self) -> i64 {
        let long = self.random.random_bool(0.01);
        self.random.random_range(100..if long { 3 * SECOND } else { 20_000 })
    }

    fn send_up(&mut self, stream: StreamId, message: ToCoordinator) {
        let delay = self.delay();
        let at = Stream::arrival(&mut self.streams[stream].latest_up, Timestamp(self.now.0 + delay));
        self.counts.messages += 1;
        let report = matches!(message, ToCoordinator::Report { .. });
        if report && self.random.random_bool(0.02) {
            let again = at.0 + self.delay();
            self.at(Timestamp(again), Event::Up(stream, message.clone()));
        }
        self.at(at, Event::Up(stream, message));
    }

    fn send_down(&mut self, stream: StreamId, message: ToWorker) {
        let delay = self.delay();
        let at = Stream::arrival(&mut self.streams[stream].latest_down, Timestamp(self.now.0 + delay));
        self.counts.messages += 1;
        if matches!(message, ToWorker::Assign(_)) && self.random.random_bool(0.02) {
            let again = at.0 + self.delay();
            self.at(Timestamp(again), Event::Down(stream, message.clone()));
        }
        self.at(at, Event::Down(stream, message));
    }

    fn arrive_down(&mut self, stream: StreamId, message: ToWorker) {
        let index = self.streams[stream].worker;
        let worker = &mut self.workers[index];
        if worker.stream != Some(stream) {
            return;
        }
        let until = worker.cut_until.max(worker.paused_until);
        if until > self.now {
            let at = Stream::arrival(&mut self.streams[stream].latest_down, until);
            self.at(at, Event::Down(stream, message));
            return;
        }
        worker.last_contact = self.now;
        if let ToWorker::Acknowledge { attempt, accepted: true } = message
            && worker.spool.get(&attempt) == Some(&Ending::Success)
        {
            self.database.ledger.acknowledged(attempt.task, attempt.attempt);
        }
        let actions = worker.hear(message);
        self.act(index, actions);
    }

    fn act(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => {
                    if let Some(stream) = self.workers[worker].stream {
                        self.send_up(stream, message);
                    }
                }
                Action::Compute(attempt) => {
                    let life = self.workers[worker].life;
                    let cost = self.database.rows[&attempt.task].cost as i64;
                    self.after(cost, Event::Finish(worker, life, attempt));
                }
            }
        }
    }

    fn finish(&mut self, worker: usize, life: u32, attempt: AttemptRef) {
        let until = self.workers[worker].paused_until.0;
        if self.workers[worker].life != life || self.put_off(until, Event::Finish(worker, life, attempt)) {
            return;
        }
        let planned = self.database.rows[&attempt.task].ending;
        let ending = if self.random.random_bool(0.02) { Ending::Transient } else { planned };
        let actions = self.workers[worker].finished(attempt, ending);
        self.act(worker, actions);
    }

    fn worker_tick(&mut self, index: usize, life: u32) {
        let until = self.workers[index].paused_until.0;
        if self.workers[index].life != life || self.put_off(until, Event::WorkerTick(index, life)) {
            return;
        }
        self.after(HEARTBEAT, Event::WorkerTick(index, life));
        let worker = &mut self.workers[index];
        let silence = self.now.0 - worker.last_contact.0;
        if silence > LEASE_TTL {
            worker.running.clear();
        }
        let opened = self.now.0 - worker.opened.0;
        match worker.stream {
            Some(stream) if silence.min(opened) <= KEEPALIVE => self.send_up(stream, ToCoordinator::Heartbeat),
            Some(_) => worker.stream = None,
            None => self.connect(index),
        }
    }

    fn connect(&mut self, index: usize) {
        let coordinator = self.random.random_range(0..self.coordinators.len());
        let worker = &mut self.workers[index];
        if !self.coordinators[coordinator].up || worker.cut_until > self.now {
            return;
        }
        let stream = self.streams.len();
        let life = self.coordinators[coordinator].life;
        let (latest_up, latest_down) = (self.now, self.now);
        self.streams.push(Stream { worker: index, coordinator, life, latest_up, latest_down });
        worker.stream = Some(stream);
        worker.opened = self.now;
        let attempts = worker.announce();
        self.send_up(stream, ToCoordinator::Hello { attempts });
    }
}
