//! The training loop.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{EpochMetrics, Recipe, TrainSpec};
use tch::{Device, Kind, Tensor};

use super::augmentation::augment;
use super::inner::Draws;
use super::learner::Learner;
use super::objective::Step;
use super::optimizer::OptimizerState;
use super::phases::{Phase, phases};
use super::state::{self, Saved, Standing};
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::random::{Purpose, Stream};

/// How many steps a training has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Examples per step.
    pub batch_size: usize,
    /// Minibatches of a whole epoch.
    pub batches_per_epoch: u32,
    /// Steps in all; the last epoch of a phase may be partial.
    pub steps: u32,
}

impl Plan {
    /// The plan for so many examples: an incomplete last batch of an epoch is dropped unless it is the only one.
    pub fn new(examples: usize, recipe: &Recipe) -> Self {
        let batch_size = (recipe.batch_size as usize).clamp(1, examples.max(1));
        let batches_per_epoch = u32::try_from(examples / batch_size).unwrap_or(u32::MAX).max(1);
        let steps = phases(recipe, batches_per_epoch).last().map_or(0, Phase::end);
        Self { batch_size, batches_per_epoch, steps }
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
    let plan = Plan::new(training.examples.len(), recipe);
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
    phases: Vec<Phase<'a>>,
    phase: Phase<'a>,
    learner: Learner<'a>,
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
        let saved = training.resume_from.map(|path| Saved::read(path, training.task, training.device)).transpose()?;
        let standing = saved.as_ref().map(|saved| saved.standing.clone()).unwrap_or_default();
        let phases = phases(&training.spec.recipe, plan.batches_per_epoch);
        let phase = phase_at(&phases, standing.iteration)?;
        let learner = learner(training, plan, phase)?;
        let parameters = learner.trained();
        let optimizer = OptimizerState::new(&training.spec.recipe.optimizer, &parameters)?;
        let mut run = Self { training, plan, phases, phase, learner, parameters, optimizer, standing };
        if let Some(saved) = saved {
            let (model, carried) = (training.model.parameters(), run.learner.carried());
            saved.restore(model, &carried, &run.parameters, &mut run.optimizer)?;
        }
        Ok(run)
    }

    /// Goes over to the next phase if this one is over. Its optimiser starts afresh, as if the trainings were two.
    fn turn_to_next_phase(&mut self) -> Result<(), LabError> {
        if self.standing.iteration < self.phase.end() || self.standing.iteration >= self.plan.steps {
            return Ok(());
        }
        self.phase = phase_at(&self.phases, self.standing.iteration)?;
        self.learner = learner(self.training, self.plan, self.phase)?;
        self.parameters = self.learner.trained();
        self.optimizer = OptimizerState::new(&self.training.spec.recipe.optimizer, &self.parameters)?;
        Ok(())
    }

    fn epoch(&mut self, observe: &mut dyn FnMut(&Observation<'_>)) -> Result<(), LabError> {
        let seed = self.training.spec.seed;
        let epoch = self.standing.epoch;
        let order = Stream::new(seed, Purpose::Shuffle { epoch }).permutation(self.training.examples.len());
        let mut sums = Sums::default();
        let replays = self.phase.replays as usize;
        let minibatches = order.chunks_exact(self.plan.batch_size).take(self.plan.batches_per_epoch as usize);
        for batch in minibatches.flat_map(|minibatch| iter::repeat_n(minibatch, replays)) {
            if self.standing.iteration >= self.phase.end() {
                break;
            }
            self.step(batch, &mut sums)?;
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
        self.turn_to_next_phase()
    }

    fn step(&mut self, indices: &[i64], sums: &mut Sums) -> Result<(), LabError> {
        let Training { spec, examples, .. } = self.training;
        let (recipe, iteration, phase) = (&spec.recipe, self.standing.iteration, self.phase);
        let mut batch = examples.select(indices)?;
        batch.pixels = augment(&batch.pixels, indices, &recipe.augmentation, spec.seed, self.standing.epoch)?;
        let done = iteration - phase.first;
        let rate = |peak| recipe.schedule.learning_rate(peak, done, phase.steps);
        let [learning_rate, head_rate] = [phase.learning_rate, phase.head_learning_rate].map(rate);
        let step = Step {
            learner: &self.learner,
            objective: phase.objective,
            label_smoothing: recipe.label_smoothing,
            dropout: recipe.dropout,
            strength: recipe.epsilon_schedule.share(done, phase.steps),
            draws: Draws { seed: spec.seed, iteration, examples: indices },
            first_row: 0,
        };
        let found = step.loss(&batch)?;
        let loss = found.loss.f_double_value(&[])?;
        if !loss.is_finite() {
            let (epoch, iteration) = (self.standing.epoch + 1, iteration + 1);
            return Err(LabError::Diverged { epoch, iteration, learning_rate, loss });
        }
        let trained = self.parameters.iter().map(|(_, parameter)| parameter).chain(&found.leaf);
        let mut gradients = Tensor::f_run_backward(&[&found.loss], &trained.collect::<Vec<_>>(), false, false)?;
        if found.leaf.is_some()
            && let Some(gradient) = gradients.pop()
        {
            step.ascend(&gradient)?;
        }
        let rates =
            self.parameters.iter().map(|(name, _)| if self.learner.is_head(name) { head_rate } else { learning_rate });
        let rates: Vec<f64> = rates.collect();
        self.optimizer.step(&mut self.parameters, &gradients, &rates, done + 1)?;
        let correct = found.logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?.f_sum(Kind::Int64)?;
        sums.loss += loss;
        sums.correct += correct.f_double_value(&[])?;
        sums.examples += indices.len();
        sums.steps += 1;
        sums.learning_rate = learning_rate;
        self.standing.iteration += 1;
        Ok(())
    }

    /// Writes a resumable checkpoint, and removes those before the last two: the newest may still be on its way elsewhere.
    fn save(&self, files: &mut Vec<PathBuf>, observe: &mut dyn FnMut(&Observation<'_>)) -> Result<(), LabError> {
        let path = self.training.output_dir.join(state::file_name(self.standing.epoch));
        let optimizer = self.optimizer.tensors(&self.parameters);
        let parts = [self.training.model.parameters().tensors(), &self.learner.carried(), &optimizer];
        state::save(&path, self.training.task, &self.standing, parts)?;
        observe(&Observation::Checkpoint(&path, self.standing.epoch));
        files.push(path);
        if files.len() > 2 {
            // A file that somebody moved away already is no loss.
            let _ignored = fs::remove_file(files.remove(0));
        }
        Ok(())
    }
}

fn learner<'a>(training: &Training<'a>, plan: Plan, phase: Phase<'_>) -> Result<Learner<'a>, LabError> {
    let image = training.spec.dataset.image;
    let batch = [plan.batch_size as i64, image.channels.into(), image.height.into(), image.width.into()];
    Learner::new(training.model, &training.spec.model, phase.objective, phase.frozen, batch, training.device)
}

/// The phase that the step of this number belongs to; the last one after the last step.
fn phase_at<'a>(phases: &[Phase<'a>], iteration: u32) -> Result<Phase<'a>, LabError> {
    let phase = phases.iter().rev().find(|phase| phase.first <= iteration).copied();
    phase.ok_or_else(|| LabError::Defect("a training without a phase".to_owned()))
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::experiment::{
        Augmentation, Decay, EpsilonSchedule, Frozen, HeadFirst, Length, Objective, Optimizer, Schedule,
    };

    use super::*;

    fn recipe(length: Length) -> Recipe {
        Recipe {
            objective: Objective::Standard,
            epsilon_schedule: EpsilonSchedule::Constant,
            label_smoothing: 0.0,
            frozen: Frozen::NOTHING,
            head_first: None,
            length,
            batch_size: 64,
            optimizer: Optimizer::Adam { learning_rate: 1e-3, weight_decay: 0.0 },
            head_learning_rate: None,
            dropout: true,
            schedule: Schedule { warmup: 0.0, decay: Decay::Constant },
            augmentation: Augmentation::default(),
        }
    }

    #[test]
    fn an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one() {
        let plan = |examples, length| Plan::new(examples, &recipe(length));
        let epochs = plan(500, Length::Epochs(2));
        assert_eq!(epochs, Plan { batch_size: 64, batches_per_epoch: 7, steps: 14 });
        assert_eq!(plan(500, Length::Iterations(300)).steps, 300);
        let small = plan(10, Length::Epochs(3));
        assert_eq!(small, Plan { batch_size: 10, batches_per_epoch: 1, steps: 3 });
    }

    #[test]
    fn replays_and_a_first_phase_make_a_training_longer() {
        let free = Objective::FreeAt { eps: 0.1, step_size: 0.1, replays: 3 };
        let replayed = Recipe { objective: free, ..recipe(Length::Epochs(2)) };
        assert_eq!(Plan::new(500, &replayed).steps, 42);
        let first = HeadFirst { length: Length::Iterations(5), learning_rate: 0.1, objective: Objective::Standard };
        let probed = Recipe { head_first: Some(first), ..recipe(Length::Epochs(2)) };
        assert_eq!(Plan::new(500, &probed).steps, 19);
        let phases = phases(&probed, 7);
        let whose = [0, 4, 5, 18].map(|step| phase_at(&phases, step).unwrap().frozen);
        assert_eq!(whose, [Frozen::Backbone, Frozen::Backbone, Frozen::NOTHING, Frozen::NOTHING]);
    }
}
