//! Between columns and the domain's types.

use gauntlet_domain::task::{FailureCounts, Lease, Task, TaskState, Timestamp};
use gauntlet_domain::{AttemptNumber, Digest, TaskId};
use time::OffsetDateTime;

use super::Error;

/// A row of `tasks` as the queries give it.
pub struct TaskRow {
    pub task_id: Vec<u8>,
    pub state: String,
    pub attempt: i32,
    pub worker_id: Option<String>,
    pub pending_inputs: i32,
    pub merges: bool,
    pub pointless: bool,
    pub not_before: OffsetDateTime,
    pub lost_leases: i32,
    pub transient_failures: i32,
    pub crashes: i32,
    pub resource_failures: i32,
    pub crash_evidence: Option<String>,
    pub reason: Option<String>,
    pub changed_at: OffsetDateTime,
    pub label: String,
    pub cost: f64,
}

/// A task whose row this transaction holds.
#[derive(Debug, Clone)]
pub struct LockedTask {
    pub id: TaskId,
    pub label: String,
    pub cost: f64,
    /// When its state changed last: of a leased task, the moment at which its attempt began.
    pub changed_at: OffsetDateTime,
    pub task: Task,
}

impl TryFrom<TaskRow> for LockedTask {
    type Error = Error;

    fn try_from(row: TaskRow) -> Result<Self, Error> {
        let lease =
            row.worker_id.map(|worker| worker.parse().map(|worker| Lease { worker }).map_err(corrupt)).transpose()?;
        let task = Task {
            state: task_state(&row.state)?,
            attempt: attempt(row.attempt)?,
            lease,
            pending_inputs: unsigned(row.pending_inputs)?,
            merges: row.merges,
            pointless: row.pointless,
            not_before: timestamp(row.not_before),
            failures: FailureCounts {
                lost: unsigned(row.lost_leases)?,
                transient: unsigned(row.transient_failures)?,
                crash: unsigned(row.crashes)?,
                resource: unsigned(row.resource_failures)?,
            },
            crash_evidence: row.crash_evidence,
            reason: row.reason,
        };
        Ok(Self { id: task_id(row.task_id)?, label: row.label, cost: row.cost, changed_at: row.changed_at, task })
    }
}

pub fn corrupt(problem: impl std::fmt::Display) -> Error {
    Error::Corrupt(problem.to_string())
}

pub fn digest(bytes: Vec<u8>) -> Result<Digest, Error> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| corrupt("a digest that does not have 32 bytes"))
}

pub fn task_id(bytes: Vec<u8>) -> Result<TaskId, Error> {
    digest(bytes).map(TaskId::from_digest)
}

pub fn task_ids<'a>(ids: impl IntoIterator<Item = &'a TaskId>) -> Vec<Vec<u8>> {
    ids.into_iter().map(|id| bytes(*id)).collect()
}

pub fn bytes(id: TaskId) -> Vec<u8> {
    id.digest().as_bytes().to_vec()
}

pub fn task_state(name: &str) -> Result<TaskState, Error> {
    TaskState::from_name(name).ok_or_else(|| corrupt(format_args!("the task state `{name}`")))
}

pub fn unsigned<T: TryFrom<I>, I: std::fmt::Display + Copy>(number: I) -> Result<T, Error> {
    T::try_from(number).map_err(|_| corrupt(format_args!("the number {number}")))
}

pub fn attempt(number: i32) -> Result<AttemptNumber, Error> {
    unsigned(number).map(AttemptNumber)
}

/// A number for a column, which holds signed ones.
pub fn column<T: TryFrom<I>, I>(number: I, what: &'static str) -> Result<T, Error> {
    T::try_from(number).map_err(|_| Error::OutOfRange(what))
}

pub fn timestamp(moment: OffsetDateTime) -> Timestamp {
    Timestamp(micros(moment))
}

pub fn micros(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

pub fn moment(timestamp: Timestamp) -> Result<OffsetDateTime, Error> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp.0) * 1000).map_err(|_| Error::OutOfRange("a moment"))
}
