//! What is done for an attempt in the background: bringing its inputs, uploading what it writes. One task per attempt, one job after the other, so
//! that a checkpoint is always reported before the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gauntlet_domain::AttemptRef;
use gauntlet_domain::adaptive;
use gauntlet_domain::experiment::{ArtifactRef, TaskSpec};
use gauntlet_domain::task::{Failure, FailureClass};
use gauntlet_executor_ipc::{Execute, TaskOutput};
use gauntlet_proto::MAX_MESSAGE_BYTES;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::artifacts::{Artifacts, Cache};
use crate::assignment::Assignment;
use crate::attempts::{Ending, Input};
use crate::event::Event;
use crate::report::Content;

/// What all jobs share.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) artifacts: Artifacts,
    pub(crate) cache: Cache,
    pub(crate) data_dir: PathBuf,
    /// Folder of the attempts' folders.
    pub(crate) attempts: PathBuf,
}

impl Workshop {
    /// The folder of an attempt; two live attempts never share it.
    pub(crate) fn folder(&self, attempt: AttemptRef) -> PathBuf {
        self.attempts.join(format!("{:.16}-{}", attempt.task.to_string(), attempt.attempt))
    }
}

enum Job {
    StoreCheckpoint { path: PathBuf, epoch: u32 },
    Conclude(Ending),
}

/// The background work of one attempt; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Jobs {
    sender: mpsc::UnboundedSender<Job>,
    task: AbortHandle,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Jobs {
    /// Begins to bring what the attempt needs.
    pub(crate) fn start(workshop: Arc<Workshop>, assignment: Assignment, events: mpsc::Sender<Event>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let worker = Worker { folder: workshop.folder(assignment.attempt), workshop, assignment, events };
        let task = tokio::spawn(worker.run(receiver)).abort_handle();
        Self { sender, task }
    }

    pub(crate) fn store_checkpoint(&self, path: PathBuf, epoch: u32) {
        // After the end nobody needs it.
        let _ = self.sender.send(Job::StoreCheckpoint { path, epoch });
    }

    pub(crate) fn conclude(&self, ending: Ending) {
        let _ = self.sender.send(Job::Conclude(ending));
    }
}

struct Worker {
    workshop: Arc<Workshop>,
    assignment: Assignment,
    folder: PathBuf,
    events: mpsc::Sender<Event>,
}

impl Worker {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let attempt = self.assignment.attempt;
        let outcome = self.prepare().await.map(Box::new);
        self.tell(Input::Prepared { attempt, outcome }).await;
        let mut checkpoint = None;
        while let Some(job) = jobs.recv().await {
            let ending = self.collect(job, &mut jobs, &mut checkpoint);
            if !matches!(&ending, Some(Ending::Finished(_))) {
                self.store_checkpoint(checkpoint.take()).await;
            }
            if let Some(ending) = ending {
                let content = self.conclude(ending).await;
                self.tell(Input::Concluded { attempt, content }).await;
                return;
            }
        }
    }

    /// Of all checkpoints that wait only the latest matters.
    fn collect(
        &self,
        first: Job,
        jobs: &mut mpsc::UnboundedReceiver<Job>,
        checkpoint: &mut Option<(PathBuf, u32)>,
    ) -> Option<Ending> {
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::StoreCheckpoint { path, epoch } => *checkpoint = Some((path, epoch)),
                Job::Conclude(ending) => return Some(ending),
            }
            next = jobs.try_recv().ok();
        }
        None
    }

    async fn tell(&self, input: Input) {
        // Nobody listens any more when the agent leaves.
        let _ = self.events.send(Event::Job(input)).await;
    }

    async fn prepare(&self) -> Result<Execute, Failure> {
        let assignment = &self.assignment;
        let output_dir = self.folder.join("output");
        let inputs = self.folder.join("inputs");
        for folder in [&output_dir, &inputs] {
            let made = tokio::fs::create_dir_all(folder).await;
            made.map_err(|error| transient(format!("{}: {error}", folder.display())))?;
        }
        let mut task_artifacts = BTreeMap::new();
        for (task, artifact) in &assignment.inputs {
            let link = inputs.join(task.to_string());
            let obtained = self.workshop.cache.obtain(&self.workshop.artifacts, *task, artifact, &link).await;
            obtained.map_err(|error| transient(format!("what input task {} made: {error}", task.short())))?;
            task_artifacts.insert(*task, link);
        }
        Ok(Execute {
            attempt: assignment.attempt,
            spec: assignment.spec.clone(),
            files: assignment.files.clone(),
            data_dir: self.workshop.data_dir.clone(),
            task_artifacts,
            resume_from: self.resume_point(&inputs).await,
            output_dir,
            memory: assignment.memory,
        })
    }

    /// Starting over gives the same result, only later.
    async fn resume_point(&self, folder: &Path) -> Option<PathBuf> {
        let artifact = self.assignment.resume_from?;
        let path = folder.join("resume");
        match self.workshop.artifacts.fetch(&artifact, &path).await {
            Ok(()) => {
                tracing::info!(attempt = %self.assignment.attempt, "the training goes on from a checkpoint");
                Some(path)
            }
            Err(error) => {
                tracing::warn!(attempt = %self.assignment.attempt, %error, "the training cannot be resumed and starts over");
                None
            }
        }
    }

    async fn store_checkpoint(&self, checkpoint: Option<(PathBuf, u32)>) {
        let Some((path, epoch)) = checkpoint else { return };
        let attempt = self.assignment.attempt;
        match self.workshop.artifacts.put(&self.folder.join("output").join(&path)).await {
            Ok(artifact) => self.tell(Input::CheckpointStored { attempt, artifact, epoch }).await,
            Err(error) if error.is_missing_file() => {
                tracing::debug!(%attempt, epoch, "a checkpoint was replaced before it was uploaded");
            }
            Err(error) => {
                tracing::warn!(%attempt, epoch, %error, "a checkpoint is not uploaded: a later attempt may repeat more")
            }
        }
    }

    async fn conclude(&self, ending: Ending) -> Content {
        match ending {
            Ending::Finished(result_path) => self.publish(result_path).await.unwrap_or_else(Content::Failed),
            Ending::Failed(failure) => Content::Failed(failure),
            Ending::HandedBack(reason) => Content::HandedBack(reason),
        }
    }

    async fn publish(&self, result_path: PathBuf) -> Result<Content, Failure> {
        let output_dir = self.folder.join("output");
        let path = output_dir.join(result_path);
        let read = tokio::task::spawn_blocking(move || TaskOutput::read(&path)).await;
        let output = read.map_err(|error| transient(error.to_string()))?;
        let output = output.map_err(|error| transient(error.to_string()))?;
        match (output, &self.assignment.spec) {
            (TaskOutput::Trained { checkpoint }, TaskSpec::Train(_)) => {
                self.keep(&output_dir.join(checkpoint), "the trained checkpoint").await.map(Content::Trained)
            }
            (TaskOutput::Attacked(result), TaskSpec::Attack(spec)) => {
                let checked = adaptive::check_outcomes(&result.outcomes, spec);
                checked.map_err(|error| permanent(format!("the executor's result makes no sense: {error}")))?;
                self.fitting(Content::Attacked(Box::new(result)))
            }
            (TaskOutput::Analyzed { mut result, dataset }, TaskSpec::Analyze(spec)) => {
                if let Some(path) = dataset {
                    result.dataset = Some(self.keep(&output_dir.join(path), "the constructed data set").await?);
                }
                let checked = result.check(&spec.method);
                checked.map_err(|error| permanent(format!("the executor's result makes no sense: {error}")))?;
                self.fitting(Content::Analyzed(result))
            }
            (output, spec) => {
                let message = format!("the executor {} where it should have {}", done(&output), wanted(spec));
                Err(permanent(message))
            }
        }
    }

    /// Brings what other tasks may need to the store, and keeps it at hand for those that run here.
    async fn keep(&self, path: &Path, what: &str) -> Result<ArtifactRef, Failure> {
        let stored = self.workshop.artifacts.put(path).await;
        let artifact = stored.map_err(|error| transient(format!("{what} cannot be kept: {error}")))?;
        self.workshop.cache.insert(self.assignment.attempt.task, &artifact, path);
        Ok(artifact)
    }

    fn fitting(&self, content: Content) -> Result<Content, Failure> {
        let bytes = content.clone().into_report(self.assignment.attempt).encoded_len();
        // Room for what is wrapped around a report.
        if bytes + 1024 > MAX_MESSAGE_BYTES {
            return Err(permanent(format!("the result takes {bytes} bytes; a message holds {MAX_MESSAGE_BYTES}")));
        }
        Ok(content)
    }
}

/// What an executor did.
const fn done(output: &TaskOutput) -> &'static str {
    match output {
        TaskOutput::Trained { .. } => "trained",
        TaskOutput::Attacked(_) => "attacked",
        TaskOutput::Analyzed { .. } => "analyzed",
    }
}

/// What it should have done.
const fn wanted(spec: &TaskSpec) -> &'static str {
    match spec {
        TaskSpec::Train(_) => "trained",
        TaskSpec::Attack(_) => "attacked",
        TaskSpec::Analyze(_) => "analyzed",
    }
}

fn transient(message: String) -> Failure {
    Failure { class: FailureClass::Transient, message }
}

fn permanent(message: String) -> Failure {
    Failure { class: FailureClass::Permanent, message }
}
