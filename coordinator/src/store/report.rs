//! What workers report becomes durable, once, and only from the attempt that holds the lease.

use gauntlet_domain::experiment::{ArtifactRef, AttackResult, AttackSpec, EpochMetrics, TaskSpec};
use gauntlet_domain::task::{Event, Failure, FailureClass, Task, TaskState, memory_needed, memory_plan};
use gauntlet_domain::{AttemptRef, TaskId, WorkerId};

use super::claim::{TrainingCheckpoint, attempt_column};
use super::rows::{LockedTask, bytes, column};
use super::work::Work;
use super::{Error, Store, Transition};

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
}

/// A report that was dealt with.
#[derive(Debug)]
pub struct Stored {
    /// What to tell the worker.
    pub verdict: Verdict,
    /// What happened to tasks.
    pub transitions: Vec<Transition>,
}

/// Where the attempt of a report stands.
enum Standing {
    /// It is the task's current one, leased to the worker that reports.
    Current(LockedTask),
    /// It was this worker's, and ended so.
    Over(String),
    /// None of this worker's.
    Foreign(String),
}

impl Store {
    /// Stores a report. The same report again changes nothing and is accepted again.
    ///
    /// # Errors
    /// The database is unavailable: the report may or may not be stored, and is to be sent again. Or it refuses what the checks let pass.
    pub async fn store_report(
        &self,
        worker: &WorkerId,
        attempt: AttemptRef,
        content: &Content,
        peak_memory_mib: Option<u32>,
    ) -> Result<Stored, Error> {
        let mut work = self.begin().await?;
        let verdict = match standing(worker, attempt, &mut work).await? {
            Standing::Current(task) => {
                let before = task.task.clone();
                let verdict = store_current(task, attempt, content, &mut work).await?;
                note_memory(attempt, &before, content, peak_memory_mib, &mut work).await?;
                verdict
            }
            Standing::Over(outcome) => repeated(attempt, content, &outcome, &mut work).await?,
            Standing::Foreign(reason) => Verdict::Stale(reason),
        };
        Ok(Stored { verdict, transitions: work.commit().await? })
    }
}

async fn standing(worker: &WorkerId, attempt: AttemptRef, work: &mut Work) -> Result<Standing, Error> {
    let Some(task) = work.lock(&[attempt.task]).await?.pop() else {
        return Ok(Standing::Foreign("there is no such task".to_owned()));
    };
    let leased_to_worker = task.task.lease.as_ref().is_some_and(|lease| lease.worker == *worker);
    if task.task.state == TaskState::Leased && task.task.attempt == attempt.attempt && leased_to_worker {
        return Ok(Standing::Current(task));
    }
    let Ok(number) = attempt_column(attempt.attempt) else {
        return Ok(Standing::Foreign("there is no such attempt".to_owned()));
    };
    let outcome = sqlx::query_scalar!(
        r#"select outcome::text as "outcome!" from attempts where task_id = $1 and attempt = $2 and worker_id = $3"#,
        bytes(attempt.task),
        number,
        worker.as_str()
    );
    let latest = task.task.attempt;
    Ok(match outcome.fetch_optional(&mut *work.tx).await? {
        Some(outcome) => Standing::Over(outcome),
        None => Standing::Foreign(format!(
            "worker {worker} does not run attempt {}; the latest is {latest}",
            attempt.attempt
        )),
    })
}

async fn store_current(
    task: LockedTask,
    attempt: AttemptRef,
    content: &Content,
    work: &mut Work,
) -> Result<Verdict, Error> {
    if let Err(problem) = check(content, attempt.task, work).await? {
        let failure = Failure {
            class: FailureClass::Permanent,
            message: format!("the worker's report makes no sense: {problem}"),
        };
        work.advance(vec![(task, Event::Failed { attempt: attempt.attempt, failure })]).await?;
        return Ok(Verdict::Invalid(problem));
    }
    let attempt_number = attempt.attempt;
    let event = match content {
        Content::Epoch(metrics) => return insert_epoch(attempt, metrics, work).await.map(|()| Verdict::Accepted),
        Content::Checkpoint(checkpoint) => {
            return insert_training_checkpoint(attempt, checkpoint, work).await.map(|()| Verdict::Accepted);
        }
        Content::Trained(artifact) => {
            insert_checkpoint(attempt, artifact, work).await?;
            Event::Succeeded { attempt: attempt_number }
        }
        Content::Attacked(result) => {
            insert_attack_result(attempt, result, work).await?;
            Event::Succeeded { attempt: attempt_number }
        }
        Content::Failed(failure) => Event::Failed { attempt: attempt_number, failure: failure.clone() },
        Content::HandedBack(_) => Event::HandedBack { attempt: attempt_number },
        Content::Nonsense(problem) => return Ok(Verdict::Invalid(problem.clone())),
    };
    work.advance(vec![(task, event)]).await?;
    if let Content::HandedBack(message) = content {
        note_message(attempt, message, work).await?;
    }
    Ok(Verdict::Accepted)
}

/// A report of an attempt that is over: accepted again if it is what ended it, or came before that end.
async fn repeated(attempt: AttemptRef, content: &Content, outcome: &str, work: &mut Work) -> Result<Verdict, Error> {
    let same = match content {
        Content::Trained(_) | Content::Attacked(_) | Content::Checkpoint(_) => outcome == "succeeded",
        Content::Epoch(metrics) if outcome == "succeeded" && epoch_fits(metrics.epoch) => {
            insert_epoch(attempt, metrics, work).await?;
            true
        }
        Content::Failed(_) => outcome == "failed",
        Content::HandedBack(_) => outcome == "handed-back",
        Content::Epoch(_) | Content::Nonsense(_) => false,
    };
    Ok(if same { Verdict::Accepted } else { Verdict::Stale(format!("attempt {} is over: {outcome}", attempt.attempt)) })
}

/// Whether the report fits the task. The inner error is the worker's, the outer one the database's.
async fn check(content: &Content, task: TaskId, work: &mut Work) -> Result<Result<(), String>, Error> {
    let wants_training = match content {
        Content::Failed(_) | Content::HandedBack(_) => return Ok(Ok(())),
        Content::Nonsense(problem) => return Ok(Err(problem.clone())),
        Content::Attacked(_) => false,
        Content::Epoch(_) | Content::Checkpoint(_) | Content::Trained(_) => true,
    };
    let json = sqlx::query_scalar!(r#"select spec::text as "spec!" from task_specs where task_id = $1"#, bytes(task));
    let json = json.fetch_one(&mut *work.tx).await?;
    let spec = match serde_json::from_str::<TaskSpec>(&json) {
        Ok(spec) => spec,
        Err(error) => return Ok(Err(format!("the task was planned by another version: {error}"))),
    };
    Ok(match (content, spec) {
        (Content::Attacked(result), TaskSpec::Attack(spec)) => check_attack(result, &spec),
        (Content::Epoch(metrics), _) if !epoch_fits(metrics.epoch) => {
            Err(format!("there is no epoch {}", metrics.epoch))
        }
        (Content::Epoch(metrics), _) if i32::try_from(metrics.iterations).is_err() => {
            Err(format!("{} iterations are too many", metrics.iterations))
        }
        (Content::Checkpoint(checkpoint), _) if !epoch_fits(checkpoint.epoch) => {
            Err(format!("there is no epoch {}", checkpoint.epoch))
        }
        (Content::Checkpoint(TrainingCheckpoint { artifact, .. }) | Content::Trained(artifact), _)
            if i64::try_from(artifact.size_bytes).is_err() =>
        {
            Err(format!("a file of {} bytes is too big", artifact.size_bytes))
        }
        (_, TaskSpec::Train(_)) if wants_training => Ok(()),
        (_, TaskSpec::Train(_)) => Err("outcomes came for a task that trains".to_owned()),
        (_, TaskSpec::Attack(_)) => Err("the report of a training came for a task that attacks".to_owned()),
    })
}

fn epoch_fits(epoch: u32) -> bool {
    epoch > 0 && i32::try_from(epoch).is_ok()
}

fn check_attack(result: &AttackResult, spec: &AttackSpec) -> Result<(), String> {
    let outcomes = &result.outcomes;
    outcomes.check(spec.dataset.examples as usize).map_err(|problem| problem.to_string())?;
    let classes = [
        ("label", &outcomes.label, spec.dataset.classes),
        ("clean_prediction", &outcomes.clean_prediction, spec.model.classes),
        ("adversarial_prediction", &outcomes.adversarial_prediction, spec.model.classes),
    ];
    for (column, values, classes) in classes {
        if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| **value >= classes) {
            return Err(format!("`{column}` of example {index} is {value}; there are {classes} classes"));
        }
    }
    if let Some(index) = outcomes.distance.iter().position(|distance| *distance < 0.0) {
        return Err(format!("`distance` of example {index} is negative"));
    }
    if let (Some(index), Some(_)) = (outcomes.distance.iter().position(|it| it.is_infinite()), spec.attack.eps) {
        return Err(format!("`distance` of example {index} is infinite, and the attack has a radius"));
    }
    if result.zero_gradient_examples > outcomes.clean_correct() as u64 {
        return Err(format!(
            "{} examples with zero gradients are more than were attacked",
            result.zero_gradient_examples
        ));
    }
    if i64::try_from(result.model_queries).is_err() {
        return Err(format!("{} model queries are too many", result.model_queries));
    }
    Ok(())
}

async fn insert_epoch(attempt: AttemptRef, metrics: &EpochMetrics, work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "insert into epoch_metrics (task_id, epoch, attempt, iterations, learning_rate, train_loss, train_accuracy,
            validation_loss, validation_accuracy, validation_robust_accuracy)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (task_id, epoch) do update set
            attempt = excluded.attempt, iterations = excluded.iterations, learning_rate = excluded.learning_rate,
            train_loss = excluded.train_loss, train_accuracy = excluded.train_accuracy,
            validation_loss = excluded.validation_loss, validation_accuracy = excluded.validation_accuracy,
            validation_robust_accuracy = excluded.validation_robust_accuracy
        where epoch_metrics.attempt <= excluded.attempt",
        bytes(attempt.task),
        column::<i32, _>(metrics.epoch, "an epoch")?,
        attempt_column(attempt.attempt)?,
        column::<i32, _>(metrics.iterations, "the number of iterations")?,
        metrics.learning_rate,
        metrics.train_loss,
        metrics.train_accuracy,
        metrics.validation.map(|validation| validation.loss),
        metrics.validation.map(|validation| validation.accuracy),
        metrics.validation.and_then(|validation| validation.robust_accuracy)
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// Keeps the latest state of the latest attempt: one that had to start over knows better than its predecessor, whose file was of no use to it.
async fn insert_training_checkpoint(
    attempt: AttemptRef,
    checkpoint: &TrainingCheckpoint,
    work: &mut Work,
) -> Result<(), Error> {
    let query = sqlx::query!(
        "insert into training_checkpoints (task_id, attempt, epoch, digest, size_bytes) values ($1, $2, $3, $4, $5)
        on conflict (task_id) do update set
            attempt = excluded.attempt, epoch = excluded.epoch, digest = excluded.digest, size_bytes = excluded.size_bytes
        where (training_checkpoints.attempt, training_checkpoints.epoch) <= (excluded.attempt, excluded.epoch)",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        column::<i32, _>(checkpoint.epoch, "an epoch")?,
        checkpoint.artifact.digest.as_bytes().to_vec(),
        column::<i64, _>(checkpoint.artifact.size_bytes, "the size of a checkpoint")?
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

async fn insert_checkpoint(attempt: AttemptRef, artifact: &ArtifactRef, work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "with no_longer_needed as (delete from training_checkpoints where task_id = $1)
        insert into checkpoints (task_id, attempt, digest, size_bytes) values ($1, $2, $3, $4)",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        artifact.digest.as_bytes().to_vec(),
        column::<i64, _>(artifact.size_bytes, "the size of a checkpoint")?
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

async fn insert_attack_result(attempt: AttemptRef, result: &AttackResult, work: &mut Work) -> Result<(), Error> {
    let outcomes = &result.outcomes;
    let classes =
        |values: &[u32]| values.iter().map(|value| column(*value, "a class")).collect::<Result<Vec<i32>, _>>();
    // An evaluation without a radius is one of a minimum-norm attack.
    let query = sqlx::query!(
        "insert into attack_results (task_id, attempt, examples, clean_correct, robust_correct, model_queries, zero_gradient_examples,
            minimum_norm, label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance)
        select task_id, $2, $3, $4, $5, $6, $7, spec -> 'attack' ->> 'eps' is null, $8, $9, $10, $11, $12, $13
        from task_specs where task_id = $1",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        column::<i32, _>(outcomes.examples(), "the number of examples")?,
        column::<i32, _>(outcomes.clean_correct(), "the number of examples")?,
        column::<i32, _>(outcomes.robust_correct(), "the number of examples")?,
        column::<i64, _>(result.model_queries, "the number of model queries")?,
        column::<i64, _>(result.zero_gradient_examples, "the number of examples")?,
        &classes(&outcomes.label)?,
        &classes(&outcomes.clean_prediction)?,
        &classes(&outcomes.adversarial_prediction)?,
        &outcomes.clean_loss,
        &outcomes.adversarial_loss,
        &outcomes.distance
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// Notes what memory an attempt took that is over, and what its task is now known to need.
async fn note_memory(
    attempt: AttemptRef,
    before: &Task,
    content: &Content,
    peak_memory_mib: Option<u32>,
    work: &mut Work,
) -> Result<(), Error> {
    let Some(peak) = peak_memory_mib else { return Ok(()) };
    let query = sqlx::query!(
        "update attempts set peak_memory_mib = $3 where task_id = $1 and attempt = $2 and outcome <> 'running'",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        column::<i32, _>(peak, "a size of memory")?
    );
    query.execute(&mut *work.tx).await?;
    let Content::Failed(Failure { class: FailureClass::Resource, .. }) = content else { return Ok(()) };
    let Some(needed) = memory_needed(memory_plan(before.failures.resource), peak) else { return Ok(()) };
    let query = sqlx::query!(
        "update tasks set min_memory_mib = greatest(min_memory_mib, $2) where task_id = $1",
        bytes(attempt.task),
        column::<i32, _>(needed, "a size of memory")?
    );
    query.execute(&mut *work.tx).await?;
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
