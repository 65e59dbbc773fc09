//! Reports of workers: understood, stored however often it takes, and answered.
//!
//! The reports of all sessions are stored together: while one transaction is under way, the next batch gathers, so that a batch is as large as the
//! load and nobody waits for one to fill. One transaction at a time keeps reports in their order and makes the largest batches: two at a time stored
//! fewer reports per second, for what each transaction costs beside its rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use gauntlet_domain::experiment::AttackResult;
use gauntlet_domain::task::Timestamp;
use gauntlet_domain::{AttemptRef, WorkerId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::v1::acknowledge::Verdict as WireVerdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::{self, CoordinatorMessage};
use prost::Message as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::sessions::Outbox;
use crate::shared::Shared;
use crate::status::logged;
use crate::store::{Content, Error, Report, Stored, TrainingCheckpoint, Verdict};

/// Longest text kept of what a worker says.
const MAX_TEXT: usize = 16 * 1024;
/// Most memory that a column holds.
const MAX_MEMORY_MIB: u32 = i32::MAX as u32 - 1;
/// Longest id of a report.
const MAX_REPORT_ID: usize = 256;
/// Most reports in a transaction,
const BATCH: usize = 1000;
/// and most of their bytes, unless a single one has more.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of all reports that may wait, in KiB. Beyond, sessions are not read until there is room.
const ROOM_KIB: usize = 128 * 1024;

/// Where sessions hand in what their workers report.
#[derive(Debug)]
pub struct Reports {
    lane: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// The other end, for [`store_all`].
#[derive(Debug)]
pub struct Lane(mpsc::UnboundedReceiver<Waiting>);

/// A report that waits to be stored.
#[derive(Debug)]
struct Waiting {
    report: Report,
    report_id: String,
    bytes: usize,
    outbox: Outbox,
    /// Its share of the room, given back when it is dealt with.
    _room: OwnedSemaphorePermit,
}

impl Reports {
    /// The way in, and the lane that reports take.
    pub fn new() -> (Self, Lane) {
        let (lane, incoming) = mpsc::unbounded_channel();
        (Self { lane, room: Arc::new(Semaphore::new(ROOM_KIB)) }, Lane(incoming))
    }

    /// Takes a report of a session's worker in, as soon as there is room. It is answered through the outbox once it is stored. False where reports
    /// cannot be stored any more.
    pub async fn hand_in(&self, shared: &Shared, worker: &WorkerId, report: v1::Report, outbox: &Outbox) -> bool {
        let (report_id, bytes) = (report.report_id.clone(), report.encoded_len());
        let peak_memory_mib = report.peak_memory_mib.map(|mib| mib.min(MAX_MEMORY_MIB));
        let uploaded_after = report.uploaded_after_micros.map(Timestamp);
        let (attempt, content) = match understand(report) {
            Ok(understood) => understood,
            Err(problem) => {
                answer(shared, outbox, acknowledgement(report_id, Verdict::Invalid(problem.to_string())));
                return true;
            }
        };
        let share = u32::try_from((bytes / 1024 + 1).min(ROOM_KIB)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(share).await else { return false };
        let ends = ends(&content);
        let spec = shared.sessions.reports(worker, attempt, ends);
        let report = Report { worker: worker.clone(), attempt, spec, content, peak_memory_mib, uploaded_after };
        let waiting = Waiting { report, report_id, bytes, outbox: outbox.clone(), _room: room };
        let taken = self.lane.send(waiting).is_ok();
        if taken && ends {
            // The slot is filled again while the report is stored.
            shared.dispatch.notify_one();
        }
        taken
    }
}

/// Whether the attempt is over with this report.
const fn ends(content: &Content) -> bool {
    !matches!(content, Content::Epoch(_) | Content::Checkpoint(_))
}

/// Stores what comes along the lane, and acknowledges each report. While the database is away it waits: the workers keep their reports.
pub async fn store_all(shared: Arc<Shared>, lane: Lane) {
    let Lane(mut incoming) = lane;
    let mut waiting = VecDeque::new();
    loop {
        let batch = tokio::select! {
            () = shared.stop.cancelled() => return,
            batch = next_batch(&mut incoming, &mut waiting) => batch,
        };
        if batch.is_empty() {
            return;
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = store(&shared, batch) => {}
        }
    }
}

/// All that waits, up to the size of a batch. Empty only when nothing will come any more.
async fn next_batch(incoming: &mut mpsc::UnboundedReceiver<Waiting>, waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    if waiting.is_empty() {
        waiting.extend(incoming.recv().await);
    }
    while waiting.len() < BATCH
        && let Ok(next) = incoming.try_recv()
    {
        waiting.push_back(next);
    }
    let mut bytes = 0;
    let mut batch: Vec<Waiting> = Vec::new();
    while let Some(next) = waiting.front()
        && (batch.is_empty() || (batch.len() < BATCH && bytes + next.bytes <= BATCH_BYTES))
    {
        bytes += next.bytes;
        batch.extend(waiting.pop_front());
    }
    batch
}

/// Stores a batch. What the database refuses must not take the rest with it: a refused batch is halved until the culprit is alone.
async fn store(shared: &Arc<Shared>, batch: Vec<Waiting>) {
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        match store_part(shared, &mut part).await {
            Ok(stored) => conclude(shared, part, stored),
            Err(_) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(error) => store_refused(shared, part, &error).await,
        }
    }
}

/// The one report that the database refuses ends its attempt.
async fn store_refused(shared: &Arc<Shared>, mut part: Vec<Waiting>, error: &Error) {
    let id = logged(error);
    for waiting in &mut part {
        let problem = format!("the coordinator could not store it; its log names the error {id}");
        waiting.report.content = Content::Nonsense(problem);
    }
    match store_part(shared, &mut part).await {
        Ok(stored) => conclude(shared, part, stored),
        // No answer: the worker sends the report again.
        Err(error) => drop(logged(&error)),
    }
}

/// Tries until the database has an answer. Reports of sessions that end meanwhile are left out while it is away: their workers send them again.
async fn store_part(shared: &Shared, part: &mut Vec<Waiting>) -> Result<Stored, Error> {
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        if part.is_empty() {
            return Ok(Stored { verdicts: Vec::new(), transitions: Vec::new() });
        }
        let reports: Vec<&Report> = part.iter().map(|waiting| &waiting.report).collect();
        match shared.outage.note(shared.store.store_reports(&reports).await) {
            Err(error) if error.is_unavailable() => part.retain(|waiting| !waiting.outbox.is_closed()),
            Err(Error::Conflict(_)) => {}
            done => return done,
        }
        tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
    }
}

fn conclude(shared: &Arc<Shared>, part: Vec<Waiting>, stored: Stored) {
    let Stored { verdicts, transitions } = stored;
    let (reports, answers): (Vec<Report>, Vec<_>) =
        part.into_iter().map(|waiting| (waiting.report, (waiting.outbox, waiting.report_id))).unzip();
    for (report, verdict) in reports.iter().zip(&verdicts) {
        follow(shared, report, verdict);
    }
    shared.committed(&transitions);
    for ((outbox, report_id), verdict) in answers.into_iter().zip(verdicts) {
        answer(shared, &outbox, acknowledgement(report_id, verdict));
    }
}

fn acknowledgement(report_id: String, verdict: Verdict) -> v1::Acknowledge {
    let (verdict, message, deleted_at) = match verdict {
        Verdict::Accepted => (WireVerdict::Accepted, String::new(), None),
        Verdict::Stale(reason) => (WireVerdict::Stale, reason, None),
        Verdict::Invalid(problem) => (WireVerdict::Invalid, problem, None),
        Verdict::UploadAgain(deleted_at) => {
            (WireVerdict::UploadAgain, "the artifact was deleted from the store".to_owned(), deleted_at)
        }
    };
    let deleted_at_micros = deleted_at.map(|Timestamp(micros)| micros);
    v1::Acknowledge { report_id, verdict: verdict.into(), message, deleted_at_micros }
}

/// What follows for the session of the worker.
fn follow(shared: &Shared, report: &Report, verdict: &Verdict) {
    let Report { worker, attempt, content, .. } = report;
    if matches!(content, Content::Trained(_)) && *verdict == Verdict::Accepted {
        shared.sessions.holds(worker, attempt.task);
    }
    // One whose artifact has to be uploaded again is not over.
    let awaited = matches!(verdict, Verdict::UploadAgain(_));
    if !awaited && (ends(content) || *verdict != Verdict::Accepted) {
        shared.sessions.ended(worker, *attempt, None);
    }
    let (task, number) = (attempt.task, attempt.attempt.0);
    match verdict {
        Verdict::Accepted => {}
        Verdict::UploadAgain(_) => {
            tracing::info!(task = task.short(), attempt = number, %worker, "a report names an artifact that was deleted");
        }
        Verdict::Stale(reason) => {
            tracing::info!(task = task.short(), attempt = number, %worker, reason, "a stale report changed nothing");
        }
        Verdict::Invalid(problem) => {
            tracing::warn!(task = task.short(), attempt = number, %worker, problem, "a report made no sense");
        }
    }
}

fn answer(shared: &Shared, outbox: &Outbox, acknowledge: v1::Acknowledge) {
    let message = Ok(CoordinatorMessage { message: Some(Message::Acknowledge(acknowledge)) });
    match outbox.try_send(message) {
        Ok(()) => {}
        Err(TrySendError::Full(message)) => {
            let outbox = outbox.clone();
            // Nobody else waits for a worker that is slow to read.
            shared.tasks.spawn(async move { drop(outbox.send(message).await) });
        }
        // The worker is gone. What it sent is stored all the same.
        Err(TrySendError::Closed(_)) => tracing::debug!("an acknowledgement came too late"),
    }
}

/// Which attempt a report speaks of, and what it says. What it says may be nonsense; then the attempt fails for it.
fn understand(report: v1::Report) -> Result<(AttemptRef, Content), InvalidField> {
    let v1::Report { report_id, attempt, content, .. } = report;
    let attempt = convert::attempt_ref(attempt)?;
    let content = if report_id.is_empty() || report_id.len() > MAX_REPORT_ID {
        Err(InvalidField::new("report_id", format!("expected 1 to {MAX_REPORT_ID} bytes")))
    } else {
        convert::required(content, "content").and_then(understand_content)
    };
    Ok((attempt, content.unwrap_or_else(|problem| Content::Nonsense(problem.to_string()))))
}

fn understand_content(content: v1::report::Content) -> Result<Content, InvalidField> {
    use v1::report::Content as Wire;
    Ok(match content {
        Wire::Epoch(metrics) => Content::Epoch(metrics.into()),
        Wire::Checkpoint(v1::TrainingCheckpoint { artifact, epoch }) => Content::Checkpoint(TrainingCheckpoint {
            artifact: convert::artifact(artifact, "checkpoint.artifact")?,
            epoch,
        }),
        Wire::Trained(v1::Trained { checkpoint }) => {
            Content::Trained(convert::artifact(checkpoint, "trained.checkpoint")?)
        }
        Wire::Attacked(v1::Attacked { outcomes, model_queries, zero_gradient_examples }) => {
            let outcomes = convert::required(outcomes, "attacked.outcomes")?.into();
            Content::Attacked(AttackResult { outcomes, model_queries, zero_gradient_examples })
        }
        Wire::Analyzed(analyzed) => Content::Analyzed(analyzed.try_into()?),
        Wire::Failed(failed) => {
            let mut failure: gauntlet_domain::task::Failure = failed.try_into()?;
            failure.message = text(&failure.message);
            Content::Failed(failure)
        }
        Wire::HandedBack(v1::HandedBack { message }) => Content::HandedBack(text(&message)),
    })
}

/// A text as Postgres can keep it: of bounded length, without NUL.
pub fn text(text: &str) -> String {
    let clean: String = text.chars().filter(|c| *c != '\0').collect();
    let end = (0..=clean.len().min(MAX_TEXT)).rev().find(|end| clean.is_char_boundary(*end)).unwrap_or(0);
    clean[..end].to_owned()
}
