//! The training loop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{EpochMetrics, Length, Steps, TrainSpec};
use tch::{Device, Tensor};

use super::augmentation::augment;
use super::ema::{Average, assign, copies};
use super::optimizer::{OptimizerState, clip};
use super::state::{self, Saved, Section, Standing};
use super::step::gradients;
use super::validation::{Parts, score, validate};
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::{Model, computing_in};
use crate::random::{Purpose, Stream};

/// How many steps a training has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Examples per step.
    pub batch_size: usize,
    /// Steps of a whole epoch, and in all; the last epoch may be partial.
    pub steps: Steps,
}

impl Plan {
    /// The plan for so many examples: an incomplete last batch of an epoch is dropped unless it is the only one.
    pub fn new(examples: usize, batch_size: u32, length: Length) -> Self {
        let batch_size = (batch_size as usize).clamp(1, examples.max(1));
        let per_epoch = u32::try_from(examples / batch_size).unwrap_or(u32::MAX).max(1);
        let total = match length {
            Length::Epochs(epochs) => epochs.saturating_mul(per_epoch),
            Length::Iterations(steps) => steps,
        };
        Self { batch_size, steps: Steps { total, per_epoch } }
    }
}

/// Something that happened in a training.
#[derive(Debug)]
pub enum Observation<'a> {
    /// Steps done so far, of all.
    Step(u32, u32),
    /// An epoch ended, or had ended before the training was resumed.
    Epoch(&'a EpochMetrics),
    /// A resumable checkpoint after so many whole epochs is on disk.
    Checkpoint(&'a Path, u32),
}

/// What an observer wants of a training after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing.
    #[default]
    GoOn,
    /// A resumable checkpoint at once, within the epoch.
    Checkpoint,
    /// The same, and the end: [`LabError::Stopped`].
    Stop,
}

/// A training with everything it needs.
pub struct Training<'a> {
    /// Which task this is: a resumable checkpoint of another is refused.
    pub task: TaskId,
    /// What to do.
    pub spec: &'a TrainSpec,
    /// The model with its first weights; it is trained in place.
    pub model: &'a Model,
    /// The examples.
    pub examples: &'a Examples,
    /// Where both are.
    pub device: Device,
    /// A resumable checkpoint to go on from.
    pub resume_from: Option<&'a Path>,
    /// An existing folder for resumable checkpoints.
    pub output_dir: &'a Path,
    /// Shortest time between two resumable checkpoints at ends of epochs. When they are written does not change the result.
    pub checkpoint_interval: Duration,
}

/// Trains the model in place: at the end it has the weights of the last step, or their average, or those of the epoch that the validation chose. What
/// the observer wishes is heeded after a [`Observation::Step`].
///
/// # Errors
/// A loss that is not finite; a resumable checkpoint that is damaged or another task's; a full disk; no memory; [`LabError::Stopped`].
pub fn train(training: &Training<'_>, observe: &mut dyn FnMut(&Observation<'_>) -> Wish) -> Result<(), LabError> {
    let mut run = Run::new(training)?;
    for metrics in &run.standing.metrics {
        observe(&Observation::Epoch(metrics));
    }
    // What is wished here is wished again after the next step.
    observe(&Observation::Step(run.standing.iteration, run.plan.steps.total));
    while !run.is_over() {
        run.epoch(observe)?;
    }
    run.conclude()
}

struct Run<'a> {
    training: &'a Training<'a>,
    plan: Plan,
    parts: Parts,
    parameters: Vec<(String, Tensor)>,
    optimizer: OptimizerState,
    average: Option<Average>,
    /// Weights of the best epoch so far.
    best: Option<BTreeMap<String, Tensor>>,
    standing: Standing,
    /// Resumable checkpoints on disk.
    files: Vec<PathBuf>,
    saved_at: Instant,
}

impl<'a> Run<'a> {
    fn new(training: &'a Training<'a>) -> Result<Self, LabError> {
        let Training { spec, model, examples, device, .. } = training;
        let recipe = &spec.recipe;
        let parts = match &recipe.validation {
            None => Parts::whole(examples.len()),
            Some(validation) => Parts::new(&examples.labels()?, validation)?,
        };
        let parameters = model.parameters().trainable();
        for (_, parameter) in &parameters {
            let _same_tensor = parameter.f_set_requires_grad(true)?;
        }
        let average = recipe.ema.map(|ema| Average::new(ema, &spec.model, model, *device)).transpose()?;
        let mut run = Self {
            training,
            plan: Plan::new(parts.training.len(), recipe.batch_size, recipe.length),
            parts,
            optimizer: OptimizerState::new(&recipe.optimizer, recipe.decay_norm_and_bias, &parameters)?,
            parameters,
            average,
            best: None,
            standing: Standing::default(),
            files: Vec::new(),
            saved_at: Instant::now(),
        };
        if let Some(path) = training.resume_from {
            run.restore(path)?;
        }
        Ok(run)
    }

    fn restore(&mut self, path: &Path) -> Result<(), LabError> {
        let saved = Saved::read(path, self.training.task, self.training.device)?;
        saved.fill("model", self.training.model.parameters().tensors())?;
        saved.fill("optimizer", &self.optimizer.tensors(&self.parameters))?;
        if let Some(average) = &self.average {
            saved.fill("average", average.model().parameters().tensors())?;
        }
        if saved.standing.best_score.is_some() {
            let best = copies(self.training.model.parameters())?;
            saved.fill("best", &best)?;
            self.best = Some(best);
        }
        self.standing = saved.standing;
        Ok(())
    }

    /// Steps done in the epoch that is not finished.
    fn steps_within(&self) -> u32 {
        self.standing.iteration - self.standing.epoch * self.plan.steps.per_epoch
    }

    const fn is_over(&self) -> bool {
        self.standing.iteration >= self.plan.steps.total
    }

    /// The rest of an epoch.
    fn epoch(&mut self, observe: &mut dyn FnMut(&Observation<'_>) -> Wish) -> Result<(), LabError> {
        let (epoch, Steps { total, per_epoch }) = (self.standing.epoch, self.plan.steps);
        let shuffle = Stream::new(self.training.spec.seed, Purpose::Shuffle { epoch });
        let order = shuffle.into_order(&self.parts.training);
        let batches = order.chunks_exact(self.plan.batch_size).take(per_epoch as usize);
        for batch in batches.skip(self.steps_within() as usize) {
            self.step(batch)?;
            let wish = observe(&Observation::Step(self.standing.iteration, total));
            let ends = self.is_over() || self.steps_within() >= per_epoch;
            if ends {
                self.end_epoch(observe)?;
            }
            if self.is_over() {
                break;
            }
            if wish != Wish::GoOn || ends && self.saved_at.elapsed() >= self.training.checkpoint_interval {
                let path = self.save(observe)?;
                if wish == Wish::Stop {
                    return Err(LabError::Stopped { path });
                }
            }
        }
        Ok(())
    }

    fn end_epoch(&mut self, observe: &mut dyn FnMut(&Observation<'_>) -> Wish) -> Result<(), LabError> {
        let sums = std::mem::take(&mut self.standing.sums);
        self.standing.epoch += 1;
        let mut metrics = EpochMetrics {
            epoch: self.standing.epoch,
            iterations: self.standing.iteration,
            learning_rate: sums.learning_rate,
            train_loss: sums.loss / f64::from(sums.steps.max(1)),
            train_accuracy: sums.correct / sums.examples.max(1) as f64,
            validation: None,
        };
        self.validate(&mut metrics)?;
        observe(&Observation::Epoch(&metrics));
        self.standing.metrics.push(metrics);
        Ok(())
    }

    /// Measures the epoch on the examples kept from training, and keeps its weights if it is the best so far.
    fn validate(&mut self, metrics: &mut EpochMetrics) -> Result<(), LabError> {
        let Training { spec, examples, .. } = self.training;
        let Some(validation) = &spec.recipe.validation else { return Ok(()) };
        let model = self.result();
        let measured = validate(model, examples, &self.parts.held_out, &spec.recipe, validation)?;
        let score = score(&measured, validation.select_by);
        if !measured.loss.is_finite() {
            let (epoch, iteration) = (metrics.epoch, metrics.iterations);
            let (learning_rate, loss) = (metrics.learning_rate, measured.loss);
            return Err(LabError::Diverged { epoch, iteration, learning_rate, loss });
        }
        metrics.validation = Some(measured);
        if self.standing.best_score.is_none_or(|best| score > best) {
            self.best = Some(copies(model.parameters())?);
            self.standing.best_score = Some(score);
        }
        Ok(())
    }

    /// The model whose weights the training would result in if it ended here and no epoch were chosen.
    fn result(&self) -> &Model {
        self.average.as_ref().map_or(self.training.model, Average::model)
    }

    fn conclude(self) -> Result<(), LabError> {
        let model = self.training.model;
        match (&self.best, &self.average) {
            (Some(best), _) => assign(model, best)?,
            (None, Some(average)) => assign(model, average.model().parameters().tensors())?,
            (None, None) => {}
        }
        Ok(())
    }

    fn step(&mut self, indices: &[i64]) -> Result<(), LabError> {
        let Training { spec, model, examples, .. } = self.training;
        let (recipe, iteration) = (&spec.recipe, self.standing.iteration);
        let mut batch = examples.select(indices)?;
        batch.pixels = augment(&batch.pixels, indices, &recipe.augmentation, spec.seed, self.standing.epoch)?;
        let learning_rate = recipe.schedule.learning_rate(recipe.optimizer.learning_rate(), iteration, self.plan.steps);
        let trained: Vec<&Tensor> = self.parameters.iter().map(|(_, parameter)| parameter).collect();
        let mut step =
            computing_in(recipe.precision, || gradients(model, &batch, recipe, &trained, spec.seed, iteration))?;
        if !step.loss.is_finite() {
            let (epoch, iteration, loss) = (self.standing.epoch + 1, iteration + 1, step.loss);
            return Err(LabError::Diverged { epoch, iteration, learning_rate, loss });
        }
        if let Some(largest) = recipe.gradient_clip {
            clip(&mut step.gradients, largest)?;
        }
        let rates = vec![learning_rate; self.parameters.len()];
        self.optimizer.step(&mut self.parameters, &step.gradients, &rates, iteration + 1)?;
        if let Some(average) = &self.average {
            average.follow(model, iteration + 1)?;
        }
        let sums = &mut self.standing.sums;
        sums.loss += step.loss;
        sums.correct += step.correct;
        sums.examples += indices.len();
        sums.steps += 1;
        sums.learning_rate = learning_rate;
        self.standing.iteration += 1;
        Ok(())
    }

    /// Writes a resumable checkpoint, and removes those before the last two: the newest may still be on its way elsewhere.
    fn save(&mut self, observe: &mut dyn FnMut(&Observation<'_>) -> Wish) -> Result<PathBuf, LabError> {
        let path = self.training.output_dir.join(state::file_name(self.standing.epoch, self.steps_within()));
        let optimizer = self.optimizer.tensors(&self.parameters);
        let mut sections: Vec<Section<'_>> =
            vec![("model", self.training.model.parameters().tensors()), ("optimizer", &optimizer)];
        if let Some(average) = &self.average {
            sections.push(("average", average.model().parameters().tensors()));
        }
        if let Some(best) = &self.best {
            sections.push(("best", best));
        }
        state::save(&path, self.training.task, &self.standing, &sections)?;
        observe(&Observation::Checkpoint(&path, self.standing.epoch));
        self.files.push(path.clone());
        if self.files.len() > 2 {
            // A file that somebody moved away already is no loss.
            let _ignored = fs::remove_file(self.files.remove(0));
        }
        self.saved_at = Instant::now();
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one() {
        let plan = |examples, length| Plan::new(examples, 64, length);
        let epochs = plan(500, Length::Epochs(2));
        assert_eq!(epochs, Plan { batch_size: 64, steps: Steps { total: 14, per_epoch: 7 } });
        assert_eq!(plan(500, Length::Iterations(300)).steps.total, 300);
        let small = plan(10, Length::Epochs(3));
        assert_eq!(small, Plan { batch_size: 10, steps: Steps { total: 3, per_epoch: 1 } });
    }
}
