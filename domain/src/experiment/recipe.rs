//! How a run is trained.

use serde::{Deserialize, Serialize};

use super::threat::Norm;

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

/// Length of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Passes over the training split.
    Epochs(u32),
    /// Steps of the optimiser; the last epoch may be partial.
    Iterations(u32),
}

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

/// Learning rate over the steps: a linear warm-up from zero, then a decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Share of the steps that warm up, in [0,1).
    pub warmup: f64,
    /// What follows.
    pub decay: Decay,
}

/// Learning rate after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// Half a cosine, per step, down to `final_learning_rate`.
    Cosine {
        /// Learning rate after the last step.
        final_learning_rate: f64,
    },
}

impl Schedule {
    /// Learning rate of step `step` of `steps` (counted from 0) for a peak of `peak`.
    pub fn learning_rate(&self, peak: f64, step: u32, steps: u32) -> f64 {
        let warmup_steps = (f64::from(steps) * self.warmup).round();
        let step = f64::from(step);
        if step < warmup_steps {
            return peak * (step + 1.0) / warmup_steps;
        }
        match self.decay {
            Decay::Constant => peak,
            Decay::Cosine { final_learning_rate } => {
                let progress = (step - warmup_steps) / (f64::from(steps) - warmup_steps).max(1.0);
                final_learning_rate
                    + (peak - final_learning_rate) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
            }
        }
    }
}

/// Random changes of training images, drawn per example and epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Largest shift along each axis, in pixels; what enters is black. The same as a random crop of the image in a border of so many pixels.
    pub shift: u32,
    /// Mirror left and right with probability one half.
    pub flip: bool,
    /// What is cut out of an image file in place of the centre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
}

/// A random part of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RandomCrop {
    /// Of the image brought to `resize`, a part of the image's size.
    Plain,
    /// Of the original, a part of random area and aspect ratio, brought to the image's size (Szegedy et al., arXiv 1409.4842).
    Resized {
        /// Smallest and largest share of the original's area.
        scale: [f64; 2],
        /// Smallest and largest width in heights; drawn evenly in its logarithm.
        ratio: [f64; 2],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_to_the_peak_and_falls_along_a_cosine() {
        let schedule = Schedule { warmup: 0.1, decay: Decay::Cosine { final_learning_rate: 0.0 } };
        let rates: Vec<f64> = [0, 9, 10, 55, 99].map(|step| schedule.learning_rate(1.0, step, 100)).to_vec();
        assert_eq!(rates[..3], [0.1, 1.0, 1.0]);
        assert!((rates[3] - 0.5).abs() < 1e-12 && rates[4] < 1e-3, "{rates:?}");
    }
}
