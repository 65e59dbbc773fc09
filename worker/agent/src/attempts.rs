//! Which attempt stands where, and what follows from what happens: a machine without I/O and without a clock.
//!
//! ```text
//! Preparing ──inputs there──▶ Waiting ──executor ready──▶ Running ──finished, failed, yielded──▶ Concluding ──uploaded──▶ reported
//!     └──────────────┴──────────────────────┴────── cancelled, disowned, handed back ───────┴──▶ forgotten, or reported
//! ```
//! An attempt holds its slot until its end is reported. One that is to be handed back while it runs is asked to yield, so that its latest state gets
//! into a checkpoint; it goes as it is when it takes too long for that.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::AttemptRef;
use gauntlet_domain::task::{Failure, FailureClass};
use gauntlet_executor_ipc::Execute;

use crate::assignment::{Assignment, Place, Refusal};
use crate::report::Content;
pub(crate) use words::{Action, Ending, Input};

/// Which of the processes that a slot has had: what is meant for one never reaches its successor.
pub(crate) type Generation = u64;

#[derive(Debug)]
enum Phase {
    Preparing,
    /// For an executor.
    Waiting(Box<Execute>),
    Running(Generation),
    Concluding,
}

#[derive(Debug)]
struct Attempt {
    slot: usize,
    phase: Phase,
    /// Why it is to be handed back.
    yields: Option<String>,
    place: Place,
}

impl Attempt {
    const fn new(slot: usize, place: Place) -> Self {
        Self { slot, phase: Phase::Preparing, yields: None, place }
    }
}

/// The attempts this agent works on, and its executors.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Of each slot: the process that is up.
    executors: Vec<Option<Generation>>,
    /// Of each slot: where it computes.
    devices: Vec<String>,
    running: BTreeMap<AttemptRef, Attempt>,
    draining: bool,
    /// Why reports do not find their way to the disk.
    spool_trouble: Option<String>,
}

impl Attempts {
    /// Of an agent whose slots compute on these devices.
    pub(crate) fn new(devices: Vec<String>) -> Self {
        Self {
            executors: vec![None; devices.len()],
            devices,
            running: BTreeMap::new(),
            draining: false,
            spool_trouble: None,
        }
    }

    /// What a running attempt takes of the worker.
    pub(crate) fn place(&self, attempt: AttemptRef) -> Option<&Place> {
        self.running.get(&attempt).map(|attempt| &attempt.place)
    }

    /// Attempts whose end is not reported.
    pub(crate) fn running(&self) -> BTreeSet<AttemptRef> {
        self.running.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the attempt is with an executor.
    pub(crate) fn is_executing(&self, attempt: AttemptRef) -> bool {
        matches!(self.running.get(&attempt), Some(Attempt { phase: Phase::Running(_), .. }))
    }

    /// What follows from `input`.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Assigned(assignment) => self.assigned(assignment),
            Input::Refused(Refusal::Nameless(_)) => Vec::new(),
            Input::Refused(Refusal::Failed(attempt, failure)) => {
                if self.running.contains_key(&attempt) {
                    return Vec::new();
                }
                vec![Action::Report { attempt, content: Content::Failed(failure) }]
            }
            Input::Cancelled { attempt, reason } | Input::Disowned { attempt, reason } => {
                self.abandon(attempt, &reason)
            }
            Input::LeaseExpired => {
                let reason = "the coordinator was out of reach for longer than its lease";
                self.running().into_iter().flat_map(|attempt| self.abandon(attempt, reason)).collect()
            }
            Input::Drain => {
                self.draining = true;
                Vec::new()
            }
            Input::HandBack { attempt, reason } => self.hand_back(attempt, &reason),
            Input::HandBackAll { reason } => {
                self.draining = true;
                self.running().into_iter().flat_map(|attempt| self.hand_back(attempt, &reason)).collect()
            }
            Input::Overdue { attempt } => self.overdue(attempt),
            Input::Shutdown { reason } => self.shutdown(&reason),
            Input::Spooling { trouble } => {
                self.spool_trouble = trouble;
                Vec::new()
            }
            Input::ExecutorReady { slot, generation } => self.executor_ready(slot, generation),
            Input::ExecutorLost { slot, generation, failure } => self.executor_lost(slot, generation, failure),
            Input::ExecutorFailedToStart { slot, message } => self.executor_failed_to_start(slot, &message),
            Input::Epoch { attempt, metrics } => {
                self.while_running(attempt, |attempt| Action::Report { attempt, content: Content::Epoch(metrics) })
            }
            Input::CheckpointWritten { attempt, path, epoch } => {
                self.while_running(attempt, |attempt| Action::StoreCheckpoint { attempt, path, epoch })
            }
            Input::Finished { attempt, result_path } => self.conclude(attempt, Ending::Finished(result_path)),
            Input::Failed { attempt, failure } => self.conclude(attempt, Ending::Failed(failure)),
            Input::Yielded { attempt } => {
                let reason = self.running.get(&attempt).and_then(|attempt| attempt.yields.clone());
                let reason = reason.unwrap_or_else(|| "its executor stopped it".to_owned());
                self.conclude(attempt, Ending::HandedBack(reason))
            }
            Input::Prepared { attempt, outcome } => self.prepared(attempt, outcome),
            Input::CheckpointStored { attempt, artifact, epoch } => match self.running.contains_key(&attempt) {
                true => vec![Action::Report { attempt, content: Content::Checkpoint { artifact, epoch } }],
                false => Vec::new(),
            },
            Input::Concluded { attempt, content } => match self.running.get(&attempt) {
                Some(Attempt { phase: Phase::Concluding, .. }) => self.end(attempt, content),
                _ => Vec::new(),
            },
        }
    }

    fn assigned(&mut self, assignment: Box<Assignment>) -> Vec<Action> {
        let attempt = assignment.attempt;
        let known = self.running.keys().filter(|known| known.task == attempt.task).max().copied();
        match known {
            // The same message twice, or an echo from before.
            Some(known) if known.attempt >= attempt.attempt => return Vec::new(),
            Some(known) => {
                let reason = format!("the coordinator has begun attempt {} of its task", attempt.attempt);
                let mut actions = self.abandon(known, &reason);
                actions.extend(self.admit(assignment));
                return actions;
            }
            None => {}
        }
        self.admit(assignment)
    }

    fn admit(&mut self, assignment: Box<Assignment>) -> Vec<Action> {
        let attempt = assignment.attempt;
        match self.room(assignment.place.device.as_deref()) {
            Ok(slot) => {
                self.running.insert(attempt, Attempt::new(slot, assignment.place.clone()));
                vec![Action::Prepare(assignment)]
            }
            Err(reason) => vec![Action::Report { attempt, content: Content::HandedBack(reason) }],
        }
    }

    /// A slot for an attempt, on this device if one is named, or why there is none. Preferably one whose executor is up.
    fn room(&self, device: Option<&str>) -> Result<usize, String> {
        if self.draining {
            return Err("the worker takes no new work".to_owned());
        }
        if let Some(trouble) = &self.spool_trouble {
            return Err(format!("the worker cannot write to its spool: {trouble}"));
        }
        let taken: BTreeSet<usize> = self.running.values().map(|attempt| attempt.slot).collect();
        let there = |slot: &usize| device.is_none_or(|device| self.devices[*slot] == device);
        let free = (0..self.executors.len()).filter(there).filter(|slot| !taken.contains(slot));
        free.min_by_key(|slot| (self.executors[*slot].is_none(), *slot)).ok_or_else(|| match device {
            Some(device) => format!("the worker has no free slot on {device}"),
            None => "the worker has no free slot".to_owned(),
        })
    }

    fn prepared(&mut self, attempt: AttemptRef, outcome: Result<Box<Execute>, Failure>) -> Vec<Action> {
        let Some(Attempt { slot, phase, .. }) = self.running.get_mut(&attempt) else { return Vec::new() };
        if !matches!(phase, Phase::Preparing) {
            return Vec::new();
        }
        let execute = match outcome {
            Ok(execute) => execute,
            Err(failure) => return self.end(attempt, Content::Failed(failure)),
        };
        let slot = *slot;
        match self.executors[slot] {
            Some(generation) => {
                *phase = Phase::Running(generation);
                vec![Action::Execute { slot, generation, execute }]
            }
            None => {
                *phase = Phase::Waiting(execute);
                Vec::new()
            }
        }
    }

    fn executor_ready(&mut self, slot: usize, generation: Generation) -> Vec<Action> {
        self.executors[slot] = Some(generation);
        let Some(attempt) = self.running.values_mut().find(|attempt| attempt.slot == slot) else { return Vec::new() };
        match std::mem::replace(&mut attempt.phase, Phase::Running(generation)) {
            Phase::Waiting(execute) => vec![Action::Execute { slot, generation, execute }],
            other => {
                attempt.phase = other;
                Vec::new()
            }
        }
    }

    fn executor_lost(&mut self, slot: usize, generation: Generation, failure: Failure) -> Vec<Action> {
        if self.executors[slot] == Some(generation) {
            self.executors[slot] = None;
        }
        let runs_there = |attempt: &Attempt| matches!(attempt.phase, Phase::Running(its) if its == generation);
        let victim = self.running.iter().find(|(_, attempt)| attempt.slot == slot && runs_there(attempt));
        match victim.map(|(attempt, _)| *attempt) {
            Some(attempt) => self.conclude(attempt, Ending::Failed(failure)),
            None => Vec::new(),
        }
    }

    fn executor_failed_to_start(&mut self, slot: usize, message: &str) -> Vec<Action> {
        let waits = |attempt: &Attempt| attempt.slot == slot && matches!(attempt.phase, Phase::Waiting(_));
        match self.running.iter().find(|(_, attempt)| waits(attempt)).map(|(attempt, _)| *attempt) {
            Some(attempt) => {
                let message = format!("no executor can be started: {message}");
                self.end(attempt, Content::failed(FailureClass::Transient, message))
            }
            None => Vec::new(),
        }
    }

    fn hand_back(&mut self, attempt: AttemptRef, reason: &str) -> Vec<Action> {
        match self.running.get_mut(&attempt) {
            // Nothing is lost that was not begun.
            Some(Attempt { phase: Phase::Preparing | Phase::Waiting(_), .. }) => {
                self.end(attempt, Content::HandedBack(reason.to_owned()))
            }
            Some(Attempt { slot, phase: Phase::Running(generation), yields: yields @ None, .. }) => {
                *yields = Some(reason.to_owned());
                vec![Action::AskToYield { slot: *slot, generation: *generation, attempt }]
            }
            // It is asked already, about to end, or unknown.
            Some(Attempt { phase: Phase::Running(_) | Phase::Concluding, .. }) | None => Vec::new(),
        }
    }

    fn overdue(&mut self, attempt: AttemptRef) -> Vec<Action> {
        let Some(Attempt { phase: Phase::Running(_), yields: Some(reason), .. }) = self.running.get(&attempt) else {
            return Vec::new();
        };
        let reason =
            format!("{reason}; it did not stop in time and goes on from the checkpoint before, if there is one");
        let mut actions = self.stop_executor_of(attempt);
        actions.extend(self.conclude(attempt, Ending::HandedBack(reason)));
        actions
    }

    fn shutdown(&mut self, reason: &str) -> Vec<Action> {
        self.draining = true;
        let mut actions = Vec::new();
        for attempt in self.running() {
            actions.extend(self.stop_executor_of(attempt));
            actions.extend(self.end(attempt, Content::HandedBack(reason.to_owned())));
        }
        actions
    }

    fn while_running(&self, attempt: AttemptRef, action: impl FnOnce(AttemptRef) -> Action) -> Vec<Action> {
        if self.is_executing(attempt) { vec![action(attempt)] } else { Vec::new() }
    }

    fn conclude(&mut self, attempt: AttemptRef, ending: Ending) -> Vec<Action> {
        match self.running.get_mut(&attempt) {
            Some(Attempt { phase: phase @ Phase::Running(_), .. }) => {
                *phase = Phase::Concluding;
                vec![Action::Conclude { attempt, ending }]
            }
            _ => Vec::new(),
        }
    }

    fn end(&mut self, attempt: AttemptRef, content: Content) -> Vec<Action> {
        self.running.remove(&attempt);
        vec![Action::Report { attempt, content }]
    }

    fn abandon(&mut self, attempt: AttemptRef, reason: &str) -> Vec<Action> {
        let mut actions = self.stop_executor_of(attempt);
        self.running.remove(&attempt);
        // Also where the attempt has ended: what it reported on its way may still wait to be sent.
        actions.push(Action::Abandon { attempt, reason: reason.to_owned() });
        actions
    }

    fn stop_executor_of(&mut self, attempt: AttemptRef) -> Vec<Action> {
        match self.running.get(&attempt) {
            Some(&Attempt { slot, phase: Phase::Running(generation), .. }) => {
                self.executors[slot] = None;
                vec![Action::ReplaceExecutor { slot, generation }]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
