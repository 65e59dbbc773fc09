//! How the weights move.

use serde::{Deserialize, Serialize};

/// Update rule, in PyTorch's form. Which parameters decay is [`Recipe::decay_norm_and_bias`](super::Recipe::decay_norm_and_bias).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Peak learning rate.
        learning_rate: f64,
        /// In [0,1).
        momentum: f64,
        /// Nesterov's form of momentum.
        nesterov: bool,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
    /// Adam (Kingma & Ba 2015, arXiv 1412.6980).
    Adam {
        /// Peak learning rate.
        learning_rate: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
        /// Decay rates of the two moments, each in [0,1).
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101).
    #[serde(rename = "adamw")]
    AdamW {
        /// Peak learning rate.
        learning_rate: f64,
        /// A step shrinks the weights by the factor 1 − learning rate · `weight_decay`.
        weight_decay: f64,
        /// Decay rates of the two moments, each in [0,1).
        betas: [f64; 2],
        /// Added to the root of the second moment.
        epsilon: f64,
    },
}

impl Optimizer {
    /// Peak learning rate.
    pub const fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd { learning_rate, .. } | Self::Adam { learning_rate, .. } | Self::AdamW { learning_rate, .. } => {
                *learning_rate
            }
        }
    }

    /// The same with another peak learning rate.
    #[must_use]
    pub const fn with_learning_rate(mut self, rate: f64) -> Self {
        match &mut self {
            Self::Sgd { learning_rate, .. } | Self::Adam { learning_rate, .. } | Self::AdamW { learning_rate, .. } => {
                *learning_rate = rate;
            }
        }
        self
    }
}
