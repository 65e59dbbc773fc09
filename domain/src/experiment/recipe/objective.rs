//! What a training minimises.

use serde::{Deserialize, Serialize};

use crate::experiment::Norm;

/// The loss of a training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// Cross-entropy.
    Standard,
    /// Cross-entropy on adversarial examples alone (Madry et al. 2018).
    PgdAt {
        /// How they are crafted: by ascent on the cross-entropy.
        inner: InnerAttack,
    },
    /// Discrepancy mitigation (Zhang et al., arXiv 2106.10989): CE(f(x), y) + `coefficient` · mean over batch and dimension of (g(x′) − g(x))²,
    /// g the pooled penultimate features and x′ crafted in eval mode to maximise the same distance.
    Dm {
        /// Weight of the mean squared distance (the paper's β/B at batch size B).
        coefficient: f64,
        /// How x′ is crafted.
        inner: InnerAttack,
    },
}

impl Objective {
    /// The name in sweep files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::PgdAt { .. } => "pgd-at",
            Self::Dm { .. } => "dm",
        }
    }

    /// The attack inside its steps.
    pub const fn inner(&self) -> Option<&InnerAttack> {
        match self {
            Self::Standard => None,
            Self::PgdAt { inner } | Self::Dm { inner, .. } => Some(inner),
        }
    }
}

/// The attack inside an adversarial training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerAttack {
    /// Norm of the ball.
    pub norm: Norm,
    /// Radius, in pixel space.
    pub eps: f64,
    /// Steps of ascent.
    pub steps: u32,
    /// Length of a step, in pixel space.
    pub step_size: f64,
    /// First point.
    pub start: Start,
}

/// Where an inner attack starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the image.
    Clean,
    /// Uniformly in the ball.
    Uniform,
    /// At 0.001 · N(0,1) around the image, as in the study's code.
    Gaussian,
}
