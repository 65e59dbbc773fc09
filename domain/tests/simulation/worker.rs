//! A worker: its agent as the protocol sees it.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::task::Timestamp;
use gauntlet_domain::{AttemptRef, WorkerId};

use super::network::StreamId;

/// How the computation of an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Success,
    Transient,
    Crash,
    Resource,
    Permanent,
    HandedBack,
}

/// What a worker says.
#[derive(Debug, Clone)]
pub enum ToCoordinator {
    Hello { attempts: BTreeSet<AttemptRef> },
    Heartbeat,
    Report { attempt: AttemptRef, ending: Ending },
}

/// What a worker is told.
#[derive(Debug, Clone)]
pub enum ToWorker {
    Welcome {
        stale: Vec<AttemptRef>,
    },
    Assign(AttemptRef),
    Cancel(AttemptRef),
    Acknowledge {
        attempt: AttemptRef,
        accepted: bool,
    },
    /// The answer to a heartbeat.
    Beat,
}

/// What the world has to do for a worker.
#[derive(Debug)]
pub enum Action {
    Send(ToCoordinator),
    Compute(AttemptRef),
}

#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub slots: usize,
    /// Counts its processes: what was begun in an earlier one is gone.
    pub life: u32,
    pub up: bool,
    /// Stopped until then.
    pub paused_until: Timestamp,
    /// Nothing passes its link until then.
    pub cut_until: Timestamp,
    pub stream: Option<StreamId>,
    /// When it opened its latest stream.
    pub opened: Timestamp,
    /// When a coordinator last said something.
    pub last_contact: Timestamp,
    pub running: BTreeSet<AttemptRef>,
    /// What the last hello announced.
    announced: BTreeSet<AttemptRef>,
    /// Reports on its disk, until they are acknowledged.
    pub spool: BTreeMap<AttemptRef, Ending>,
}

impl Worker {
    pub fn new(id: WorkerId, slots: usize) -> Self {
        let start = Timestamp(0);
        Self {
            id,
            slots,
            life: 0,
            up: true,
            paused_until: start,
            cut_until: start,
            stream: None,
            opened: start,
            last_contact: start,
            running: BTreeSet::new(),
            announced: BTreeSet::new(),
            spool: BTreeMap::new(),
        }
    }

    /// Dies. Its disk stays.
    pub fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.stream = None;
        self.running.clear();
        self.announced.clear();
    }

    /// What it runs, and what it has not reported.
    pub fn holds(&self) -> BTreeSet<AttemptRef> {
        self.running.iter().chain(self.spool.keys()).copied().collect()
    }

    /// What a hello says.
    pub fn announce(&mut self) -> BTreeSet<AttemptRef> {
        self.announced = self.holds();
        self.announced.clone()
    }

    pub fn hear(&mut self, message: ToWorker) -> Vec<Action> {
        match message {
            ToWorker::Welcome { stale } => {
                for attempt in stale {
                    self.announced.remove(&attempt);
                    self.forget(attempt);
                }
                // What was announced but given up before the welcome would be waited for in vain.
                for attempt in &std::mem::take(&mut self.announced) - &self.holds() {
                    self.spool.insert(attempt, Ending::HandedBack);
                }
                self.spool.iter().map(|(attempt, ending)| report(*attempt, *ending)).collect()
            }
            ToWorker::Assign(attempt) => self.assigned(attempt),
            ToWorker::Cancel(attempt) => {
                self.forget(attempt);
                Vec::new()
            }
            ToWorker::Acknowledge { attempt, .. } => {
                self.forget(attempt);
                Vec::new()
            }
            ToWorker::Beat => Vec::new(),
        }
    }

    fn assigned(&mut self, attempt: AttemptRef) -> Vec<Action> {
        let known = self.holds().into_iter().filter(|known| known.task == attempt.task).max();
        match known {
            // The same message twice, or an echo from before.
            Some(known) if known.attempt >= attempt.attempt => return Vec::new(),
            Some(older) => self.forget(older),
            None => {}
        }
        if self.running.len() >= self.slots {
            return self.end(attempt, Ending::HandedBack);
        }
        self.running.insert(attempt);
        vec![Action::Compute(attempt)]
    }

    /// A computation of this life came to its end.
    pub fn finished(&mut self, attempt: AttemptRef, ending: Ending) -> Vec<Action> {
        if self.running.remove(&attempt) { self.end(attempt, ending) } else { Vec::new() }
    }

    /// Hands back all it runs, as at a SIGTERM or when it is preempted.
    pub fn hand_back(&mut self) -> Vec<Action> {
        let running = std::mem::take(&mut self.running);
        running.into_iter().flat_map(|attempt| self.end(attempt, Ending::HandedBack)).collect()
    }

    fn end(&mut self, attempt: AttemptRef, ending: Ending) -> Vec<Action> {
        self.spool.insert(attempt, ending);
        vec![report(attempt, ending)]
    }

    fn forget(&mut self, attempt: AttemptRef) {
        self.running.remove(&attempt);
        self.spool.remove(&attempt);
    }
}

const fn report(attempt: AttemptRef, ending: Ending) -> Action {
    Action::Send(ToCoordinator::Report { attempt, ending })
}
