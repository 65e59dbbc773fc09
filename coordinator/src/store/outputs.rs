//! What attempts produced, written for many attempts at once.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::{AnalysisImage, AnalysisResult, ArtifactRef, AttackResult, EpochMetrics};
use gauntlet_domain::{AttemptRef, Digest, TaskId};
use sqlx::{Postgres, Transaction};

use super::Error;
use super::claim::{TrainingCheckpoint, attempt_column};
use super::rows::{bytes, column, task_ids};

/// What is to be written. The later of two that take one place is written, unless it is of an earlier attempt.
#[derive(Default)]
pub(super) struct Results<'a> {
    epochs: BTreeMap<(TaskId, u32), (AttemptRef, &'a EpochMetrics)>,
    training_checkpoints: BTreeMap<TaskId, (AttemptRef, &'a TrainingCheckpoint)>,
    /// The weights that trainings ended with, and the data sets that analyses made.
    pub checkpoints: Vec<(AttemptRef, &'a ArtifactRef)>,
    /// The outcomes that evaluations ended with.
    pub attacks: Vec<AttackRow<'a>>,
    /// The numbers that analyses ended with.
    pub analyses: Vec<(AttemptRef, &'a AnalysisResult)>,
}

/// The outcomes of an evaluation.
pub(super) struct AttackRow<'a> {
    pub attempt: AttemptRef,
    pub result: &'a AttackResult,
    pub minimum_norm: bool,
    /// Of an evaluation that may stop early: at which width of the interval, and of how many examples.
    pub stops: Option<(f64, u32)>,
}

impl<'a> Results<'a> {
    /// Adds an epoch of a training.
    pub fn add_epoch(&mut self, attempt: AttemptRef, metrics: &'a EpochMetrics) {
        let place = self.epochs.entry((attempt.task, metrics.epoch)).or_insert((attempt, metrics));
        if place.0.attempt <= attempt.attempt {
            *place = (attempt, metrics);
        }
    }

    /// Adds a state from which a training can go on. Gives the file of one that is not needed beside another.
    pub fn add_training_checkpoint(
        &mut self,
        attempt: AttemptRef,
        checkpoint: &'a TrainingCheckpoint,
    ) -> Option<Digest> {
        let Some(place) = self.training_checkpoints.get_mut(&attempt.task) else {
            self.training_checkpoints.insert(attempt.task, (attempt, checkpoint));
            return None;
        };
        let mut other = checkpoint;
        if (place.0.attempt, place.1.epoch) <= (attempt.attempt, checkpoint.epoch) {
            other = std::mem::replace(place, (attempt, checkpoint)).1;
        }
        Some(other.artifact.digest)
    }

    /// Writes everything, each kind in one statement.
    pub async fn write(&self, tx: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        if !self.epochs.is_empty() {
            self.write_epochs(tx).await?;
        }
        if !self.training_checkpoints.is_empty() {
            self.write_training_checkpoints(tx).await?;
        }
        if !self.checkpoints.is_empty() {
            self.write_checkpoints(tx).await?;
        }
        if !self.attacks.is_empty() {
            self.write_attacks(tx).await?;
        }
        for (attempt, result) in &self.analyses {
            write_analysis(*attempt, result, tx).await?;
        }
        Ok(())
    }

    async fn write_epochs(&self, tx: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        let epochs = || self.epochs.values();
        let metrics = || epochs().map(|(_, metrics)| metrics);
        let query = sqlx::query!(
            "insert into epoch_metrics (task_id, epoch, attempt, iterations, learning_rate, train_loss, train_accuracy,
                validation_loss, validation_accuracy, validation_robust_accuracy)
            select * from unnest($1::bytea[], $2::integer[], $3::integer[], $4::integer[], $5::double precision[], $6::double precision[],
                $7::double precision[], $8::double precision[], $9::double precision[], $10::double precision[])
            on conflict (task_id, epoch) do update set
                attempt = excluded.attempt, iterations = excluded.iterations, learning_rate = excluded.learning_rate,
                train_loss = excluded.train_loss, train_accuracy = excluded.train_accuracy,
                validation_loss = excluded.validation_loss, validation_accuracy = excluded.validation_accuracy,
                validation_robust_accuracy = excluded.validation_robust_accuracy
            where epoch_metrics.attempt <= excluded.attempt",
            &task_ids(epochs().map(|(attempt, _)| &attempt.task)),
            &metrics().map(|it| column(it.epoch, "an epoch")).collect::<Result<Vec<i32>, _>>()?,
            &attempts(epochs().map(|(attempt, _)| attempt))?,
            &metrics().map(|it| column(it.iterations, "the number of iterations")).collect::<Result<Vec<i32>, _>>()?,
            &metrics().map(|it| it.learning_rate).collect::<Vec<_>>(),
            &metrics().map(|it| it.train_loss).collect::<Vec<_>>(),
            &metrics().map(|it| it.train_accuracy).collect::<Vec<_>>(),
            &metrics().map(|it| it.validation.map(|it| it.loss)).collect::<Vec<_>>() as _,
            &metrics().map(|it| it.validation.map(|it| it.accuracy)).collect::<Vec<_>>() as _,
            &metrics().map(|it| it.validation.and_then(|it| it.robust_accuracy)).collect::<Vec<_>>() as _
        );
        query.execute(&mut **tx).await?;
        Ok(())
    }

    /// Keeps the latest state of the latest attempt: one that had to start over knows better than its predecessor, whose file was of no use to it.
    async fn write_training_checkpoints(&self, tx: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        let states = || self.training_checkpoints.values();
        let epochs = states().map(|(_, it)| column(it.epoch, "an epoch")).collect::<Result<Vec<i32>, _>>()?;
        let query = sqlx::query!(
            "insert into training_checkpoints (task_id, attempt, epoch, digest, size_bytes)
            select * from unnest($1::bytea[], $2::integer[], $3::integer[], $4::bytea[], $5::bigint[])
            on conflict (task_id) do update set
                attempt = excluded.attempt, epoch = excluded.epoch, digest = excluded.digest, size_bytes = excluded.size_bytes
            where (training_checkpoints.attempt, training_checkpoints.epoch) <= (excluded.attempt, excluded.epoch)",
            &task_ids(states().map(|(attempt, _)| &attempt.task)),
            &attempts(states().map(|(attempt, _)| attempt))?,
            &epochs,
            &digests(states().map(|(_, it)| &it.artifact)),
            &sizes(states().map(|(_, it)| &it.artifact))?
        );
        query.execute(&mut **tx).await?;
        Ok(())
    }

    async fn write_checkpoints(&self, tx: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        let checkpoints = || self.checkpoints.iter();
        let query = sqlx::query!(
            "with no_longer_needed as (delete from training_checkpoints where task_id = any($1::bytea[]))
            insert into checkpoints (task_id, attempt, digest, size_bytes)
            select * from unnest($1::bytea[], $2::integer[], $3::bytea[], $4::bigint[])",
            &task_ids(checkpoints().map(|(attempt, _)| &attempt.task)),
            &attempts(checkpoints().map(|(attempt, _)| attempt))?,
            &digests(checkpoints().map(|(_, artifact)| *artifact)),
            &sizes(checkpoints().map(|(_, artifact)| *artifact))?
        );
        query.execute(&mut **tx).await?;
        Ok(())
    }

    /// The columns of outcomes lie one after the other: Postgres has no arrays of arrays of different lengths.
    async fn write_attacks(&self, tx: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        let rows = AttackRows::of(&self.attacks)?;
        let query = sqlx::query!(
            "with no_longer_needed as (delete from training_checkpoints where task_id = any($1::bytea[]))
            insert into attack_results (task_id, attempt, examples, clean_correct, robust_correct, model_queries, zero_gradient_examples,
                minimum_norm, stop_at_interval, examples_asked, label, clean_prediction, adversarial_prediction, clean_loss,
                adversarial_loss, distance)
            select task_id, attempt, examples, clean_correct, robust_correct, model_queries, zero_gradient_examples, minimum_norm,
                stop_at_interval, examples_asked,
                ($12::integer[])[first : first + examples - 1], ($13::integer[])[first : first + examples - 1],
                ($14::integer[])[first : first + examples - 1], ($15::real[])[first : first + examples - 1],
                ($16::real[])[first : first + examples - 1], ($17::real[])[first : first + examples - 1]
            from unnest($1::bytea[], $2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::bigint[], $8::bigint[],
                    $9::boolean[], $10::double precision[], $11::integer[])
                as n (task_id, attempt, first, examples, clean_correct, robust_correct, model_queries, zero_gradient_examples, minimum_norm,
                    stop_at_interval, examples_asked)",
            &rows.ids,
            &rows.attempt,
            &rows.first,
            &rows.examples,
            &rows.clean_correct,
            &rows.robust_correct,
            &rows.model_queries,
            &rows.zero_gradient_examples,
            &rows.minimum_norm,
            &rows.stop_at_interval as _,
            &rows.examples_asked as _,
            &rows.label,
            &rows.clean_prediction,
            &rows.adversarial_prediction,
            &rows.clean_loss,
            &rows.adversarial_loss,
            &rows.distance
        );
        query.execute(&mut **tx).await?;
        Ok(())
    }
}

async fn write_analysis(
    attempt: AttemptRef,
    result: &AnalysisResult,
    tx: &mut Transaction<'static, Postgres>,
) -> Result<(), Error> {
    let values = &result.values;
    let query = sqlx::query!(
        "insert into analysis_values (task_id, number, attempt, measure, layer, x, value)
        select $1, n.number - 1, $2, n.measure, n.layer, n.x, n.value
        from unnest($3::text[], $4::text[], $5::double precision[], $6::double precision[])
            with ordinality as n (measure, layer, x, value, number)",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        &values.iter().map(|it| it.measure.as_str()).collect::<Vec<_>>() as _,
        &values.iter().map(|it| it.layer.as_str()).collect::<Vec<_>>() as _,
        &values.iter().map(|it| it.x).collect::<Vec<_>>() as _,
        &values.iter().map(|it| it.value).collect::<Vec<_>>()
    );
    query.execute(&mut **tx).await?;
    if !result.images.is_empty() {
        write_images(attempt, &result.images, tx).await?;
    }
    Ok(())
}

async fn write_images(
    attempt: AttemptRef,
    images: &[AnalysisImage],
    tx: &mut Transaction<'static, Postgres>,
) -> Result<(), Error> {
    let query = sqlx::query!(
        "insert into analysis_images (task_id, number, attempt, name, png)
        select $1, n.number - 1, $2, n.name, n.png
        from unnest($3::text[], $4::bytea[]) with ordinality as n (name, png, number)",
        bytes(attempt.task),
        attempt_column(attempt.attempt)?,
        &images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>() as _,
        &images.iter().map(|image| image.png.as_slice()).collect::<Vec<_>>() as _
    );
    query.execute(&mut **tx).await?;
    Ok(())
}

/// The columns of `Results::write_attacks`.
#[derive(Default)]
struct AttackRows {
    ids: Vec<Vec<u8>>,
    attempt: Vec<i32>,
    /// Where the outcomes of each begin, counted from 1.
    first: Vec<i32>,
    examples: Vec<i32>,
    clean_correct: Vec<i32>,
    robust_correct: Vec<i32>,
    model_queries: Vec<i64>,
    zero_gradient_examples: Vec<i64>,
    minimum_norm: Vec<bool>,
    stop_at_interval: Vec<Option<f64>>,
    examples_asked: Vec<Option<i32>>,
    label: Vec<i32>,
    clean_prediction: Vec<i32>,
    adversarial_prediction: Vec<i32>,
    clean_loss: Vec<f32>,
    adversarial_loss: Vec<f32>,
    distance: Vec<f32>,
}

impl AttackRows {
    fn of(attacks: &[AttackRow<'_>]) -> Result<Self, Error> {
        let mut rows = Self { ids: task_ids(attacks.iter().map(|it| &it.attempt.task)), ..Self::default() };
        for AttackRow { attempt, result, minimum_norm, stops } in attacks {
            let outcomes = &result.outcomes;
            rows.attempt.push(attempt_column(attempt.attempt)?);
            rows.first.push(column(rows.label.len() + 1, "the number of examples")?);
            rows.examples.push(column(outcomes.examples(), "the number of examples")?);
            rows.clean_correct.push(column(outcomes.clean_correct(), "the number of examples")?);
            rows.robust_correct.push(column(outcomes.robust_correct(), "the number of examples")?);
            rows.model_queries.push(column(result.model_queries, "the number of model queries")?);
            rows.zero_gradient_examples.push(column(result.zero_gradient_examples, "the number of examples")?);
            rows.minimum_norm.push(*minimum_norm);
            rows.stop_at_interval.push(stops.map(|(width, _)| width));
            rows.examples_asked.push(stops.map(|(_, asked)| column(asked, "the number of examples")).transpose()?);
            extend(&mut rows.label, &outcomes.label)?;
            extend(&mut rows.clean_prediction, &outcomes.clean_prediction)?;
            extend(&mut rows.adversarial_prediction, &outcomes.adversarial_prediction)?;
            rows.clean_loss.extend_from_slice(&outcomes.clean_loss);
            rows.adversarial_loss.extend_from_slice(&outcomes.adversarial_loss);
            rows.distance.extend_from_slice(&outcomes.distance);
        }
        Ok(rows)
    }
}

fn extend(column_: &mut Vec<i32>, classes: &[u32]) -> Result<(), Error> {
    for class in classes {
        column_.push(column(*class, "a class")?);
    }
    Ok(())
}

fn attempts<'a>(attempts: impl Iterator<Item = &'a AttemptRef>) -> Result<Vec<i32>, Error> {
    attempts.map(|attempt| attempt_column(attempt.attempt)).collect()
}

fn digests<'a>(artifacts: impl Iterator<Item = &'a ArtifactRef>) -> Vec<Vec<u8>> {
    artifacts.map(|artifact| artifact.digest.as_bytes().to_vec()).collect()
}

fn sizes<'a>(artifacts: impl Iterator<Item = &'a ArtifactRef>) -> Result<Vec<i64>, Error> {
    artifacts.map(|artifact| column(artifact.size_bytes, "the size of a checkpoint")).collect()
}
