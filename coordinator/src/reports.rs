//! Reports of workers: understood, stored however often it takes, and answered.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use gauntlet_domain::experiment::AttackResult;
use gauntlet_domain::{AttemptRef, WorkerId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::v1::acknowledge::Verdict as WireVerdict;
use gauntlet_proto::v1::coordinator_message::Message;
use gauntlet_proto::v1::{self, CoordinatorMessage};
use tokio::sync::mpsc;

use crate::sessions::Outbox;
use crate::shared::Shared;
use crate::status::logged;
use crate::store::{Content, Error, Stored, TrainingCheckpoint, Verdict};

/// Longest text kept of what a worker says.
const MAX_TEXT: usize = 16 * 1024;
/// Most memory that a column holds.
const MAX_MEMORY_MIB: u32 = i32::MAX as u32 - 1;
/// Longest id of a report.
const MAX_REPORT_ID: usize = 256;

/// Stores the reports of a session, one after the other, and acknowledges each. While the database is away it waits: the worker keeps its reports.
pub async fn store_all(shared: Arc<Shared>, worker: WorkerId, mut reports: mpsc::Receiver<v1::Report>, outbox: Outbox) {
    while let Some(report) = reports.recv().await {
        let report_id = report.report_id.clone();
        let answer = tokio::select! {
            () = shared.stop.cancelled() => return,
            answer = answer(&shared, &worker, report, &outbox) => answer,
        };
        // No answer: the worker sends the report again in its next session.
        let Some((verdict, message)) = answer else { return };
        let acknowledge = v1::Acknowledge { report_id, verdict: verdict.into(), message };
        if outbox.send(Ok(CoordinatorMessage { message: Some(Message::Acknowledge(acknowledge)) })).await.is_err() {
            // The worker is gone. What it sent is stored all the same, as far as it came.
            tracing::debug!(%worker, "an acknowledgement came too late");
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    worker: &WorkerId,
    report: v1::Report,
    outbox: &Outbox,
) -> Option<(WireVerdict, String)> {
    let peak_memory_mib = report.peak_memory_mib.map(|mib| mib.min(MAX_MEMORY_MIB));
    let (attempt, content) = match understand(report) {
        Ok(understood) => understood,
        Err(problem) => return Some((WireVerdict::Invalid, problem.to_string())),
    };
    let stored = match store(shared, worker, attempt, &content, peak_memory_mib, outbox).await {
        Ok(stored) => stored,
        Err(error) if error.is_unavailable() => return None,
        Err(error) => {
            let problem = format!("the coordinator could not store it; its log names the error {}", logged(&error));
            store(shared, worker, attempt, &Content::Nonsense(problem), None, outbox)
                .await
                .map_err(|error| logged(&error))
                .ok()?
        }
    };
    Some(conclude(shared, worker, attempt, &content, stored))
}

async fn store(
    shared: &Shared,
    worker: &WorkerId,
    attempt: AttemptRef,
    content: &Content,
    peak_memory_mib: Option<u32>,
    outbox: &Outbox,
) -> Result<Stored, Error> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    let passes = |error: &Error| matches!(error, Error::Conflict(_)) || (error.is_unavailable() && !outbox.is_closed());
    let once =
        || async { shared.outage.note(shared.store.store_report(worker, attempt, content, peak_memory_mib).await) };
    once.retry(backoff).when(passes).await
}

fn conclude(
    shared: &Arc<Shared>,
    worker: &WorkerId,
    attempt: AttemptRef,
    content: &Content,
    stored: Stored,
) -> (WireVerdict, String) {
    let Stored { verdict, transitions } = stored;
    if matches!(content, Content::Trained(_)) && verdict == Verdict::Accepted {
        shared.sessions.holds(worker, attempt.task);
    }
    let ends = !matches!(content, Content::Epoch(_) | Content::Checkpoint(_));
    if ends || verdict != Verdict::Accepted {
        shared.sessions.ended(worker, attempt, None);
    }
    shared.committed(&transitions);
    match verdict {
        Verdict::Accepted => (WireVerdict::Accepted, String::new()),
        Verdict::Stale(reason) => {
            tracing::info!(task = attempt.task.short(), attempt = attempt.attempt.0, %worker, reason, "a stale report changed nothing");
            (WireVerdict::Stale, reason)
        }
        Verdict::Invalid(problem) => {
            tracing::warn!(task = attempt.task.short(), attempt = attempt.attempt.0, %worker, problem, "a report made no sense");
            (WireVerdict::Invalid, problem)
        }
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
