//! How a run is trained.

mod augmentation;
mod objective;
mod optimizer;
mod schedule;

use serde::{Deserialize, Serialize};

pub use augmentation::Augmentation;
pub use objective::{InnerAttack, Objective, Start};
pub use optimizer::Optimizer;
pub use schedule::{Decay, Schedule};

/// A training, fully resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is minimised.
    pub objective: Objective,
    /// How long.
    pub length: Length,
    /// Examples per step; an incomplete last batch of an epoch is dropped unless it is the only one.
    pub batch_size: u32,
    /// How the weights move.
    pub optimizer: Optimizer,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
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
