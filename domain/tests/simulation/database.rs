//! What Postgres holds, and what the transactions of the coordinator's store do to it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gauntlet_domain::schedule::{DemandKey, QueueKey, QueueView, ReadyTask, UserView};
use gauntlet_domain::task::{Event, Failure, FailureClass, RetryPolicy, Task, TaskState, Timestamp, apply};
use gauntlet_domain::{AttemptNumber, AttemptRef, TaskId, WorkerId};

use super::ledger::Ledger;
use super::shares::Shares;
use super::worker::Ending;

/// A row of the table of tasks, with what never changes.
#[derive(Debug)]
pub struct Row {
    pub task: Task,
    pub inputs: Vec<TaskId>,
    pub dependents: Vec<TaskId>,
    /// Of the sweep that is charged for it.
    pub queue: QueueKey,
    /// Microseconds; also its rank in the queue.
    pub cost: u64,
    /// What its computation comes to.
    pub ending: Ending,
    /// Who ran it, by attempt.
    pub attempts: BTreeMap<AttemptNumber, (WorkerId, Over)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Running,
    Succeeded,
    Otherwise,
}

#[derive(Debug, Clone)]
pub struct WorkerRow {
    pub session: i64,
    pub lease_expires_at: Timestamp,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Stale,
}

/// What is committed.
#[derive(Debug, Default)]
pub struct Database {
    pub rows: BTreeMap<TaskId, Row>,
    pub workers: BTreeMap<WorkerId, WorkerRow>,
    pub ledger: Ledger,
    /// The tables of users and sweeps.
    pub shares: Shares,
    /// The partial index of ready tasks, which leads with the queue.
    ready: BTreeMap<QueueKey, BTreeSet<(Reverse<u64>, TaskId)>>,
    /// The partial index of leased tasks.
    leased: BTreeMap<WorkerId, BTreeSet<TaskId>>,
    /// Leased tasks by queue.
    running: BTreeMap<QueueKey, u32>,
    pub open: usize,
}

impl Database {
    pub fn insert(&mut self, id: TaskId, row: Row) {
        if row.task.state == TaskState::Ready {
            self.ready.entry(row.queue).or_default().insert(rank(id, &row));
        }
        self.ledger.charged(id, row.queue);
        self.open += 1;
        self.rows.insert(id, row);
    }

    /// Lets an event happen, with what follows for the tasks that need this one. False where it is rejected.
    pub fn advance(&mut self, id: TaskId, event: Event, now: Timestamp) -> bool {
        let Some(row) = self.rows.get_mut(&id) else { return false };
        let policy = RetryPolicy::default();
        let Ok(after) = apply(&row.task, event, &policy, now) else { return false };
        let before = std::mem::replace(&mut row.task, after.clone());
        self.reindex(id, &before, &after);
        self.ledger.committed(id, &before, &after);
        if !after.state.is_final() {
            return true;
        }
        self.open -= 1;
        let dependents = self.rows[&id].dependents.clone();
        for dependent in dependents {
            let event = match after.state {
                TaskState::Succeeded => Event::InputSucceeded,
                _ => Event::InputLost { reason: "its input ended without a result".to_owned() },
            };
            self.advance(dependent, event, now);
        }
        true
    }

    fn reindex(&mut self, id: TaskId, before: &Task, after: &Task) {
        let row = self.rows.get_mut(&id).unwrap();
        let (queue, rank) = (row.queue, rank(id, row));
        if before.state == TaskState::Leased
            && let Some(lease) = &before.lease
        {
            let over = if after.state == TaskState::Succeeded { Over::Succeeded } else { Over::Otherwise };
            row.attempts.insert(before.attempt, (lease.worker.clone(), over));
            self.leased.entry(lease.worker.clone()).or_default().remove(&id);
            *self.running.entry(queue).or_default() -= 1;
        }
        if let Some(lease) = &after.lease {
            row.attempts.insert(after.attempt, (lease.worker.clone(), Over::Running));
            self.leased.entry(lease.worker.clone()).or_default().insert(id);
            *self.running.entry(queue).or_default() += 1;
        }
        let ready = self.ready.entry(queue).or_default();
        match after.state {
            TaskState::Ready => ready.insert(rank),
            _ => ready.remove(&rank),
        };
    }

    /// Queues in which something is ready, and their users, with what they run.
    pub fn contest(&self) -> (Vec<UserView>, Vec<QueueView>) {
        let queues = self.ready.iter().filter(|(_, tasks)| !tasks.is_empty()).map(|(queue, _)| *queue);
        self.shares.contest(queues, &self.running)
    }

    /// The front of a queue.
    pub fn front(&self, queue: QueueKey, count: usize, now: Timestamp) -> Vec<ReadyTask> {
        let view = |(_, id): &(_, TaskId)| {
            let row = &self.rows[id];
            let cost = row.cost as f64;
            ReadyTask {
                id: *id,
                critical_path_cost: cost,
                inputs: row.inputs.clone(),
                demand: DemandKey::default(),
                cost,
            }
        };
        let due = |(_, id): &&(_, TaskId)| self.rows[id].task.not_before <= now;
        self.ready.get(&queue).into_iter().flatten().filter(due).take(count).map(view).collect()
    }

    /// Leases a task if it is still ready, the session is still its worker's latest, and quotas leave room.
    pub fn claim(&mut self, id: TaskId, worker: &WorkerId, session: i64, now: Timestamp) -> Option<AttemptRef> {
        self.workers.get(worker).filter(|row| row.session == session)?;
        if !self.shares.leave_room(self.rows[&id].queue, &self.running) {
            return None;
        }
        let leased = self.advance(id, Event::Leased { worker: worker.clone() }, now);
        leased.then(|| AttemptRef { task: id, attempt: self.rows[&id].task.attempt })
    }

    /// Opens a session: its number, what the worker runs in the database's eyes, and which of `claimed` it does not run.
    pub fn open_session(
        &mut self,
        worker: &WorkerId,
        claimed: &BTreeSet<AttemptRef>,
        lease: Duration,
        now: Timestamp,
    ) -> (i64, Vec<AttemptRef>, Vec<AttemptRef>) {
        let row = self.workers.entry(worker.clone()).or_insert(WorkerRow { session: 0, lease_expires_at: now });
        row.session += 1;
        row.lease_expires_at = now + lease;
        let session = row.session;
        let (running, gone): (Vec<_>, Vec<_>) =
            self.leased_to(worker).into_iter().partition(|attempt| claimed.contains(attempt));
        gone.into_iter().for_each(|attempt| self.lose(attempt, now));
        let stale =
            claimed.iter().filter(|attempt| !running.contains(attempt) && !self.knows_result(worker, **attempt));
        (session, running.clone(), stale.copied().collect())
    }

    fn knows_result(&self, worker: &WorkerId, attempt: AttemptRef) -> bool {
        let attempts = self.rows.get(&attempt.task).map(|row| &row.attempts);
        attempts.and_then(|attempts| attempts.get(&attempt.attempt)) == Some(&(worker.clone(), Over::Succeeded))
    }

    pub fn leased_to(&self, worker: &WorkerId) -> Vec<AttemptRef> {
        let tasks = self.leased.get(worker).into_iter().flatten();
        tasks.map(|id| AttemptRef { task: *id, attempt: self.rows[id].task.attempt }).collect()
    }

    fn lose(&mut self, attempt: AttemptRef, now: Timestamp) {
        let event = Event::LeaseLost { attempt: attempt.attempt, reason: "its worker is gone".to_owned() };
        self.advance(attempt.task, event, now);
    }

    pub fn renew(&mut self, worker: &WorkerId, session: i64, lease: Duration, now: Timestamp) {
        if let Some(row) = self.workers.get_mut(worker).filter(|row| row.session == session) {
            row.lease_expires_at = now + lease;
        }
    }

    /// One more term for all who hold something, after a time in which nobody could renew.
    pub fn grant_grace(&mut self, lease: Duration, now: Timestamp) {
        for (worker, row) in &mut self.workers {
            if self.leased.get(worker).is_some_and(|tasks| !tasks.is_empty()) {
                row.lease_expires_at = row.lease_expires_at.max(now + lease);
            }
        }
    }

    /// Takes away what workers with an expired lease hold.
    pub fn expire(&mut self, now: Timestamp) {
        let gone = |(worker, tasks): (&WorkerId, &BTreeSet<TaskId>)| {
            (!tasks.is_empty() && self.workers[worker].lease_expires_at < now).then(|| worker.clone())
        };
        let gone: Vec<WorkerId> = self.leased.iter().filter_map(gone).collect();
        for worker in gone {
            self.leased_to(&worker).into_iter().for_each(|attempt| self.lose(attempt, now));
        }
    }

    /// Takes back attempts that never reached their worker.
    pub fn take_back(&mut self, worker: &WorkerId, attempt: AttemptRef, now: Timestamp) {
        if self.is_running(worker, attempt) {
            self.advance(attempt.task, Event::HandedBack { attempt: attempt.attempt }, now);
        }
    }

    /// Whether the attempt is the worker's, now.
    pub fn is_running(&self, worker: &WorkerId, attempt: AttemptRef) -> bool {
        let task = self.rows.get(&attempt.task).map(|row| &row.task);
        let holds = |task: &Task| task.lease.as_ref().is_some_and(|lease| lease.worker == *worker);
        task.is_some_and(|task| task.attempt == attempt.attempt && holds(task))
    }

    /// Stores what a worker says of an attempt.
    pub fn report(&mut self, worker: &WorkerId, attempt: AttemptRef, ending: Ending, now: Timestamp) -> Verdict {
        let number = attempt.attempt;
        let failed =
            |class| Event::Failed { attempt: number, failure: Failure { class, message: "it failed".to_owned() } };
        let event = match ending {
            Ending::Success => Event::Succeeded { attempt: number },
            Ending::Transient => failed(FailureClass::Transient),
            Ending::Crash => failed(FailureClass::Crash),
            Ending::Resource => failed(FailureClass::Resource),
            Ending::Permanent => failed(FailureClass::Permanent),
            Ending::HandedBack => Event::HandedBack { attempt: number },
        };
        // Whether the attempt is the current one is for the state machine to say.
        let holder = self.rows.get(&attempt.task).and_then(|row| row.task.lease.as_ref());
        let holds = holder.is_some_and(|lease| lease.worker == *worker);
        let repeated = || ending == Ending::Success && self.knows_result(worker, attempt);
        if !holds && repeated() || holds && self.advance(attempt.task, event, now) {
            Verdict::Accepted
        } else {
            Verdict::Stale
        }
    }
}

fn rank(id: TaskId, row: &Row) -> (Reverse<u64>, TaskId) {
    (Reverse(row.cost), id)
}
