//! What is true of a task at one moment.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptNumber, WorkerId};

/// A moment, in microseconds since 1970 (UTC), as the database's clock tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// States of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Waits for its inputs.
    Pending,
    /// Waits for a worker.
    Ready,
    /// A worker runs it.
    Leased,
    /// Its result is accepted.
    Succeeded,
    /// It gave up.
    Failed,
    /// A user stopped it.
    Cancelled,
    /// One of its inputs will never come, or an earlier attack made it pointless.
    Skipped,
}

impl TaskState {
    /// All states, in the order of a task's life.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Ready, Self::Leased, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Skipped];

    /// The name in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more happens unless a user asks.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether it ended without a result.
    pub const fn ended_without_result(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled | Self::Skipped)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What kind of failure ended an attempt; decided where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// The place, not the task: a file out of reach, a full disk, an executor that somebody killed. Retried with backoff.
    Transient,
    /// The executor ended by what it computed: a fault of memory, an abort, an exit. Retried, and after a few times quarantined.
    Crash,
    /// Not enough memory. Retried in a way that needs less of it.
    Resource,
    /// The task itself: bad data, a loss that is not a number. Never retried by itself.
    Permanent,
}

impl FailureClass {
    /// The name in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Crash => "crash",
            Self::Resource => "resource",
            Self::Permanent => "permanent",
        }
    }

    /// All classes.
    pub const ALL: [Self; 4] = [Self::Transient, Self::Crash, Self::Resource, Self::Permanent];

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub class: FailureClass,
    /// For people.
    pub message: String,
}

/// Failures of a task since it was submitted or last retried by a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FailureCounts {
    /// Lost leases: workers that were gone.
    pub lost: u32,
    /// Transient failures.
    pub transient: u32,
    /// Crashes of its executor.
    pub crash: u32,
    /// Resource failures.
    pub resource: u32,
}

/// The expiring right of one worker to run the current attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who runs it.
    pub worker: WorkerId,
}

/// A task, as far as its life goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Where it stands.
    pub state: TaskState,
    /// Number of the latest attempt; 0 before the first. Never falls.
    pub attempt: AttemptNumber,
    /// Set exactly while leased.
    pub lease: Option<Lease>,
    /// Inputs that have not succeeded yet; 0 in Ready, Leased and Succeeded.
    pub pending_inputs: u32,
    /// No worker runs it: it is put together from the results of its inputs, and succeeds with the last of them.
    pub merges: bool,
    /// Skipped because an earlier attack of its cascade left it nothing to find: no failure, and nothing to try again.
    pub pointless: bool,
    /// Not leased before this moment.
    pub not_before: Timestamp,
    /// Failures so far.
    pub failures: FailureCounts,
    /// How its executors crashed, attempt by attempt; set exactly where they did.
    pub crash_evidence: Option<String>,
    /// Why it ended without a result, or why the last attempt failed.
    pub reason: Option<String>,
}

impl Task {
    /// A task just submitted.
    pub const fn submitted(pending_inputs: u32, now: Timestamp) -> Self {
        Self {
            state: if pending_inputs == 0 { TaskState::Ready } else { TaskState::Pending },
            attempt: AttemptNumber(0),
            lease: None,
            pending_inputs,
            merges: false,
            pointless: false,
            not_before: now,
            failures: FailureCounts { lost: 0, transient: 0, crash: 0, resource: 0 },
            crash_evidence: None,
            reason: None,
        }
    }

    /// A task just submitted that merges its inputs, of which there is at least one.
    pub fn merging(pending_inputs: u32, now: Timestamp) -> Self {
        let state = if pending_inputs == 0 { TaskState::Succeeded } else { TaskState::Pending };
        Self { state, merges: true, ..Self::submitted(pending_inputs, now) }
    }

    /// Whether it ended without a result that another try might bring.
    pub const fn ended_without_result(&self) -> bool {
        self.state.ended_without_result() && !self.pointless
    }

    /// What must be true of every task; a text names the rule that is broken.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self) -> Result<(), &'static str> {
        if (self.state == TaskState::Leased) != self.lease.is_some() {
            return Err("a lease stands exactly while the task is leased");
        }
        if (self.state == TaskState::Pending) && self.pending_inputs == 0 {
            return Err("a pending task waits for an input");
        }
        if matches!(self.state, TaskState::Ready | TaskState::Leased | TaskState::Succeeded) && self.pending_inputs > 0
        {
            return Err("a task runs only when all inputs are there");
        }
        if matches!(self.state, TaskState::Leased | TaskState::Succeeded) && self.attempt.0 == 0 && !self.merges {
            return Err("a task that ran has an attempt");
        }
        if matches!(self.state, TaskState::Ready | TaskState::Leased) && self.merges {
            return Err("a task that merges its inputs is run by nobody");
        }
        if self.pointless && !matches!(self.state, TaskState::Skipped) {
            return Err("a pointless task is skipped");
        }
        if self.state.ended_without_result() && self.reason.is_none() {
            return Err("a task that ended without a result says why");
        }
        if (self.failures.crash > 0) != self.crash_evidence.is_some() {
            return Err("evidence of crashes stands exactly where there were some");
        }
        Ok(())
    }
}
