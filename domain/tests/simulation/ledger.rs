//! The observer: what has been committed and acknowledged, written down without any knowledge of why.

use std::collections::BTreeMap;

use gauntlet_domain::schedule::QueueKey;
use gauntlet_domain::task::{Task, TaskState};
use gauntlet_domain::{AttemptNumber, TaskId, WorkerId};

/// What is known of a task from outside.
#[derive(Debug, Default)]
struct Page {
    live: Option<(AttemptNumber, WorkerId)>,
    /// Number of the latest attempt; 0 before the first.
    last: u32,
    results: Vec<AttemptNumber>,
}

/// All tasks.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: BTreeMap<TaskId, Page>,
    charged: BTreeMap<TaskId, QueueKey>,
    running: BTreeMap<QueueKey, u32>,
    violation: Option<String>,
}

impl Ledger {
    /// Which queue a task is charged to.
    pub fn charged(&mut self, id: TaskId, queue: QueueKey) {
        self.charged.insert(id, queue);
    }

    /// Tasks that run, by queue.
    pub fn running(&self) -> &BTreeMap<QueueKey, u32> {
        &self.running
    }

    /// A task's row changed.
    pub fn committed(&mut self, id: TaskId, before: &Task, after: &Task) {
        let page = self.pages.entry(id).or_default();
        if let Some(queue) = self.charged.get(&id) {
            let running = self.running.entry(*queue).or_default();
            match (before.state == TaskState::Leased, after.state == TaskState::Leased) {
                (false, true) => *running += 1,
                (true, false) => *running -= 1,
                _ => {}
            }
        }
        let mut problem = after.check().err().map(str::to_owned);
        if before.state == TaskState::Succeeded {
            problem = Some("it was changed after its result had been accepted".to_owned());
        }
        if after.state == TaskState::Leased {
            let worker = after.lease.as_ref().map(|lease| lease.worker.clone());
            if page.live.is_some() {
                problem = Some(format!("leased to {worker:?} while {:?} is live", page.live));
            }
            if after.attempt.0 <= page.last {
                problem = Some(format!("attempt {} was given a second time", after.attempt));
            }
            page.last = after.attempt.0;
            page.live = worker.map(|worker| (after.attempt, worker));
        } else {
            page.live = None;
        }
        if after.state == TaskState::Succeeded {
            page.results.push(after.attempt);
            if page.results.len() > 1 {
                problem = Some(format!("results of attempts {:?} were accepted", page.results));
            }
        }
        if let Some(problem) = problem {
            self.note(format!("task {}: {problem}", id.short()));
        }
    }

    /// A worker was told that its result is accepted.
    pub fn acknowledged(&mut self, id: TaskId, attempt: AttemptNumber) {
        let accepted = self.pages.get(&id).is_some_and(|page| page.results == [attempt]);
        if !accepted {
            self.note(format!("task {}: attempt {attempt} was acknowledged without its result being kept", id.short()));
        }
    }

    /// What must not be.
    pub fn note(&mut self, problem: String) {
        self.violation.get_or_insert(problem);
    }

    /// The first thing that must not be.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }
}

mod tests {
    use gauntlet_domain::Digest;
    use gauntlet_domain::task::{Lease, Timestamp};

    use super::*;

    #[test]
    fn a_second_lease_and_a_second_result_are_seen() {
        let id = TaskId::from_digest(Digest::of(b"task"));
        let ready = Task::submitted(0, Timestamp(0));
        let leased = |attempt, worker: &str| Task {
            state: TaskState::Leased,
            attempt: AttemptNumber(attempt),
            lease: Some(Lease { worker: worker.parse().unwrap() }),
            ..ready.clone()
        };
        let succeeded =
            |attempt| Task { state: TaskState::Succeeded, attempt: AttemptNumber(attempt), ..ready.clone() };
        let violation = |history: &[Task]| {
            let mut ledger = Ledger::default();
            history.windows(2).for_each(|pair| ledger.committed(id, &pair[0], &pair[1]));
            ledger.violation().map(str::to_owned)
        };
        assert_eq!(violation(&[ready.clone(), leased(1, "a"), ready.clone(), leased(2, "b"), succeeded(2)]), None);
        assert!(violation(&[ready.clone(), leased(1, "a"), leased(2, "b")]).unwrap().contains("is live"));
        assert!(
            violation(&[ready.clone(), leased(1, "a"), ready.clone(), leased(1, "b")]).unwrap().contains("second time")
        );
        let twice = violation(&[leased(1, "a"), succeeded(1), ready.clone(), leased(2, "b"), succeeded(2)]).unwrap();
        assert!(twice.contains("changed after its result"), "{twice}");
    }
}
