//! How a run is trained.

mod adversary;
mod augmentation;
mod objective;
mod optimizer;
mod parts;
mod schedule;

use serde::{Deserialize, Serialize};

pub use adversary::{EpsilonSchedule, InnerAttack, Start};
pub use augmentation::Augmentation;
pub use objective::Objective;
pub use optimizer::Optimizer;
pub use parts::{Frozen, HeadFirst};
pub use schedule::{Decay, Schedule};

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
    /// How the weights move.
    pub optimizer: Optimizer,
    /// Peak learning rate of the classification head, if it is another than the optimiser's.
    pub head_learning_rate: Option<f64>,
    /// Whether the architecture's own dropout and stochastic depth are on in train mode.
    pub dropout: bool,
    /// How the learning rate moves.
    pub schedule: Schedule,
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
