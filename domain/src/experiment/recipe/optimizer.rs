//! How the weights move.

use serde::{Deserialize, Serialize};

/// Update rule. Weight decay is added to the gradient of every parameter, as in PyTorch.
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
        /// L2 penalty.
        weight_decay: f64,
    },
    /// Adam (Kingma & Ba 2015), β = (0.9, 0.999), ε = 1e-8.
    Adam {
        /// Peak learning rate.
        learning_rate: f64,
        /// L2 penalty.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Peak learning rate.
    pub const fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd { learning_rate, .. } | Self::Adam { learning_rate, .. } => *learning_rate,
        }
    }
}
