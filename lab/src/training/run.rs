//! The training loop.

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{EpochMetrics, Recipe, Steps, TrainSpec};
use tch::{Device, Tensor};

use super::batches::{Batches, Changes};
use super::ema::{Average, assign, copies};
use super::inner::Draws;
use super::learner::Learner;
use super::objective::Step;
use super::optimizer::{OptimizerState, clip};
use super::phases::{Phase, phases};
use super::state::{self, Saved, Section, Standing};
use super::step::gradients;
use super::validation::{Parts, score, validate};
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Model, computing_in};
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
    observe(&Observation::Step(run.standing.iteration, run.plan.steps));
    while !run.is_over() {
        run.epoch(observe)?;
    }
    run.conclude()
}

struct Run<'a> {
    training: &'a Training<'a>,
    plan: Plan,
    parts: Parts,
    phases: Vec<Phase<'a>>,
    phase: Phase<'a>,
    learner: Learner<'a>,
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
        let plan = Plan::new(parts.training.len(), recipe);
        let saved = training.resume_from.map(|path| Saved::read(path, training.task, *device)).transpose()?;
        let standing = saved.as_ref().map(|saved| saved.standing.clone()).unwrap_or_default();
        let phases = phases(recipe, plan.batches_per_epoch);
        let phase = phase_at(&phases, standing.iteration)?;
        let learner = learner(training, plan, phase)?;
        let parameters = learner.trained();
        let mut run = Self {
            training,
            plan,
            parts,
            phases,
            phase,
            learner,
            optimizer: OptimizerState::new(&recipe.optimizer, recipe.decay_norm_and_bias, &parameters)?,
            parameters,
            average: recipe.ema.map(|ema| Average::new(ema, &spec.model, model, *device)).transpose()?,
            best: None,
            standing,
            files: Vec::new(),
            saved_at: Instant::now(),
        };
        if let Some(saved) = saved {
            run.restore(&saved)?;
        }
        Ok(run)
    }

    /// Brings all tensors to a state.
    fn restore(&mut self, saved: &Saved) -> Result<(), LabError> {
        let model = self.training.model.parameters();
        saved.fill("model", model.tensors())?;
        saved.fill("carried", &self.learner.carried())?;
        saved.fill("optimizer", &self.optimizer.tensors(&self.parameters))?;
        if let Some(average) = &self.average {
            saved.fill("average", average.model().parameters().tensors())?;
        }
        if self.standing.best_score.is_some() {
            let best = copies(model)?;
            saved.fill("best", &best)?;
            self.best = Some(best);
        }
        Ok(())
    }

    /// Goes over to the next phase if this one is over. Its optimiser starts afresh, as if the trainings were two.
    fn turn_to_next_phase(&mut self) -> Result<(), LabError> {
        if self.standing.iteration < self.phase.end() || self.is_over() {
            return Ok(());
        }
        let recipe = &self.training.spec.recipe;
        self.phase = phase_at(&self.phases, self.standing.iteration)?;
        self.learner = learner(self.training, self.plan, self.phase)?;
        self.parameters = self.learner.trained();
        self.optimizer = OptimizerState::new(&recipe.optimizer, recipe.decay_norm_and_bias, &self.parameters)?;
        Ok(())
    }

    const fn is_over(&self) -> bool {
        self.standing.iteration >= self.plan.steps
    }

    /// The steps of the phase; an epoch shows each minibatch as often as the phase replays it.
    const fn steps(&self) -> Steps {
        let per_epoch = self.plan.batches_per_epoch.saturating_mul(self.phase.replays);
        Steps { total: self.phase.steps, per_epoch }
    }

    /// The rest of an epoch.
    fn epoch(&mut self, observe: &mut dyn FnMut(&Observation<'_>) -> Wish) -> Result<(), LabError> {
        let (epoch, Steps { per_epoch, .. }) = (self.standing.epoch, self.steps());
        let Training { spec, examples, .. } = *self.training;
        let order = Stream::new(spec.seed, Purpose::Shuffle { epoch }).into_order(&self.parts.training);
        let (batch_size, replays) = (self.plan.batch_size, self.phase.replays as usize);
        let done = self.standing.sums.steps as usize;
        let minibatches = order.chunks_exact(batch_size).take(self.plan.batches_per_epoch as usize);
        let minibatches = minibatches.flat_map(|minibatch| iter::repeat_n(minibatch, replays)).enumerate().skip(done);
        let rest = order.get(done / replays.max(1) * batch_size..).unwrap_or_default();
        let changes = Changes { augmentation: &spec.recipe.augmentation, seed: spec.seed, epoch };
        let mut batches = Batches::new(examples, rest, batch_size, changes)?;
        let mut shown = None;
        for (number, minibatch) in minibatches {
            let batch = match shown.take() {
                Some(batch) if number % replays != 0 => batch,
                _ => batches.next(minibatch)?,
            };
            self.step(minibatch, &batch)?;
            shown = Some(batch);
            let wish = observe(&Observation::Step(self.standing.iteration, self.plan.steps));
            let ends = self.standing.iteration >= self.phase.end() || self.standing.sums.steps >= per_epoch;
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
            if ends {
                break;
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
        self.turn_to_next_phase()
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

    fn step(&mut self, indices: &[i64], batch: &Batch) -> Result<(), LabError> {
        let Training { spec, model, .. } = self.training;
        let (recipe, iteration, phase) = (&spec.recipe, self.standing.iteration, self.phase);
        let done = iteration - phase.first;
        let rate = |peak| recipe.schedule.learning_rate(peak, done, self.steps());
        let [learning_rate, head_rate] = [phase.learning_rate, phase.head_learning_rate].map(rate);
        let whole = Step {
            learner: &self.learner,
            objective: phase.objective,
            label_smoothing: recipe.label_smoothing,
            dropout: recipe.dropout,
            batch_norm_momentum: recipe.batch_norm_momentum,
            strength: recipe.epsilon_schedule.share(done, phase.steps),
            draws: Draws { seed: spec.seed, iteration, examples: indices },
            first_row: 0,
        };
        let trained: Vec<&Tensor> = self.parameters.iter().map(|(_, parameter)| parameter).collect();
        let mut step = computing_in(recipe.precision, || gradients(&whole, batch, recipe.micro_batch_size, &trained))?;
        if !step.loss.is_finite() {
            let (epoch, iteration, loss) = (self.standing.epoch + 1, iteration + 1, step.loss);
            return Err(LabError::Diverged { epoch, iteration, learning_rate, loss });
        }
        if let Some(largest) = recipe.gradient_clip {
            clip(&mut step.gradients, largest)?;
        }
        let rate_of = |name: &str| if self.learner.is_head(name) { head_rate } else { learning_rate };
        let rates: Vec<f64> = self.parameters.iter().map(|(name, _)| rate_of(name)).collect();
        self.optimizer.step(&mut self.parameters, &step.gradients, &rates, done + 1)?;
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
        let path = self.training.output_dir.join(state::file_name(self.standing.epoch, self.standing.sums.steps));
        let (optimizer, carried) = (self.optimizer.tensors(&self.parameters), self.learner.carried());
        let model = self.training.model.parameters().tensors();
        let mut sections: Vec<Section<'_>> = vec![("model", model), ("carried", &carried), ("optimizer", &optimizer)];
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
        Augmentation, Decay, EpsilonSchedule, Frozen, HeadFirst, Length, Objective, Optimizer, Precision, Schedule,
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
            micro_batch_size: None,
            optimizer: Optimizer::Sgd { learning_rate: 1e-3, momentum: 0.0, nesterov: false, weight_decay: 0.0 },
            decay_norm_and_bias: true,
            gradient_clip: None,
            precision: Precision::F32,
            ema: None,
            validation: None,
            head_learning_rate: None,
            dropout: true,
            batch_norm_momentum: None,
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
