//! `[[attack]]`, typed: what an attack says before the run it meets is known.

use super::grid::GridRun;
use super::place::{Located, Place};
use super::sections::StepSize;
use crate::experiment::{ApgdLoss, AttackMethod, AutoAttackVersion, Epsilon, Knowledge, Norm, TargetClass};

/// An attack: `[[attack]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttackSection {
    /// Its name.
    pub name: String,
    /// The section.
    pub at: Place,
    /// Method and parameters.
    pub method: AttackTemplate,
    /// Norm of the ball.
    pub norm: Norm,
    /// Radii: an axis of the grid; all different. None only for a minimum-norm attack.
    pub eps: Vec<Epsilon>,
    /// The class that the model is to be led to; none if any wrong class will do.
    pub target: Option<TargetClass>,
    /// Whether an example leaves as soon as it is fooled.
    pub early_stop: bool,
    /// Width of the interval of AAI at which the evaluation stops; none for all examples.
    pub stop_at_interval: Option<f64>,
    /// The earlier attack that may make it pointless.
    pub cascade: Option<CascadeSection>,
    /// First so many of the test split; all if none.
    pub examples: Option<Located<u32>>,
}

impl AttackSection {
    /// Rows of the results that one run under this attack gives.
    pub fn rows(&self) -> usize {
        self.eps.len().max(1)
    }
}

/// `cascade`: the attack comes after another one, and is left out where that has left too little.
#[derive(Debug, Clone, PartialEq)]
pub struct CascadeSection {
    /// Number of the earlier attack.
    pub after: Located<usize>,
    /// AAI under the earlier attack up to which this one is pointless.
    pub until_aai: f64,
}

/// An attack method. What depends on ε, the classes, the data set or another run stands as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum AttackTemplate {
    /// A method whose parameters depend on nothing else.
    Fixed(AttackMethod),
    /// [`AttackMethod::Pgd`].
    Pgd {
        /// Steps per restart.
        steps: u32,
        /// Length of a step.
        step_size: StepSize,
        /// Start uniformly in the ball.
        random_start: bool,
        /// Independent tries.
        restarts: u32,
    },
    /// [`AttackMethod::MiFgsm`].
    MiFgsm {
        /// Steps.
        steps: u32,
        /// Length of a step.
        step_size: StepSize,
        /// Factor of the accumulated gradient.
        decay: f64,
    },
    /// [`AttackMethod::DiFgsm`].
    DiFgsm {
        /// Steps.
        steps: u32,
        /// Length of a step.
        step_size: StepSize,
        /// Factor of the accumulated gradient.
        decay: f64,
        /// Smallest side of the shrunk input, as a share of the whole.
        resize_rate: f64,
        /// Probability that an input is transformed.
        diversity_probability: f64,
        /// Start uniformly in the ball.
        random_start: bool,
    },
    /// [`AttackMethod::DeepFool`].
    DeepFool {
        /// Most steps.
        steps: u32,
        /// How far beyond the boundary.
        overshoot: f64,
        /// Classes considered; the published number, or all if there are fewer, if none.
        candidates: Option<Located<u32>>,
    },
    /// [`AttackMethod::Apgd`].
    Apgd {
        /// What is climbed.
        loss: Located<ApgdLoss>,
        /// Steps per restart.
        steps: u32,
        /// Independent tries.
        restarts: u32,
        /// Share of the steps that must have raised the loss.
        rho: f64,
        /// Target classes; the published number, or all wrong classes if there are fewer, if none.
        target_classes: Option<Located<u32>>,
    },
    /// [`AttackMethod::Fab`].
    Fab {
        /// Towards one class at a time.
        targeted: bool,
        /// Steps per restart.
        steps: u32,
        /// Independent tries.
        restarts: u32,
        /// As in [`Self::Apgd`].
        target_classes: Option<Located<u32>>,
        /// Largest weight of the original point in a step.
        alpha_max: f64,
        /// Weight of the step back towards the original.
        beta: f64,
        /// How far steps go beyond the projection.
        eta: f64,
    },
    /// [`AttackMethod::AutoAttack`].
    AutoAttack {
        /// Which ensemble.
        version: Located<AutoAttackVersion>,
    },
    /// [`AttackMethod::Feature`].
    Feature {
        /// Steps per restart.
        steps: u32,
        /// Length of a step.
        step_size: StepSize,
        /// Independent tries.
        restarts: u32,
    },
    /// [`AttackMethod::Uap`].
    Uap {
        /// First so many of the train split; the default number, or all if there are fewer, if none.
        craft_examples: Option<Located<u32>>,
        /// How it is crafted.
        by: UapTemplate,
        /// Most passes over those examples.
        passes: u32,
        /// Share of those examples that ends the crafting once fooled.
        fooling_rate: f64,
    },
    /// [`AttackMethod::Transfer`].
    Transfer {
        /// The run whose model it is crafted on.
        source: Located<SourceRun>,
        /// The attack on it.
        by: Box<AttackTemplate>,
    },
}

/// How a universal perturbation is crafted.
#[derive(Debug, Clone, PartialEq)]
pub enum UapTemplate {
    /// DeepFool from each image that is not fooled yet.
    DeepFool {
        /// Most steps per image.
        steps: u32,
        /// How far beyond the boundary.
        overshoot: f64,
        /// As in [`AttackTemplate::DeepFool`].
        candidates: Option<Located<u32>>,
    },
    /// Ascent on the mean cross-entropy of batches.
    Gradient {
        /// Length of a step.
        step_size: StepSize,
        /// Examples per step.
        batch_size: u32,
    },
}

/// Another run of the grid on the same data set, by the numbers of its sections: what an attack is crafted on, or an analysis compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRun {
    /// Number of the model; that of the run itself if none.
    pub model: Option<usize>,
    /// Number of the init; that of the run itself if none.
    pub init: Option<usize>,
    /// Number of the recipe; that of the run itself if none.
    pub recipe: Option<usize>,
    /// The seed; that of the run itself if none.
    pub seed: Option<u64>,
}

impl SourceRun {
    /// The run that it means for `run`; it stands for its model alone and has no attacks.
    pub(crate) fn of(&self, run: &GridRun) -> GridRun {
        GridRun {
            dataset: run.dataset,
            model: self.model.unwrap_or(run.model),
            init: self.init.unwrap_or(run.init),
            recipe: self.recipe.unwrap_or(run.recipe),
            seed: self.seed.unwrap_or(run.seed),
            attacks: Vec::new(),
        }
    }
}

impl AttackTemplate {
    /// The name of the method in sweep files and tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fixed(method) => method.name(),
            Self::Pgd { .. } => "pgd",
            Self::MiFgsm { .. } => "mi-fgsm",
            Self::DiFgsm { .. } => "di-fgsm",
            Self::DeepFool { .. } => "deepfool",
            Self::Apgd { .. } => "apgd",
            Self::Fab { .. } => "fab",
            Self::AutoAttack { .. } => "autoattack",
            Self::Feature { .. } => "feature",
            Self::Uap { .. } => "uap",
            Self::Transfer { .. } => "transfer",
        }
    }

    /// Whether it looks for the nearest point that fools, so that one evaluation answers every ε.
    pub const fn minimum_norm(&self) -> bool {
        match self {
            Self::Fixed(method) => method.minimum_norm(),
            Self::DeepFool { .. } | Self::Fab { .. } => true,
            Self::Pgd { .. }
            | Self::MiFgsm { .. }
            | Self::DiFgsm { .. }
            | Self::Apgd { .. }
            | Self::AutoAttack { .. }
            | Self::Feature { .. }
            | Self::Uap { .. }
            | Self::Transfer { .. } => false,
        }
    }

    /// What it knows of the attacked model.
    pub const fn knowledge(&self) -> Knowledge {
        match self {
            Self::Fixed(method) => method.knowledge(),
            Self::Transfer { .. } => Knowledge::BlackBox,
            Self::Pgd { .. }
            | Self::MiFgsm { .. }
            | Self::DiFgsm { .. }
            | Self::DeepFool { .. }
            | Self::Apgd { .. }
            | Self::Fab { .. }
            | Self::AutoAttack { .. }
            | Self::Feature { .. }
            | Self::Uap { .. } => Knowledge::WhiteBox,
        }
    }
}
