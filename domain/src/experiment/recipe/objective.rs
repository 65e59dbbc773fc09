//! What a training minimises.

use serde::{Deserialize, Serialize};

use super::adversary::InnerAttack;

/// The loss of a training step. x′ is the image x perturbed by the inner attack, f gives logits, p their softmax.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// Cross-entropy.
    Standard,
    /// Cross-entropy on adversarial examples alone (Madry et al. 2018, arXiv 1706.06083).
    PgdAt {
        /// How they are crafted: by ascent on the cross-entropy.
        inner: InnerAttack,
    },
    /// As [`Self::PgdAt`] with one long step from a random start, taken in train mode as the published code does (Wong et al. 2020, arXiv 2001.03994).
    FastAt {
        /// How the adversarial examples are crafted: by ascent on the cross-entropy.
        inner: InnerAttack,
    },
    /// Every minibatch is shown several times, and one backward pass moves the weights and the L∞ perturbation, which is carried over from minibatch
    /// to minibatch (Shafahi et al. 2019, arXiv 1904.12843).
    FreeAt {
        /// Radius of the L∞ ball, in pixel space.
        eps: f64,
        /// How far a backward pass moves the perturbation along the signs of its gradient, in pixel space.
        step_size: f64,
        /// How often a minibatch is shown; each time is a step of the optimiser.
        replays: u32,
    },
    /// CE(f(x), y) + `beta` · KL(p(x) ‖ p(x′)), x′ crafted to maximise the divergence (Zhang et al. 2019, arXiv 1901.08573).
    Trades {
        /// Weight of the divergence.
        beta: f64,
        /// How x′ is crafted.
        inner: InnerAttack,
    },
    /// BCE(p(x′), y) + `lambda` · KL(p(x) ‖ p(x′)) · (1 − p(x)_y), where BCE adds −log(1 − the largest wrong probability) to the cross-entropy; x′ is
    /// crafted by ascent on the cross-entropy (Wang et al. 2020).
    Mart {
        /// Weight of the divergence.
        lambda: f64,
        /// How x′ is crafted.
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
    /// Half of the adversarial batch goes through a twin of the model that shares all weights but those of batch normalisation and keeps the statistics of
    /// the pre-training: `lambda` · CE(twin's half) + CE(other half) (Liu et al. 2023, arXiv 2303.11135).
    Twins {
        /// Weight of the twin's half.
        lambda: f64,
        /// How the adversarial examples are crafted: by ascent on the cross-entropy, on the model itself.
        inner: InnerAttack,
    },
}

impl Objective {
    /// The name in sweep files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::PgdAt { .. } => "pgd-at",
            Self::FastAt { .. } => "fast-at",
            Self::FreeAt { .. } => "free-at",
            Self::Trades { .. } => "trades",
            Self::Mart { .. } => "mart",
            Self::Dm { .. } => "dm",
            Self::Twins { .. } => "twins",
        }
    }

    /// How often each minibatch is shown.
    pub const fn replays(&self) -> u32 {
        match self {
            Self::FreeAt { replays, .. } => *replays,
            _ => 1,
        }
    }

    /// The attack inside its steps; `free-at` has none, because its perturbation comes from the steps themselves.
    pub const fn inner(&self) -> Option<&InnerAttack> {
        match self {
            Self::Standard | Self::FreeAt { .. } => None,
            Self::PgdAt { inner }
            | Self::FastAt { inner }
            | Self::Trades { inner, .. }
            | Self::Mart { inner, .. }
            | Self::Dm { inner, .. }
            | Self::Twins { inner, .. } => Some(inner),
        }
    }
}
