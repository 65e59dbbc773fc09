//! Attacks that evaluate a model.

use serde::{Deserialize, Serialize};

use super::threat::Norm;

/// An attack with its threat model, fully resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackConfig {
    /// How perturbations are found.
    pub method: AttackMethod,
    /// Norm of the ball.
    pub norm: Norm,
    /// Radius, in pixel space.
    pub eps: f64,
    /// An example counts as fooled as soon as an iterate fools it, and leaves the batch; otherwise every step is done and the last iterate is judged.
    pub early_stop: bool,
}

/// Attack methods and their parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttackMethod {
    /// Random points of the ball (L∞: uniform in the cube; L2: uniform in the ball): the null attack.
    Noise {
        /// Independent points tried.
        draws: u32,
    },
    /// One gradient step of length ε (Goodfellow et al. 2015).
    Fgsm,
    /// Projected gradient ascent on the cross-entropy (Madry et al. 2018).
    Pgd {
        /// Steps per restart.
        steps: u32,
        /// Length of a step, in pixel space.
        step_size: f64,
        /// Start uniformly in the ball instead of at the image.
        random_start: bool,
        /// Independent tries; the first that succeeds counts.
        restarts: u32,
    },
}

impl AttackMethod {
    /// The name in sweep files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Noise { .. } => "noise",
            Self::Fgsm => "fgsm",
            Self::Pgd { .. } => "pgd",
        }
    }
}
