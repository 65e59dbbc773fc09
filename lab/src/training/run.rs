//! The training loop.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{EpochMetrics, Length, TrainSpec};
use tch::{Device, Kind, Tensor};

use super::batches::{Batches, Draws};
use super::objective::step_loss;
use super::optimizer::OptimizerState;
use super::state::{self, Standing};
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::Model;
use crate::random::{Purpose, Stream};

/// How many steps a training has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Examples per step.
    pub batch_size: usize,
    /// Steps of a whole epoch.
    pub steps_per_epoch: u32,
    /// Steps in all; the last epoch may be partial.
    pub steps: u32,
}

impl Plan {
    /// The plan for so many examples: an incomplete last batch of an epoch is dropped unless it is the only one.
    pub fn new(examples: usize, batch_size: u32, length: Length) -> Self {
        let batch_size = (batch_size as usize).clamp(1, examples.max(1));
        let steps_per_epoch = u32::try_from(examples / batch_size).unwrap_or(u32::MAX).max(1);
        let steps = match length {
            Length::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch),
            Length::Iterations(steps) => steps,
        };
        Self { batch_size, steps_per_epoch, steps }
    }
}

/// Something that happened in a training.
#[derive(Debug)]
pub enum Observation<'a> {
    /// Steps done so far, of all.
    Step(u32, u32),
    /// An epoch ended, or had ended before the training was resumed.
    Epoch(&'a EpochMetrics),
    /// A resumable checkpoint after so many epochs is on disk.
    Checkpoint(&'a Path, u32),
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
    /// Shortest time between two resumable checkpoints. They are written at ends of epochs; when does not change the result.
    pub checkpoint_interval: Duration,
}

/// Trains the model in place.
///
/// # Errors
/// A loss that is not finite; a resumable checkpoint that is damaged or another task's; a full disk; no memory.
pub fn train(training: &Training<'_>, observe: &mut dyn FnMut(&Observation<'_>)) -> Result<(), LabError> {
    let recipe = &training.spec.recipe;
    let plan = Plan::new(training.examples.len(), recipe.batch_size, recipe.length);
    let mut run = Run::new(training, plan)?;
    run.standing.metrics.iter().for_each(|metrics| observe(&Observation::Epoch(metrics)));
    observe(&Observation::Step(run.standing.iteration, plan.steps));
    let mut saved_at = Instant::now();
    let mut files = Vec::new();
    while run.standing.iteration < plan.steps {
        run.epoch(observe)?;
        let last = run.standing.iteration >= plan.steps;
        if !last && saved_at.elapsed() >= training.checkpoint_interval {
            run.save(&mut files, observe)?;
            saved_at = Instant::now();
        }
    }
    Ok(())
}

struct Run<'a> {
    training: &'a Training<'a>,
    plan: Plan,
    parameters: Vec<(String, Tensor)>,
    optimizer: OptimizerState,
    standing: Standing,
}

/// Sums over the steps of an epoch.
#[derive(Default)]
struct Sums {
    loss: f64,
    correct: f64,
    examples: usize,
    steps: u32,
    learning_rate: f64,
}

impl<'a> Run<'a> {
    fn new(training: &'a Training<'a>, plan: Plan) -> Result<Self, LabError> {
        let model = training.model.parameters();
        let parameters = model.trainable();
        for (_, parameter) in &parameters {
            let _same_tensor = parameter.f_set_requires_grad(true)?;
        }
        let mut optimizer = OptimizerState::new(&training.spec.recipe.optimizer, &parameters)?;
        let standing = match training.resume_from {
            Some(path) => state::restore(path, training.task, model, &parameters, &mut optimizer, training.device)?,
            None => Standing::default(),
        };
        Ok(Self { training, plan, parameters, optimizer, standing })
    }

    fn epoch(&mut self, observe: &mut dyn FnMut(&Observation<'_>)) -> Result<(), LabError> {
        let seed = self.training.spec.seed;
        let epoch = self.standing.epoch;
        let order = Stream::new(seed, Purpose::Shuffle { epoch }).permutation(self.training.examples.len());
        let draws = Draws { augmentation: &self.training.spec.recipe.augmentation, seed, epoch };
        let mut batches = Batches::new(self.training.examples, &order, self.plan.batch_size, draws)?;
        let mut sums = Sums::default();
        for batch in order.chunks_exact(self.plan.batch_size).take(self.plan.steps_per_epoch as usize) {
            if self.standing.iteration >= self.plan.steps {
                break;
            }
            let examples = batches.next(batch)?;
            self.step(examples, &mut sums)?;
            observe(&Observation::Step(self.standing.iteration, self.plan.steps));
        }
        self.standing.epoch += 1;
        let metrics = EpochMetrics {
            epoch: self.standing.epoch,
            iterations: self.standing.iteration,
            learning_rate: sums.learning_rate,
            train_loss: sums.loss / f64::from(sums.steps.max(1)),
            train_accuracy: sums.correct / sums.examples.max(1) as f64,
        };
        observe(&Observation::Epoch(&metrics));
        self.standing.metrics.push(metrics);
        Ok(())
    }

    fn step(&mut self, batch: Batch, sums: &mut Sums) -> Result<(), LabError> {
        let Training { spec, model, .. } = self.training;
        let (recipe, iteration) = (&spec.recipe, self.standing.iteration);
        let step = step_loss(model, &batch, &recipe.objective, spec.seed, iteration)?;
        let learning_rate = recipe.schedule.learning_rate(recipe.optimizer.learning_rate(), iteration, self.plan.steps);
        let loss = step.loss.f_double_value(&[])?;
        if !loss.is_finite() {
            let (epoch, iteration) = (self.standing.epoch + 1, iteration + 1);
            return Err(LabError::Diverged { epoch, iteration, learning_rate, loss });
        }
        let trained: Vec<&Tensor> = self.parameters.iter().map(|(_, parameter)| parameter).collect();
        let gradients = Tensor::f_run_backward(&[&step.loss], &trained, false, false)?;
        self.optimizer.step(&mut self.parameters, &gradients, learning_rate, iteration + 1)?;
        let correct = step.logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?.f_sum(Kind::Int64)?;
        sums.loss += loss;
        sums.correct += correct.f_double_value(&[])?;
        sums.examples += self.plan.batch_size;
        sums.steps += 1;
        sums.learning_rate = learning_rate;
        self.standing.iteration += 1;
        Ok(())
    }

    /// Writes a resumable checkpoint, and removes those before the last two: the newest may still be on its way elsewhere.
    fn save(&self, files: &mut Vec<PathBuf>, observe: &mut dyn FnMut(&Observation<'_>)) -> Result<(), LabError> {
        let path = self.training.output_dir.join(state::file_name(self.standing.epoch));
        let optimizer = self.optimizer.tensors(&self.parameters);
        state::save(&path, self.training.task, &self.standing, self.training.model.parameters(), &optimizer)?;
        observe(&Observation::Checkpoint(&path, self.standing.epoch));
        files.push(path);
        if files.len() > 2 {
            // A file that somebody moved away already is no loss.
            let _ignored = fs::remove_file(files.remove(0));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one() {
        let plan = |examples, length| Plan::new(examples, 64, length);
        let epochs = plan(500, Length::Epochs(2));
        assert_eq!(epochs, Plan { batch_size: 64, steps_per_epoch: 7, steps: 14 });
        assert_eq!(plan(500, Length::Iterations(300)).steps, 300);
        let small = plan(10, Length::Epochs(3));
        assert_eq!(small, Plan { batch_size: 10, steps_per_epoch: 1, steps: 3 });
    }
}
