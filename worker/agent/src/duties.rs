//! What is done in the artifact store for the coordinator, beside the attempts: deleting what nobody refers to any more, and uploading again what was
//! deleted when it was about to be reported.

use std::sync::Arc;
use std::time::Duration;

use gauntlet_domain::experiment::ArtifactRef;
use gauntlet_domain::{Digest, TaskId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::v1;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::event::Event;
use crate::job::Workshop;

/// Time after which it is asked again whether a deletion is over.
const PAUSE: Duration = Duration::from_secs(1);

/// What came of a duty.
#[derive(Debug)]
pub(crate) enum DutyEvent {
    /// This was deleted, and this could not be.
    Deleted { deleted: Vec<Digest>, failed: Vec<Digest> },
    /// The artifact of a report is in the store again, or why it is not.
    Uploaded { report_id: String, deleted_at_micros: Option<i64>, outcome: Result<(), String> },
}

/// A deletion under way; it ends with this.
#[derive(Debug)]
pub(crate) struct Deletion(AbortHandle);

impl Drop for Deletion {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Deletion {
    /// Begins to delete artifacts; nothing is deleted after `deadline`, when somebody else may have been told to, and may have finished.
    pub(crate) fn start(
        workshop: Arc<Workshop>,
        order: &v1::DeleteArtifacts,
        deadline: Instant,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, InvalidField> {
        let digests: Result<Vec<Digest>, InvalidField> =
            order.digests.iter().map(|digest| convert::parse(digest, "delete_artifacts.digests")).collect();
        let digests = digests?;
        let work = async move {
            let (mut deleted, mut failed) = (Vec::new(), Vec::new());
            for digest in digests {
                if Instant::now() >= deadline {
                    failed.push(digest);
                    continue;
                }
                match workshop.artifacts.delete(&digest).await {
                    Ok(()) => deleted.push(digest),
                    Err(error) => {
                        tracing::warn!(%digest, %error, "an artifact cannot be deleted");
                        failed.push(digest);
                    }
                }
            }
            tracing::info!(deleted = deleted.len(), failed = failed.len(), "artifacts were deleted");
            // Nobody listens any more when the agent leaves.
            let _ = events.send(Event::Duty(DutyEvent::Deleted { deleted, failed })).await;
        };
        Ok(Self(tokio::spawn(work).abort_handle()))
    }
}

/// Brings the checkpoint of a finished training into the store again, once its deletion is over.
pub(crate) fn upload_again(
    workshop: Arc<Workshop>,
    report_id: String,
    task: TaskId,
    artifact: ArtifactRef,
    deleted_at_micros: Option<i64>,
    events: mpsc::Sender<Event>,
) {
    tokio::spawn(async move {
        let outcome = match deleted_at_micros {
            // Whatever is uploaded now may be deleted yet.
            None => {
                sleep(PAUSE).await;
                Ok(())
            }
            Some(_) => put_again(&workshop, task, &artifact).await,
        };
        // Nobody listens any more when the agent leaves.
        let _ = events.send(Event::Duty(DutyEvent::Uploaded { report_id, deleted_at_micros, outcome })).await;
    });
}

async fn put_again(workshop: &Workshop, task: TaskId, artifact: &ArtifactRef) -> Result<(), String> {
    let path = workshop.cache.find(task, &artifact.digest).ok_or("it is not in the cache any more")?;
    match workshop.artifacts.put(&path).await {
        Ok(put) if put == *artifact => Ok(()),
        Ok(_) => Err("it is damaged in the cache".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
