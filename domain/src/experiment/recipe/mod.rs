//! How a run is trained.

mod adversary;
mod augmentation;
mod objective;
mod optimizer;
mod parts;
mod schedule;
mod validation;

use serde::{Deserialize, Serialize};

pub use adversary::{EpsilonSchedule, InnerAttack, Start};
pub use augmentation::{Augmentation, RandomCrop};
pub use objective::Objective;
pub use optimizer::Optimizer;
pub use parts::{Frozen, HeadFirst};
pub use schedule::{Decay, Drops, Schedule, Steps};
pub use validation::{Criterion, HeldOut, Validation};

/// A training, fully resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is minimised.
    pub objective: Objective,
    /// How strong its inner attack is, step by step.
    pub epsilon_schedule: EpsilonSchedule,
    /// Share of the label that cross-entropies of the loss spread evenly over all classes (Szegedy et al. 2016), in [0,1).
    pub label_smoothing: f64,
    /// What is not trained.
    pub frozen: Frozen,
    /// A phase before it that trains the head alone.
    pub head_first: Option<HeadFirst>,
    /// How long.
    pub length: Length,
    /// Examples per step; an incomplete last batch of an epoch is dropped unless it is the only one.
    pub batch_size: u32,
    /// Examples that go through the model together; their gradients are added up until the batch is complete. Without batch normalisation this
    /// changes rounding alone; with it each part is normalised by its own statistics.
    pub micro_batch_size: Option<u32>,
    /// How the weights move.
    pub optimizer: Optimizer,
    /// Whether weight decay acts on parameters of one dimension too: biases, and the weights of normalisations.
    pub decay_norm_and_bias: bool,
    /// Largest L2 norm of all gradients together: longer ones are scaled down to it.
    pub gradient_clip: Option<f64>,
    /// Peak learning rate of the classification head, if it is another than the optimiser's.
    pub head_learning_rate: Option<f64>,
    /// Whether the architecture's own dropout and stochastic depth are on in train mode.
    pub dropout: bool,
    /// Weight of a batch in the running statistics of batch normalisations, in (0,1]; the architecture's own if none. Short trainings want more of it than
    /// an architecture whose statistics were made to follow for days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm_momentum: Option<f64>,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Number format of convolutions and matrix products.
    pub precision: Precision,
    /// Exponential moving average of the weights, which is then what is validated and what results.
    pub ema: Option<Ema>,
    /// Examples to choose the best epoch by; without them the last epoch's weights are the result.
    pub validation: Option<Validation>,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
}

impl Recipe {
    /// The method that the recipe amounts to, as sweep files call it.
    pub const fn method(&self) -> &'static str {
        match (&self.objective, self.frozen, &self.head_first) {
            (Objective::Standard, Frozen::Backbone, None) => "linear-probe",
            (Objective::Standard, _, Some(HeadFirst { objective: Objective::Standard, .. })) => "lp-ft",
            (Objective::PgdAt { .. }, _, Some(HeadFirst { objective: Objective::PgdAt { .. }, .. })) => {
                "robust-linear-init"
            }
            (objective, _, _) => objective.name(),
        }
    }

    /// Examples that are trained on, of a split of so many.
    pub fn training_examples(&self, split: u32) -> u32 {
        split.saturating_sub(self.validation.as_ref().map_or(0, |validation| validation.examples(split)))
    }
}

/// Number format of convolutions and matrix products in a training; weights, their updates, normalisations and losses are always 32-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Brain floats of 16 bits.
    Bf16,
}

/// Exponential moving average of all tensors of a model, running statistics included, as PyTorch's `AveragedModel` with `use_buffers`: a copy after the
/// first step, from then on average ← `decay` · average + (1 − `decay`) · model after each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// In (0,1).
    pub decay: f64,
}

/// Length of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Passes over the training split.
    Epochs(u32),
    /// Steps of the optimiser; the last epoch may be partial.
    Iterations(u32),
}
