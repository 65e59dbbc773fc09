//! The loop's duties in the artifact store.

use std::sync::Arc;

use gauntlet_domain::task::FailureClass;
use gauntlet_proto::v1::{self, worker_message};
use gauntlet_proto::{convert, v1::report::Content as Wire};
use tokio::time::Instant;

use super::Runtime;
use crate::duties::{Deletion, DutyEvent, upload_again};
use crate::report::Content;

impl Runtime {
    /// Deletes artifacts, as long as nobody else can have been told to.
    pub(super) fn delete_artifacts(&mut self, order: &v1::DeleteArtifacts) {
        let deadline = Instant::now() + self.lease.unwrap_or_default() / 2;
        match Deletion::start(Arc::clone(&self.workshop), order, deadline, self.events.clone()) {
            Ok(deletion) => self.deletion = Some(deletion),
            Err(error) => tracing::error!(%error, "an order to delete artifacts makes no sense"),
        }
    }

    /// The artifact of a report was deleted before the report came.
    pub(super) fn upload_again(&mut self, report_id: &str, deleted_at_micros: Option<i64>) {
        let Some(report) = self.outbox.find(report_id) else { return };
        let attempt = convert::attempt_ref(report.attempt.clone());
        let made = match &report.content {
            Some(
                Wire::Trained(v1::Trained { checkpoint: made }) | Wire::Analyzed(v1::Analyzed { dataset: made, .. }),
            ) => convert::artifact(made.clone(), "artifact").ok(),
            _ => None,
        };
        if let (Ok(attempt), Some(artifact)) = (attempt, made) {
            tracing::warn!(%attempt, digest = %artifact.digest, "the artifact of a report was deleted: it is uploaded again");
            let (workshop, events) = (Arc::clone(&self.workshop), self.events.clone());
            upload_again(workshop, report_id.to_owned(), attempt.task, artifact, deleted_at_micros, events);
        } else if let Some((sequence, attempt)) = self.outbox.acknowledge(report_id) {
            // Its file may be replaced already; the next one will be kept.
            tracing::warn!(%attempt, "a checkpoint was deleted before it was reported: a later attempt may repeat more");
            self.spool.delete(sequence);
        }
    }

    pub(super) fn hear_duty(&mut self, event: DutyEvent) {
        match event {
            DutyEvent::Deleted { deleted, failed } => {
                self.deletion = None;
                let texts = |digests: Vec<_>| digests.iter().map(ToString::to_string).collect();
                let said = v1::ArtifactsDeleted { deleted: texts(deleted), failed: texts(failed) };
                // Where it is lost, the coordinator asks again.
                self.say(worker_message::Message::ArtifactsDeleted(said));
            }
            DutyEvent::Uploaded { report_id, deleted_at_micros, outcome: Ok(()) } => {
                self.outbox.send_again(&report_id, deleted_at_micros);
            }
            DutyEvent::Uploaded { report_id, outcome: Err(problem), .. } => {
                let Some((sequence, attempt)) = self.outbox.acknowledge(&report_id) else { return };
                self.spool.delete(sequence);
                let message = format!("what the task made was deleted and cannot be uploaded again: {problem}");
                self.report(attempt, Content::failed(FailureClass::Transient, message));
            }
        }
    }
}
