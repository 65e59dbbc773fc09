//! What the agent has to report, and how it looks on the wire.

use gauntlet_domain::AttemptRef;
use gauntlet_domain::experiment::{AnalysisResult, ArtifactRef, AttackResult, EpochMetrics};
use gauntlet_domain::task::{Failure, FailureClass};
use gauntlet_proto::v1;

/// Longest text of a failure: evidence, not a log.
const MAX_MESSAGE_CHARACTERS: usize = 8000;

/// Something about an attempt that must not be lost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Epoch(EpochMetrics),
    Checkpoint { artifact: ArtifactRef, epoch: u32 },
    Trained(ArtifactRef),
    Attacked(Box<AttackResult>),
    Analyzed(AnalysisResult),
    Failed(Failure),
    HandedBack(String),
}

impl Content {
    pub(crate) fn failed(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Failed(Failure { class, message: message.into() })
    }

    /// The attempt's end in a few words, for the log.
    pub(crate) fn outcome(&self) -> String {
        match self {
            Self::Epoch(metrics) => format!("epoch {}", metrics.epoch),
            Self::Checkpoint { epoch, .. } => format!("checkpoint of epoch {epoch}"),
            Self::Trained(artifact) => format!("trained, checkpoint {}", artifact.digest.short()),
            Self::Attacked(result) => {
                format!("attacked, {} of {} robust", result.outcomes.robust_correct(), result.outcomes.examples())
            }
            Self::Analyzed(result) => format!("analyzed, {} values", result.values.len()),
            Self::Failed(failure) => format!("failed ({}): {}", failure.class.name(), failure.message),
            Self::HandedBack(message) => format!("handed back: {message}"),
        }
    }

    /// As a report with an id of its own.
    pub(crate) fn into_report(self, attempt: AttemptRef) -> v1::Report {
        use v1::report::Content as Wire;
        let content = match self {
            Self::Epoch(metrics) => Wire::Epoch(metrics.into()),
            Self::Checkpoint { artifact, epoch } => {
                Wire::Checkpoint(v1::TrainingCheckpoint { artifact: Some(artifact.into()), epoch })
            }
            Self::Trained(artifact) => Wire::Trained(v1::Trained { checkpoint: Some(artifact.into()) }),
            Self::Attacked(result) => Wire::Attacked(v1::Attacked {
                outcomes: Some(result.outcomes.into()),
                model_queries: result.model_queries,
                zero_gradient_examples: result.zero_gradient_examples,
            }),
            Self::Analyzed(result) => Wire::Analyzed(result.into()),
            Self::Failed(failure) => Wire::Failed(Failure { message: shortened(failure.message), ..failure }.into()),
            Self::HandedBack(message) => Wire::HandedBack(v1::HandedBack { message: shortened(message) }),
        };
        let report_id = uuid::Uuid::new_v4().to_string();
        v1::Report {
            report_id,
            attempt: Some(attempt.into()),
            content: Some(content),
            peak_memory_mib: None,
            uploaded_after_micros: None,
        }
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether nothing follows this report of its attempt.
pub(crate) fn is_final(report: &v1::Report) -> bool {
    use v1::report::Content as Wire;
    !matches!(report.content, Some(Wire::Epoch(_) | Wire::Checkpoint(_)))
}
