//! What the machine hears and what it says.

use std::path::PathBuf;

use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::{ArtifactRef, EpochMetrics};
use gauntlet_domain::task::Failure;
use gauntlet_executor_ipc::Execute;

use super::Generation;
use crate::assignment::{Assignment, Refusal};
use crate::report::Content;

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Assigned(Box<Assignment>),
    Refused(Refusal),
    Cancelled {
        attempt: AttemptRef,
        reason: String,
    },
    /// The coordinator says that a report of this attempt is stale or makes no sense.
    Disowned {
        attempt: AttemptRef,
        reason: String,
    },
    /// The coordinator was out of reach for longer than its lease.
    LeaseExpired,
    /// No new work.
    Drain,
    /// Stop an attempt in good order and hand it back.
    HandBack {
        attempt: AttemptRef,
        reason: String,
    },
    /// The same for all, and take nothing new.
    HandBackAll {
        reason: String,
    },
    /// An attempt that was to be handed back has not got there: it is stopped as it is.
    Overdue {
        attempt: AttemptRef,
    },
    /// Stop everything at once and hand it back.
    Shutdown {
        reason: String,
    },
    /// Whether reports find their way to the disk, or why not.
    Spooling {
        trouble: Option<String>,
    },
    ExecutorReady {
        slot: usize,
        generation: Generation,
    },
    /// The process is gone, not by our wish.
    ExecutorLost {
        slot: usize,
        generation: Generation,
        failure: Failure,
    },
    /// None came up; another try follows.
    ExecutorFailedToStart {
        slot: usize,
        message: String,
    },
    Epoch {
        attempt: AttemptRef,
        metrics: EpochMetrics,
    },
    CheckpointWritten {
        attempt: AttemptRef,
        path: PathBuf,
        epoch: u32,
    },
    Finished {
        attempt: AttemptRef,
        result_path: PathBuf,
    },
    Failed {
        attempt: AttemptRef,
        failure: Failure,
    },
    /// It stopped as it was asked to.
    Yielded {
        attempt: AttemptRef,
    },
    Prepared {
        attempt: AttemptRef,
        outcome: Result<Box<Execute>, Failure>,
    },
    CheckpointStored {
        attempt: AttemptRef,
        artifact: ArtifactRef,
        epoch: u32,
    },
    Concluded {
        attempt: AttemptRef,
        content: Content,
    },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Bring what the attempt needs.
    Prepare(Box<Assignment>),
    Execute {
        slot: usize,
        generation: Generation,
        execute: Box<Execute>,
    },
    /// Ask it to stop the attempt in good order.
    AskToYield {
        slot: usize,
        generation: Generation,
        attempt: AttemptRef,
    },
    /// Kill it and start another.
    ReplaceExecutor {
        slot: usize,
        generation: Generation,
    },
    StoreCheckpoint {
        attempt: AttemptRef,
        path: PathBuf,
        epoch: u32,
    },
    /// Read the result and upload what belongs to it; or, where there is none, upload what the next attempt may start from.
    Conclude {
        attempt: AttemptRef,
        ending: Ending,
    },
    Report {
        attempt: AttemptRef,
        content: Content,
    },
    /// Stop what goes on for it in the background and remove its folder. Its unsent reports, but for the last, interest nobody.
    Abandon {
        attempt: AttemptRef,
        reason: String,
    },
}

/// How an attempt ended in its executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a result, in this file.
    Finished(PathBuf),
    Failed(Failure),
    /// Unfinished, for this reason.
    HandedBack(String),
}
