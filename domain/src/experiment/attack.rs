//! Attacks that evaluate a model.

use serde::{Deserialize, Serialize};

use super::dataset::DatasetSpec;
use super::model::{ModelSpec, Weights};
use super::threat::Norm;

/// An attack with its threat model, fully resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackConfig {
    /// How perturbations are found.
    pub method: AttackMethod,
    /// Norm of the ball.
    pub norm: Norm,
    /// Radius, in pixel space; none for a minimum-norm attack, which looks for the nearest point that fools.
    pub eps: Option<f64>,
    /// The class that the model is to be led to; none if any wrong class will do.
    pub target: Option<TargetClass>,
    /// An example counts as fooled as soon as an iterate fools it, and leaves the batch; otherwise every step is done and the last iterate is judged.
    pub early_stop: bool,
    /// The evaluation stops after the first block of examples at which the 95 % Wilson interval of AAI is narrower than this; none for all examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_at_interval: Option<f64>,
}

impl AttackConfig {
    /// Whether parts of the examples may be attacked apart from the others. What stops early goes through them one after the other.
    pub fn can_be_split(&self) -> bool {
        self.stop_at_interval.is_none() && self.method.can_be_split()
    }
}

/// The class that a targeted attack leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetClass {
    /// The one with the smallest logit on the original image.
    LeastLikely,
    /// The wrong one with the largest logit on the original image.
    RunnerUp,
    /// A wrong one, drawn for each example.
    Random,
}

/// Attack methods and their parameters. Lengths are in pixel space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttackMethod {
    /// Random points of the ball (L∞: uniform in the cube; L2, L1: uniform in the ball): the null attack.
    Noise {
        /// Independent points tried.
        draws: u32,
    },
    /// One gradient step of length ε (Goodfellow et al. 2015, arXiv 1412.6572).
    Fgsm,
    /// Projected gradient ascent on the cross-entropy (Madry et al. 2018, arXiv 1706.06083).
    Pgd {
        /// Steps per restart.
        steps: u32,
        /// Length of a step.
        step_size: f64,
        /// Start uniformly in the ball instead of at the image.
        random_start: bool,
        /// Independent tries; the first that succeeds counts.
        restarts: u32,
    },
    /// Iterated gradient steps with momentum (Dong et al. 2018, arXiv 1710.06081).
    MiFgsm {
        /// Steps.
        steps: u32,
        /// Length of a step.
        step_size: f64,
        /// Factor of the accumulated gradient.
        decay: f64,
    },
    /// [`MiFgsm`](Self::MiFgsm) on randomly shrunk and padded inputs (Xie et al. 2019, arXiv 1803.06978).
    DiFgsm {
        /// Steps.
        steps: u32,
        /// Length of a step.
        step_size: f64,
        /// Factor of the accumulated gradient; 0 is the method without momentum.
        decay: f64,
        /// Smallest side of the shrunk input, as a share of the whole.
        resize_rate: f64,
        /// Probability that an input is transformed.
        diversity_probability: f64,
        /// Start uniformly in the ball instead of at the image.
        random_start: bool,
    },
    /// The minimum-norm attack of Carlini & Wagner (2017, arXiv 1608.04644), L2.
    Cw {
        /// By how much the wrong logit has to exceed the right one.
        confidence: f64,
        /// Steps of Adam per constant.
        steps: u32,
        /// Learning rate of Adam.
        learning_rate: f64,
        /// First weight of the loss beside the distance.
        initial_const: f64,
        /// Constants tried by binary search; 1 keeps the first.
        binary_search_steps: u32,
    },
    /// Steps to the linearised decision boundary (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599): minimum-norm.
    #[serde(rename = "deepfool")]
    DeepFool {
        /// Most steps.
        steps: u32,
        /// How far beyond the boundary, as a share of the perturbation.
        overshoot: f64,
        /// Classes considered, those of the largest logits.
        candidates: u32,
    },
    /// Auto-PGD (Croce & Hein 2020, arXiv 2003.01690; L1: 2021, arXiv 2103.01208).
    Apgd {
        /// What is climbed.
        loss: ApgdLoss,
        /// Steps per restart.
        steps: u32,
        /// Independent tries.
        restarts: u32,
        /// Share of the steps that must have raised the loss for the step size to stay.
        rho: f64,
        /// Target classes tried one after the other (`dlr-targeted` alone; the largest wrong logits).
        target_classes: u32,
    },
    /// Fast adaptive boundary (Croce & Hein 2020, arXiv 1907.02044): minimum-norm.
    Fab {
        /// Towards one class at a time, the largest wrong logits first.
        targeted: bool,
        /// Steps per restart.
        steps: u32,
        /// Independent tries.
        restarts: u32,
        /// Target classes tried one after the other, if targeted.
        target_classes: u32,
        /// Largest weight of the original point in a step.
        alpha_max: f64,
        /// Weight of the step back towards the original.
        beta: f64,
        /// How far steps go beyond the projection.
        eta: f64,
    },
    /// Random search by squares, without gradients (Andriushchenko et al. 2020, arXiv 1912.00049).
    Square {
        /// Most forward passes per example and try.
        queries: u32,
        /// Share of the pixels that the first squares cover.
        p_init: f64,
        /// Independent tries.
        restarts: u32,
    },
    /// The ensemble of Croce & Hein (2020, arXiv 2003.01690), with its published settings.
    #[serde(rename = "autoattack")]
    AutoAttack {
        /// Which ensemble.
        version: AutoAttackVersion,
    },
    /// Projected gradient ascent on the squared distance of the penultimate features from those of the original.
    Feature {
        /// Steps per restart.
        steps: u32,
        /// Length of a step.
        step_size: f64,
        /// Independent tries from random points of the ball: the distance has no gradient at the image itself.
        restarts: u32,
    },
    /// One perturbation for all images (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401).
    Uap {
        /// The examples it is crafted on.
        crafted_on: Box<DatasetSpec>,
        /// How it is crafted.
        by: UapMethod,
        /// Most passes over those examples.
        passes: u32,
        /// Share of those examples that ends the crafting once fooled.
        fooling_rate: f64,
    },
    /// The output of an attack on another model (black-box).
    Transfer {
        /// The other model.
        source: Box<OtherModel>,
        /// The attack on it; not `transfer` itself.
        by: Box<AttackMethod>,
    },
}

/// What Auto-PGD climbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApgdLoss {
    /// Cross-entropy.
    Ce,
    /// Difference of logits ratio.
    Dlr,
    /// Its targeted form, for one class after the other.
    DlrTargeted,
}

impl ApgdLoss {
    /// The name in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ce => "ce",
            Self::Dlr => "dlr",
            Self::DlrTargeted => "dlr-targeted",
        }
    }

    /// Fewest classes that it is defined for.
    pub const fn least_classes(self) -> u32 {
        match self {
            Self::Ce => 2,
            Self::Dlr => 3,
            Self::DlrTargeted => 4,
        }
    }
}

/// Versions of AutoAttack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoAttackVersion {
    /// APGD-CE, targeted APGD-DLR, targeted FAB, Square.
    Standard,
    /// Restarts, untargeted APGD-DLR and FAB besides.
    Plus,
    /// APGD with averaged gradients, for randomised defences.
    Rand,
}

impl AutoAttackVersion {
    /// The name in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Plus => "plus",
            Self::Rand => "rand",
        }
    }

    /// Fewest classes that each of its parts is defined for.
    pub const fn least_classes(self) -> u32 {
        match self {
            Self::Standard | Self::Plus => ApgdLoss::DlrTargeted.least_classes(),
            Self::Rand => ApgdLoss::Dlr.least_classes(),
        }
    }
}

/// How a universal perturbation is crafted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UapMethod {
    /// DeepFool from each image that is not fooled yet, as published.
    #[serde(rename = "deepfool")]
    DeepFool {
        /// Most steps per image.
        steps: u32,
        /// How far beyond the boundary, as a share of the perturbation.
        overshoot: f64,
        /// Classes considered.
        candidates: u32,
    },
    /// Ascent on the mean cross-entropy of batches.
    Gradient {
        /// Length of a step.
        step_size: f64,
        /// Examples per step.
        batch_size: u32,
    },
}

/// A model beside the one that a task is about: a transferred attack is crafted on it, or an analysis compares with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherModel {
    /// The model.
    pub model: ModelSpec,
    /// Its weights.
    pub weights: Weights,
}

/// What an attack knows of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// Nothing: random points.
    Nothing,
    /// Its outputs, or another model.
    BlackBox,
    /// Its gradients.
    WhiteBox,
}

impl AttackMethod {
    /// The name in sweep files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Noise { .. } => "noise",
            Self::Fgsm => "fgsm",
            Self::Pgd { .. } => "pgd",
            Self::MiFgsm { .. } => "mi-fgsm",
            Self::DiFgsm { .. } => "di-fgsm",
            Self::Cw { .. } => "cw",
            Self::DeepFool { .. } => "deepfool",
            Self::Apgd { .. } => "apgd",
            Self::Fab { .. } => "fab",
            Self::Square { .. } => "square",
            Self::AutoAttack { .. } => "autoattack",
            Self::Feature { .. } => "feature",
            Self::Uap { .. } => "uap",
            Self::Transfer { .. } => "transfer",
        }
    }

    /// Whether it looks for the nearest point that fools, so that one evaluation answers every ε.
    pub const fn minimum_norm(&self) -> bool {
        matches!(self, Self::Cw { .. } | Self::DeepFool { .. } | Self::Fab { .. })
    }

    /// Whether parts of the examples may be attacked apart from the others. What crafts once for all of them cannot be split.
    pub fn can_be_split(&self) -> bool {
        match self {
            Self::Uap { .. } => false,
            Self::Transfer { by, .. } => by.can_be_split(),
            _ => true,
        }
    }

    /// What it knows of the attacked model.
    pub const fn knowledge(&self) -> Knowledge {
        match self {
            Self::Noise { .. } => Knowledge::Nothing,
            Self::Square { .. } | Self::Transfer { .. } => Knowledge::BlackBox,
            Self::Fgsm
            | Self::Pgd { .. }
            | Self::MiFgsm { .. }
            | Self::DiFgsm { .. }
            | Self::Cw { .. }
            | Self::DeepFool { .. }
            | Self::Apgd { .. }
            | Self::Fab { .. }
            | Self::AutoAttack { .. }
            | Self::Feature { .. }
            | Self::Uap { .. } => Knowledge::WhiteBox,
        }
    }
}
