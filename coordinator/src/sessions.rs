//! The live sessions of workers: what they were given, when they were last heard, how far they are. In memory only, and never the truth about a
//! task: that stands in the database.

mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gauntlet_domain::experiment::TaskSpec;
use gauntlet_domain::forecast::DeviceKind;
use gauntlet_domain::schedule::{QueueKey, WorkerView};
use gauntlet_domain::{AttemptRef, Digest, TaskId, WorkerId};
use gauntlet_proto::v1;
use gauntlet_proto::v1::coordinator_message::Message;
use tonic::Status;

pub use session::{Given, Leaving, Outbox, Progress, Session, Told};

/// All live sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_worker: Mutex<BTreeMap<WorkerId, Session>>,
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
        let sessions = self.lock();
        let takers = sessions.iter().filter(|(_, session)| session.free_slots(now, silence) > 0);
        takers.map(|(id, session)| (session.view(id, now, silence, inputs), session.number)).collect()
    }

    /// All sessions as the scheduler sees them.
    pub fn views(&self, silence: Duration) -> Vec<WorkerView> {
        let now = Instant::now();
        let view = |(id, session): (&WorkerId, &Session)| session.view(id, now, silence, &BTreeSet::new());
        self.lock().iter().map(view).collect()
    }

    /// The kinds of devices that are here.
    pub fn device_kinds(&self) -> BTreeSet<DeviceKind> {
        let sessions = self.lock();
        let mut kinds: BTreeSet<DeviceKind> = BTreeSet::new();
        for kind in sessions.values().map(Session::kind) {
            if !kinds.contains(kind) {
                kinds.insert(kind.clone());
            }
        }
        kinds
    }

    /// The wall time of the worker that was allowed most of it; none where one may stay for ever, or nobody is here.
    pub fn longest_secs(&self) -> Option<f64> {
        let sessions = self.lock();
        let longest = sessions.values().filter(|it| it.leaving == Leaving::No).map(Session::wall_time);
        longest.reduce(|a, b| Some(a?.max(b?)))?.map(|longest| longest.as_secs_f64())
    }

    /// Notes an attempt and sends it off. False if the session is over.
    pub fn assign(&self, worker: &WorkerId, number: i64, given: Given) -> bool {
        let sent = self.with(worker, Some(number), |session| session.assign(given));
        self.close_if_unread(worker, number, sent)
    }

    /// The attempts that run and whether they were asked back, with their workers.
    pub fn running(&self) -> BTreeMap<AttemptRef, (WorkerId, bool)> {
        let mut all = BTreeMap::new();
        for (worker, session) in self.lock().iter() {
            for (task, running) in session.running.iter().filter(|(_, running)| !running.ending) {
                let attempt = AttemptRef { task: *task, attempt: running.attempt };
                all.insert(attempt, (worker.clone(), running.leaving));
            }
        }
        all
    }

    /// How many attempts of each queue run that these sessions took from it.
    pub fn running_of_queues(&self) -> BTreeMap<QueueKey, u32> {
        let mut counts = BTreeMap::new();
        for queue in self.lock().values().flat_map(|it| it.running.values()).filter_map(|running| running.queue) {
            *counts.entry(queue).or_default() += 1;
        }
        counts
    }

    /// An attempt is over; its slot is free. With a reason, its worker is told to stop it, unless this is a later session in which it never ran.
    pub fn ended(&self, worker: &WorkerId, attempt: AttemptRef, stop: Option<&str>) {
        let told = self.with(worker, None, |session| {
            if session.runs(attempt).is_none() {
                return (session.number, true);
            }
            session.running.remove(&attempt.task);
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

    /// Gives a worker no new work; it is told what it does not know yet.
    pub fn drain(&self, worker: &WorkerId, told: Told) {
        self.with(worker, None, |session| {
            let leaving = match told {
                Told::Already => Leaving::WhenDone,
                Told::Now { hand_back } => Leaving::of(true, hand_back),
            };
            if let Told::Now { hand_back } = told
                && leaving > session.leaving
            {
                session.send(Message::Drain(v1::Drain { hand_back }));
            }
            session.leaving = session.leaving.max(leaving);
        });
    }

    /// Asks a worker to stop an attempt at a checkpoint and to hand it back. Until it does, the attempt is its own. False if it does not run it, as far
    /// as this coordinator knows.
    pub fn hand_back(&self, worker: &WorkerId, attempt: AttemptRef, reason: &str) -> bool {
        let asked = self.with(worker, None, |session| {
            session.runs(attempt)?.leaving = true;
            let hand_back = v1::HandBack { attempt: Some(attempt.into()), reason: reason.to_owned() };
            Some((session.number, session.send(Message::HandBack(hand_back))))
        });
        match asked.flatten() {
            Some((number, sent)) => self.close_if_unread(worker, number, Some(sent)),
            None => false,
        }
    }

    /// Tells a worker to delete artifacts. False if the session is over.
    pub fn order_deletion(&self, worker: &WorkerId, number: i64, artifacts: &[Digest]) -> bool {
        let digests = artifacts.iter().map(ToString::to_string).collect();
        let order = Message::DeleteArtifacts(v1::DeleteArtifacts { digests });
        let sent = self.with(worker, Some(number), |session| session.send(order));
        self.close_if_unread(worker, number, sent)
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
        draining: session.leaving != Leaving::No,
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

#[cfg(test)]
mod tests {
    use gauntlet_domain::AttemptNumber;
    use gauntlet_proto::v1::CoordinatorMessage;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    fn attempt(number: u32) -> AttemptRef {
        AttemptRef { task: TaskId::from_digest(Digest::of(b"task")), attempt: AttemptNumber(number) }
    }

    /// The session of a worker that runs attempt 2, and what it hears.
    fn sessions() -> (Sessions, WorkerId, mpsc::Receiver<Result<CoordinatorMessage, Status>>) {
        let (outbox, heard) = mpsc::channel(1);
        let (close, _closed) = oneshot::channel();
        let worker: WorkerId = "w1".parse().unwrap();
        let sessions = Sessions::default();
        let session = Session::new(1, 1, Leaving::No, outbox, close).with(&[attempt(2)], &BTreeMap::new(), []);
        sessions.insert(worker.clone(), session);
        (sessions, worker, heard)
    }

    #[test]
    fn an_attempt_is_asked_back_from_the_worker_that_runs_it_and_stays_its_own() {
        let (sessions, worker, mut heard) = sessions();
        assert!(!sessions.hand_back(&worker, attempt(1), "older"));
        assert!(!sessions.hand_back(&"w2".parse().unwrap(), attempt(2), "elsewhere"));
        assert!(sessions.hand_back(&worker, attempt(2), "a more urgent task needs the slot"));
        let message = heard.try_recv().unwrap().unwrap().message;
        let Some(Message::HandBack(hand_back)) = message else { panic!("{message:?}") };
        assert_eq!(
            (hand_back.attempt, hand_back.reason.as_str()),
            (Some(attempt(2).into()), "a more urgent task needs the slot")
        );
        assert_eq!(sessions.of(&worker).unwrap().running, [attempt(2)]);
    }

    #[test]
    fn a_worker_is_told_once_that_it_is_to_leave_and_again_where_it_is_to_hand_back() {
        let (sessions, worker, mut heard) = sessions();
        let mut told = |told| {
            sessions.drain(&worker, told);
            heard.try_recv().ok().map(|message| message.unwrap().message.unwrap())
        };
        let drain = |hand_back| Some(Message::Drain(v1::Drain { hand_back }));
        assert_eq!(told(Told::Already), None);
        assert_eq!(told(Told::Now { hand_back: false }), None, "it said so itself");
        assert_eq!(told(Told::Now { hand_back: true }), drain(true));
        assert_eq!(told(Told::Now { hand_back: true }), None);
        assert_eq!(told(Told::Now { hand_back: false }), None);
    }

    #[test]
    fn a_worker_whose_wall_time_is_over_takes_no_work() {
        let takers = |remaining_secs| {
            let sessions = Sessions::default();
            let (outbox, _heard) = mpsc::channel(1);
            let (close, _closed) = oneshot::channel();
            let session = Session::new(1, 1, Leaving::No, outbox, close).for_so_long(remaining_secs);
            sessions.insert("w1".parse().unwrap(), session);
            sessions.takers(Duration::from_secs(60), &BTreeSet::new()).len()
        };
        assert_eq!([None, Some(60.0), Some(0.0)].map(takers), [1, 1, 0]);
    }
}
