//! What workers report becomes durable, once, and only from the attempt that holds the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gauntlet_domain::artifact::{Departure, Naming, naming};
use gauntlet_domain::experiment::{AnalysisResult, ArtifactRef, AttackResult, EpochMetrics, TaskSpec};
use gauntlet_domain::task::{Event, Failure, FailureClass, Task, TaskState, Timestamp, memory_needed, memory_plan};
use gauntlet_domain::{AttemptRef, Digest, TaskId, WorkerId};

use super::checks::{check, epoch_fits};
use super::claim::{TrainingCheckpoint, attempt_column};
use super::outputs::{AttackRow, Results};
use super::rows::{LockedTask, attempt, bytes, column, corrupt, task_id, task_ids, timestamp};
use super::work::Work;
use super::{Error, Store, Transition, demands};

/// What a worker says of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An epoch of a training is over.
    Epoch(EpochMetrics),
    /// A later attempt can go on from here.
    Checkpoint(TrainingCheckpoint),
    /// A training is over.
    Trained(ArtifactRef),
    /// An evaluation is over.
    Attacked(AttackResult),
    /// An analysis is over.
    Analyzed(AnalysisResult),
    /// It failed.
    Failed(Failure),
    /// It stops unfinished, for this reason, at no fault of the task.
    HandedBack(String),
    /// A report that makes no sense, and why.
    Nonsense(String),
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Stored, now or when it came the first time.
    Accepted,
    /// It speaks of an attempt that is not this worker's current one; nothing changed.
    Stale(String),
    /// It makes no sense, and the attempt is over.
    Invalid(String),
    /// The artifact that it names may have been deleted from the store; nothing changed. It has to be uploaded after this moment, or, where there is none,
    /// once its deletion is over.
    UploadAgain(Option<Timestamp>),
}

/// What a worker says of an attempt, as it is handed in.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who says it.
    pub worker: WorkerId,
    /// Of which attempt.
    pub attempt: AttemptRef,
    /// What the task computes, where that is known; otherwise the database is asked.
    pub spec: Option<Arc<TaskSpec>>,
    /// What it says.
    pub content: Content,
    /// The most memory that the attempt took, where it is over and that is known.
    pub peak_memory_mib: Option<u32>,
    /// The moment of a deletion after which the artifact that it names was uploaded again.
    pub uploaded_after: Option<Timestamp>,
}

impl Report {
    /// The artifact that it names.
    fn artifact(&self) -> Option<Digest> {
        match &self.content {
            Content::Checkpoint(checkpoint) => Some(checkpoint.artifact.digest),
            Content::Trained(artifact) => Some(artifact.digest),
            Content::Analyzed(result) => result.dataset.map(|dataset| dataset.digest),
            _ => None,
        }
    }
}

/// Reports that were dealt with.
#[derive(Debug)]
pub struct Stored {
    /// What to tell the workers, in the order of the reports.
    pub verdicts: Vec<Verdict>,
    /// What happened to tasks.
    pub transitions: Vec<Transition>,
}

/// Where the attempt of a report stands.
enum Standing<'a> {
    /// It is the task's current one, leased to the worker that reports.
    Current(&'a LockedTask),
    /// It was this worker's, and ended so.
    Over(&'a str),
    /// None of this worker's.
    Foreign(String),
}

impl Store {
    /// Stores reports in one transaction, in their order. The same report again, also within these, changes nothing and is accepted again.
    ///
    /// # Errors
    /// The database is unavailable: the reports may or may not be stored, and are to be sent again. Or it refuses what the checks let pass.
    pub async fn store_reports(&self, reports: &[&Report]) -> Result<Stored, Error> {
        let specs = self.specs(reports).await?;
        let mut work = self.begin().await?;
        let known = Known::of(reports, specs, &mut work).await?;
        let mut batch = Batch::default();
        let verdicts = reports.iter().map(|report| batch.take(report, &known)).collect();
        batch.write(&mut work).await?;
        Ok(Stored { verdicts, transitions: work.commit().await? })
    }

    /// What the tasks compute of whose reports that is not known. Specs never change.
    async fn specs(&self, reports: &[&Report]) -> Result<BTreeMap<TaskId, Spec>, Error> {
        let unknown: BTreeSet<&TaskId> =
            reports.iter().filter(|report| report.spec.is_none()).map(|report| &report.attempt.task).collect();
        if unknown.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = sqlx::query!(
            r#"select task_id as "task_id!: Vec<u8>", spec::text as "spec!" from task_specs where task_id = any($1::bytea[])"#,
            &task_ids(unknown)
        );
        let spec =
            |json: &str| serde_json::from_str(json).map(Arc::new).map_err(|error: serde_json::Error| error.to_string());
        let rows = rows.fetch_all(&self.pool).await?;
        rows.into_iter().map(|row| Ok((task_id(row.task_id)?, spec(&row.spec)))).collect()
    }
}

/// What a task computes, or why that cannot be read.
pub(super) type Spec = Result<Arc<TaskSpec>, String>;

/// What the database knows of the attempts of some reports. The transaction holds their tasks.
struct Known {
    tasks: BTreeMap<TaskId, LockedTask>,
    specs: BTreeMap<TaskId, Spec>,
    /// How those attempts ended that are over.
    outcomes: BTreeMap<AttemptRef, (WorkerId, String)>,
    /// Artifacts that are on their way out of the store, or gone.
    departures: BTreeMap<Digest, Departure>,
}

impl Known {
    async fn of(reports: &[&Report], specs: BTreeMap<TaskId, Spec>, work: &mut Work) -> Result<Self, Error> {
        let ids: BTreeSet<TaskId> = reports.iter().map(|report| report.attempt.task).collect();
        let locked = work.lock(&ids.into_iter().collect::<Vec<_>>()).await?;
        let tasks = locked.into_iter().map(|task| (task.id, task)).collect();
        let named = reports.iter().filter_map(|report| report.artifact()).collect();
        let departures = work.departures(&named).await?;
        let mut known = Self { tasks, specs, outcomes: BTreeMap::new(), departures };
        let over: BTreeSet<AttemptRef> =
            reports.iter().filter(|report| known.current(report).is_none()).map(|report| report.attempt).collect();
        known.outcomes = outcomes(&over, work).await?;
        Ok(known)
    }

    /// The report's task, if the attempt is its current one and leased to the worker that reports.
    fn current(&self, report: &Report) -> Option<&LockedTask> {
        self.tasks.get(&report.attempt.task).filter(|locked| {
            let lease = locked.task.lease.as_ref();
            locked.task.state == TaskState::Leased
                && locked.task.attempt == report.attempt.attempt
                && lease.is_some_and(|lease| lease.worker == report.worker)
        })
    }

    fn spec(&self, report: &Report) -> Spec {
        match (&report.spec, self.specs.get(&report.attempt.task)) {
            (Some(spec), _) => Ok(Arc::clone(spec)),
            (None, Some(spec)) => spec.clone(),
            (None, None) => Err("there is no such task".to_owned()),
        }
    }
}

/// How those of these attempts ended that are over.
async fn outcomes(
    attempts: &BTreeSet<AttemptRef>,
    work: &mut Work,
) -> Result<BTreeMap<AttemptRef, (WorkerId, String)>, Error> {
    // No attempt has a number that no column can hold.
    let (tasks, numbers): (Vec<TaskId>, Vec<i32>) =
        attempts.iter().filter_map(|it| Some((it.task, attempt_column(it.attempt).ok()?))).unzip();
    if tasks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query!(
        r#"select a.task_id as "task_id!: Vec<u8>", a.attempt, a.worker_id, a.outcome::text as "outcome!"
        from attempts a join unnest($1::bytea[], $2::integer[]) as n (task_id, attempt) using (task_id, attempt)"#,
        &task_ids(&tasks),
        &numbers
    );
    let rows = rows.fetch_all(&mut *work.tx).await?;
    let row = |id, number, worker: String, outcome| {
        let attempt = AttemptRef { task: task_id(id)?, attempt: attempt(number)? };
        Ok((attempt, (worker.parse().map_err(corrupt)?, outcome)))
    };
    rows.into_iter().map(|r| row(r.task_id, r.attempt, r.worker_id, r.outcome)).collect()
}

/// What follows from some reports.
#[derive(Default)]
struct Batch<'a> {
    results: Results<'a>,
    /// At most one for each task: what ends an attempt.
    events: Vec<(LockedTask, Event)>,
    /// How these attempts end by those events.
    ended: BTreeMap<AttemptRef, &'static str>,
    /// Why attempts were handed back.
    messages: Vec<(AttemptRef, &'a str)>,
    /// What ended attempts took.
    memory: Vec<Memory>,
    /// Artifacts that were on their way out and stay.
    kept: BTreeSet<Digest>,
    /// Artifacts that were reported in vain.
    unreferenced: Vec<Digest>,
}

/// The most memory that an attempt took, and what its task is known to need since.
struct Memory {
    attempt: AttemptRef,
    peak_mib: u32,
    needed_mib: Option<u32>,
}

impl Memory {
    fn of(report: &Report, before: &Task) -> Option<Self> {
        let peak_mib = report.peak_memory_mib?;
        let ran_out = matches!(&report.content, Content::Failed(failure) if failure.class == FailureClass::Resource);
        let needed_mib = if ran_out { memory_needed(memory_plan(before.failures.resource), peak_mib) } else { None };
        Some(Self { attempt: report.attempt, peak_mib, needed_mib })
    }
}

impl<'a> Batch<'a> {
    /// Decides on the next report.
    fn take(&mut self, report: &'a Report, known: &Known) -> Verdict {
        let verdict = self.decide(report, known);
        if matches!(verdict, Verdict::Stale(_)) {
            self.unreferenced.extend(report.artifact());
        }
        verdict
    }

    fn decide(&mut self, report: &'a Report, known: &Known) -> Verdict {
        match self.standing(report, known) {
            Standing::Current(task) => self.take_current(report, task.clone(), known),
            Standing::Over(outcome) => self.take_repeated(report, outcome),
            Standing::Foreign(reason) => Verdict::Stale(reason),
        }
    }

    fn standing<'k>(&self, report: &Report, known: &'k Known) -> Standing<'k> {
        let Report { worker, attempt, .. } = report;
        let Some(task) = known.tasks.get(&attempt.task) else {
            return Standing::Foreign("there is no such task".to_owned());
        };
        if let Some(task) = known.current(report) {
            return self.ended.get(attempt).copied().map_or(Standing::Current(task), Standing::Over);
        }
        match known.outcomes.get(attempt) {
            Some((owner, outcome)) if owner == worker => Standing::Over(outcome),
            _ => Standing::Foreign(format!(
                "worker {worker} does not run attempt {}; the latest is {}",
                attempt.attempt, task.task.attempt
            )),
        }
    }

    fn take_current(&mut self, report: &'a Report, task: LockedTask, known: &Known) -> Verdict {
        let (attempt, number) = (report.attempt, report.attempt.attempt);
        if let Err(problem) = check(&report.content, || known.spec(report)) {
            let failure = Failure {
                class: FailureClass::Permanent,
                message: format!("the worker's report makes no sense: {problem}"),
            };
            self.end(attempt, task, Event::Failed { attempt: number, failure }, "failed");
            return Verdict::Invalid(problem);
        }
        if let Some(upload_again) = self.take_artifact(report, &task, known) {
            return upload_again;
        }
        let ends = !matches!(report.content, Content::Epoch(_) | Content::Checkpoint(_) | Content::Nonsense(_));
        self.memory.extend(ends.then(|| Memory::of(report, &task.task)).flatten());
        match &report.content {
            Content::Epoch(metrics) => self.results.add_epoch(attempt, metrics),
            Content::Checkpoint(checkpoint) => {
                self.unreferenced.extend(self.results.add_training_checkpoint(attempt, checkpoint));
            }
            Content::Trained(artifact) => {
                self.results.checkpoints.push((attempt, artifact));
                self.end(attempt, task, Event::Succeeded { attempt: number }, "succeeded");
            }
            Content::Attacked(result) => {
                self.results.attacks.push(attack_row(attempt, result, known.spec(report).as_deref().ok()));
                self.end(attempt, task, Event::Succeeded { attempt: number }, "succeeded");
            }
            Content::Analyzed(result) => {
                self.results.checkpoints.extend(result.dataset.iter().map(|dataset| (attempt, dataset)));
                self.results.analyses.push((attempt, result));
                self.end(attempt, task, Event::Succeeded { attempt: number }, "succeeded");
            }
            Content::Failed(failure) => {
                let event = Event::Failed { attempt: number, failure: failure.clone() };
                self.end(attempt, task, event, "failed");
            }
            Content::HandedBack(message) => {
                self.messages.push((attempt, message));
                self.end(attempt, task, Event::HandedBack { attempt: number }, "handed-back");
            }
            Content::Nonsense(problem) => return Verdict::Invalid(problem.clone()),
        }
        Verdict::Accepted
    }

    /// Whether the artifact that a report names is in the store and stays there. A worker looks whether it is there after its attempt began.
    fn take_artifact(&mut self, report: &Report, task: &LockedTask, known: &Known) -> Option<Verdict> {
        let digest = report.artifact()?;
        let departure = known.departures.get(&digest).copied();
        let since = timestamp(task.changed_at).max(report.uploaded_after.unwrap_or(Timestamp(0)));
        match naming(departure, since) {
            Naming::UploadAgain(after) => return Some(Verdict::UploadAgain(after)),
            Naming::Kept => self.kept.extend(departure.map(|_| digest)),
        }
        None
    }

    fn end(&mut self, attempt: AttemptRef, task: LockedTask, event: Event, outcome: &'static str) {
        self.ended.insert(attempt, outcome);
        self.events.push((task, event));
    }

    /// A report of an attempt that is over: accepted again if it is what ended it, or came before that end.
    fn take_repeated(&mut self, report: &'a Report, outcome: &str) -> Verdict {
        let attempt = report.attempt;
        let same = match &report.content {
            Content::Trained(_) | Content::Attacked(_) | Content::Analyzed(_) | Content::Checkpoint(_) => {
                outcome == "succeeded"
            }
            Content::Epoch(metrics) if outcome == "succeeded" && epoch_fits(metrics.epoch) => {
                self.results.add_epoch(attempt, metrics);
                true
            }
            Content::Failed(_) => outcome == "failed",
            Content::HandedBack(_) => outcome == "handed-back",
            Content::Epoch(_) | Content::Nonsense(_) => false,
        };
        if same { Verdict::Accepted } else { Verdict::Stale(format!("attempt {} is over: {outcome}", attempt.attempt)) }
    }

    /// Results first: the moment of a task's success is the moment from which they are seen.
    async fn write(self, work: &mut Work) -> Result<(), Error> {
        work.keep_artifacts(&self.kept).await?;
        self.results.write(&mut work.tx).await?;
        work.note_unreferenced(&self.unreferenced).await?;
        if self.events.is_empty() {
            return Ok(());
        }
        let rejected = work.advance(self.events).await?;
        if let Some((task, problem)) = rejected.first() {
            return Err(corrupt(format_args!("task {task} was locked, and yet: {problem}")));
        }
        note_memory(&self.memory, work).await?;
        for (attempt, message) in self.messages {
            note_message(attempt, message, work).await?;
        }
        Ok(())
    }
}

fn attack_row<'a>(attempt: AttemptRef, result: &'a AttackResult, spec: Option<&TaskSpec>) -> AttackRow<'a> {
    let Some(TaskSpec::Attack(spec)) = spec else {
        return AttackRow { attempt, result, minimum_norm: false, stops: None };
    };
    let stops = spec.attack.stop_at_interval.map(|width| (width, spec.examples()));
    // An evaluation without a radius is one of a minimum-norm attack.
    AttackRow { attempt, result, minimum_norm: spec.attack.eps.is_none(), stops }
}

/// Notes what memory attempts took that are over, and what their tasks are now known to need.
async fn note_memory(taken: &[Memory], work: &mut Work) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
    let tasks = task_ids(taken.iter().map(|it| &it.attempt.task));
    let numbers = taken.iter().map(|it| attempt_column(it.attempt.attempt)).collect::<Result<Vec<_>, _>>()?;
    let peaks = taken.iter().map(|it| column(it.peak_mib, "a size of memory")).collect::<Result<Vec<i32>, _>>()?;
    let query = sqlx::query!(
        "update attempts a set peak_memory_mib = n.peak
        from unnest($1::bytea[], $2::integer[], $3::integer[]) as n (task_id, attempt, peak)
        where a.task_id = n.task_id and a.attempt = n.attempt",
        &tasks,
        &numbers,
        &peaks
    );
    query.execute(&mut *work.tx).await?;
    for (task, needed_mib) in taken.iter().filter_map(|it| Some((it.attempt.task, it.needed_mib?))) {
        demands::needs_memory(task, needed_mib, work).await?;
    }
    Ok(())
}

async fn note_message(attempt: AttemptRef, message: &str, work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "update attempts set message = $3 where task_id = $1 and attempt = $2 and outcome = 'handed-back'",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        message
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}
