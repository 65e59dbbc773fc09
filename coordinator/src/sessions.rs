//! The live sessions of workers: what they were given, when they were last heard, how far they are. In memory only, and never the truth about a
//! task: that stands in the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gauntlet_domain::experiment::TaskSpec;
use gauntlet_domain::schedule::WorkerView;
use gauntlet_domain::{AttemptNumber, AttemptRef, TaskId, WorkerId};
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::{self, CoordinatorMessage};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Where messages to a worker go.
pub type Outbox = mpsc::Sender<Result<CoordinatorMessage, Status>>;

/// All live sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_worker: Mutex<BTreeMap<WorkerId, Session>>,
}

/// A live session.
#[derive(Debug)]
pub struct Session {
    number: i64,
    slots: u32,
    draining: bool,
    outbox: Outbox,
    close: oneshot::Sender<Status>,
    heard: Instant,
    renewed: Instant,
    running: BTreeMap<TaskId, Running>,
    holds: BTreeSet<TaskId>,
}

#[derive(Debug)]
struct Running {
    attempt: AttemptNumber,
    progress: Option<Progress>,
    /// What it computes, where that is known without asking the database.
    spec: Option<Arc<TaskSpec>>,
    /// Whether its end is on the way to the database: its worker could begin something else.
    ending: bool,
}

/// An attempt that goes to a worker.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub attempt: AttemptRef,
    /// What it computes, if this version can read it.
    pub spec: Option<Arc<TaskSpec>>,
    /// Tasks whose output the worker will hold.
    pub inputs: Vec<TaskId>,
    /// What the worker is told.
    pub assign: v1::Assign,
}

/// How far an attempt is, in its worker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// So much is done
    pub done: u64,
    /// of so much
    pub total: u64,
    /// of these.
    pub unit: String,
}

/// A session as the loops see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whose.
    pub worker: WorkerId,
    /// Its number.
    pub number: i64,
    /// Attempts it can run at once.
    pub slots: u32,
    /// Whether it takes no new work because it leaves.
    pub draining: bool,
    /// Time since it was heard.
    pub silence: Duration,
    /// What it was given.
    pub running: Vec<AttemptRef>,
}

impl Session {
    /// A session that begins now.
    pub fn new(number: i64, slots: u32, draining: bool, outbox: Outbox, close: oneshot::Sender<Status>) -> Self {
        let now = Instant::now();
        Self {
            number,
            slots,
            draining,
            outbox,
            close,
            heard: now,
            renewed: now,
            running: BTreeMap::new(),
            holds: BTreeSet::new(),
        }
    }

    /// The same session with what its worker runs and holds.
    #[must_use]
    pub fn with(mut self, running: &[AttemptRef], holds: impl IntoIterator<Item = TaskId>) -> Self {
        self.running = running
            .iter()
            .map(|attempt| {
                (attempt.task, Running { attempt: attempt.attempt, progress: None, spec: None, ending: false })
            })
            .collect();
        self.holds = holds.into_iter().collect();
        self
    }

    /// A worker that does not read its messages is as good as gone: the stream is closed, and it comes back or not.
    fn send(&self, message: Message) -> bool {
        self.outbox.try_send(Ok(CoordinatorMessage { message: Some(message) })).is_ok()
    }

    /// Attempts that it could be given now.
    fn free_slots(&self, now: Instant, silence: Duration) -> u32 {
        if self.draining || now.saturating_duration_since(self.heard) > silence {
            return 0;
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let ending = count(self.running.values().filter(|running| running.ending).count());
        // Ends that the database does not take do not pile up without bound.
        let busy = count(self.running.len()).saturating_sub(ending.min(self.slots));
        self.slots.saturating_sub(busy)
    }

    /// Those of these tasks whose output it holds: a worker may hold very many.
    fn held(&self, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        let (few, many) = if tasks.len() <= self.holds.len() { (tasks, &self.holds) } else { (&self.holds, tasks) };
        few.iter().filter(|task| many.contains(task)).copied().collect()
    }

    fn runs(&mut self, attempt: AttemptRef) -> Option<&mut Running> {
        self.running.get_mut(&attempt.task).filter(|running| running.attempt == attempt.attempt)
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Session>> {
        self.by_worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in, in place of an earlier one of the same worker, which is closed. A later one stays, and the given one is closed.
    pub fn insert(&self, worker: WorkerId, session: Session) {
        let mut sessions = self.lock();
        let replaced = match sessions.get(&worker) {
            Some(other) if other.number > session.number => Some(session),
            _ => sessions.insert(worker, session),
        };
        drop(sessions);
        if let Some(old) = replaced {
            close(old, Status::aborted("a later session of this worker replaced this one"));
        }
    }

    /// Forgets a session that is over.
    pub fn remove(&self, worker: &WorkerId, number: i64) {
        let mut sessions = self.lock();
        if sessions.get(worker).is_some_and(|session| session.number == number) {
            sessions.remove(worker);
        }
    }

    /// Ends a session.
    pub fn close(&self, worker: &WorkerId, number: i64, status: Status) {
        let mut sessions = self.lock();
        if sessions.get(worker).is_some_and(|session| session.number == number)
            && let Some(session) = sessions.remove(worker)
        {
            close(session, status);
        }
    }

    /// Ends all sessions.
    pub fn close_all(&self, status: &Status) {
        for session in std::mem::take(&mut *self.lock()).into_values() {
            close(session, status.clone());
        }
    }

    /// A message of this session arrived.
    pub fn heard(&self, worker: &WorkerId, number: i64) {
        self.with(worker, Some(number), |session| session.heard = Instant::now());
    }

    /// The lease of this session's worker begins anew.
    pub fn renewed(&self, worker: &WorkerId, number: i64) {
        self.with(worker, Some(number), |session| session.renewed = Instant::now());
    }

    /// All sessions.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().iter().map(|(worker, session)| seen(worker, session)).collect()
    }

    /// A worker's session.
    pub fn of(&self, worker: &WorkerId) -> Option<Seen> {
        self.lock().get(worker).map(|session| seen(worker, session))
    }

    /// The sessions whose leases are due: heard within `term`, and renewed longer ago. With their numbers.
    pub fn due_for_renewal(&self, term: Duration) -> Vec<(WorkerId, i64)> {
        let now = Instant::now();
        let due = |session: &Session| {
            now.saturating_duration_since(session.renewed) >= term
                && now.saturating_duration_since(session.heard) <= term
        };
        let sessions = self.lock();
        sessions.iter().filter(|(_, it)| due(it)).map(|(worker, it)| (worker.clone(), it.number)).collect()
    }

    /// Whether this session of a worker is here and was not given this attempt.
    pub fn lacks(&self, worker: &WorkerId, number: i64, attempt: AttemptRef) -> bool {
        self.with(worker, Some(number), |session| session.runs(attempt).is_none()).unwrap_or(false)
    }

    /// Slots of workers that could take work now.
    pub fn free_slots(&self, silence: Duration) -> usize {
        let now = Instant::now();
        self.lock().values().map(|session| session.free_slots(now, silence) as usize).sum()
    }

    /// The sessions that could take work now, as the scheduler sees them who is about to place tasks with these inputs, with their numbers.
    pub fn takers(&self, silence: Duration, inputs: &BTreeSet<TaskId>) -> Vec<(WorkerView, i64)> {
        let now = Instant::now();
        let view = |(id, session): (&WorkerId, &Session)| {
            let free_slots = session.free_slots(now, silence);
            let view = || WorkerView { id: id.clone(), free_slots, takes_work: true, holds: session.held(inputs) };
            (free_slots > 0).then(|| (view(), session.number))
        };
        self.lock().iter().filter_map(view).collect()
    }

    /// Notes an attempt and sends it off. False if the session is over.
    pub fn assign(&self, worker: &WorkerId, number: i64, given: Given) -> bool {
        let Given { attempt, spec, inputs, assign } = given;
        let given = self.with(worker, Some(number), |session| {
            let sent = session.send(Message::Assign(assign));
            if sent {
                let running = Running { attempt: attempt.attempt, progress: None, spec, ending: false };
                session.running.insert(attempt.task, running);
                session.holds.extend(inputs);
            }
            sent
        });
        self.close_if_unread(worker, number, given)
    }

    /// An attempt is over; its slot is free. With a reason, its worker is told to stop it.
    pub fn ended(&self, worker: &WorkerId, attempt: AttemptRef, stop: Option<&str>) {
        let told = self.with(worker, None, |session| {
            if session.runs(attempt).is_some() {
                session.running.remove(&attempt.task);
            }
            let cancel = |reason: &str| v1::Cancel { attempt: Some(attempt.into()), reason: reason.to_owned() };
            let told = stop.is_none_or(|reason| session.send(Message::Cancel(cancel(reason))));
            (session.number, told)
        });
        if let Some((number, told)) = told {
            self.close_if_unread(worker, number, Some(told));
        }
    }

    /// A worker holds the output of this task.
    pub fn holds(&self, worker: &WorkerId, task: TaskId) {
        self.with(worker, None, |session| session.holds.insert(task));
    }

    /// Notes how far an attempt is. False if the worker does not run it.
    pub fn progressed(&self, worker: &WorkerId, number: i64, attempt: AttemptRef, progress: Progress) -> bool {
        let noted = self.with(worker, Some(number), |session| {
            session.runs(attempt).map(|running| running.progress = Some(progress)).is_some()
        });
        // Of a session that is over, nobody knows any more.
        noted.unwrap_or(true)
    }

    /// A worker reports of an attempt, and with `ends` that it is over: its slot is free, though the report is not stored yet. Gives what the attempt
    /// computes, if that was noted when it was assigned.
    pub fn reports(&self, worker: &WorkerId, attempt: AttemptRef, ends: bool) -> Option<Arc<TaskSpec>> {
        let noted = self.with(worker, None, |session| {
            let running = session.runs(attempt)?;
            running.ending |= ends;
            running.spec.clone()
        });
        noted.flatten()
    }

    /// How far an attempt is, as last heard.
    pub fn progress(&self, worker: &WorkerId, attempt: AttemptRef) -> Option<Progress> {
        self.with(worker, None, |session| session.runs(attempt)?.progress.clone()).flatten()
    }

    /// Gives a worker no new work; unless it knows, it is told.
    pub fn drain(&self, worker: &WorkerId, tell: bool) {
        self.with(worker, None, |session| {
            if !session.draining && tell {
                session.send(Message::Drain(v1::Drain {}));
            }
            session.draining = true;
        });
    }

    fn with<T>(&self, worker: &WorkerId, number: Option<i64>, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut sessions = self.lock();
        let session =
            sessions.get_mut(worker).filter(|session| number.is_none_or(|number| session.number == number))?;
        Some(change(session))
    }

    fn close_if_unread(&self, worker: &WorkerId, number: i64, sent: Option<bool>) -> bool {
        if sent == Some(false) {
            self.close(worker, number, Status::resource_exhausted("this worker does not read its messages"));
        }
        sent.unwrap_or(false)
    }
}

fn seen(worker: &WorkerId, session: &Session) -> Seen {
    Seen {
        worker: worker.clone(),
        number: session.number,
        slots: session.slots,
        draining: session.draining,
        silence: session.heard.elapsed(),
        running: session
            .running
            .iter()
            .map(|(task, running)| AttemptRef { task: *task, attempt: running.attempt })
            .collect(),
    }
}

fn close(session: Session, status: Status) {
    // The other end is gone when the stream has ended already.
    drop(session.close.send(status));
}
