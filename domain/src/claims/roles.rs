//! What the inits and recipes of a sweep are to the study's claims.

use crate::experiment::{AttackMethod, Knowledge, Objective};
use crate::sweep::{AttackSection, AttackTemplate, InitSection, InitStart, RecipeSection, Sweep};

/// What a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing: freshly drawn weights.
    Scratch,
    /// Pre-training on images as they are.
    Ordinary,
    /// Pre-training on perturbed images.
    Robust,
    /// A checkpoint, of which nothing is known.
    Imported,
    /// Several pre-trainings of different kinds, one after the other.
    Several,
}

impl Start {
    /// What an init of a sweep starts from.
    pub fn of(sweep: &Sweep, init: &InitSection) -> Self {
        let InitStart::Pretrain(stage) = &init.start else {
            return if matches!(init.start, InitStart::Scratch) { Self::Scratch } else { Self::Imported };
        };
        let before = stage.init.map_or(Self::Scratch, |init| Self::of(sweep, &sweep.inits[init]));
        let Some(objective) = objective(sweep.recipe_of(&stage.recipe.value)) else { return before };
        let own = if matches!(objective, Objective::Standard) { Self::Ordinary } else { Self::Robust };
        if before == Self::Scratch || before == own { own } else { Self::Several }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Scratch => "from scratch",
            Self::Ordinary => "ordinary pre-training",
            Self::Robust => "robust (adversarial) pre-training",
            Self::Imported => "an imported checkpoint, whose pre-training is not known",
            Self::Several => "pre-trainings of different kinds, one after the other",
        }
    }
}

pub(super) fn inits(sweep: &Sweep, start: Start) -> impl Iterator<Item = &InitSection> {
    sweep.inits.iter().filter(move |init| Start::of(sweep, init) == start)
}

/// Inits of ordinary pre-training that an init of robust pre-training is held against: those with the same source, or all if there are none.
pub(super) fn counterparts<'a>(sweep: &'a Sweep, robust: &InitSection) -> Vec<&'a InitSection> {
    let same: Vec<_> =
        inits(sweep, Start::Ordinary).filter(|other| source(sweep, other) == source(sweep, robust)).collect();
    if same.is_empty() { inits(sweep, Start::Ordinary).collect() } else { same }
}

fn source<'a>(sweep: &'a Sweep, init: &'a InitSection) -> Option<&'a str> {
    match &init.start {
        InitStart::Pretrain(stage) => Some(&sweep.dataset_of(&stage.dataset.value).name),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

fn objective(recipe: &RecipeSection) -> Option<&Objective> {
    recipe.training.as_ref().map(|training| &training.objective)
}

/// Whether a recipe trains on images as they are, whatever is frozen.
pub(super) fn is_ordinary(recipe: &RecipeSection) -> bool {
    objective(recipe).is_some_and(|objective| matches!(objective, Objective::Standard))
}

/// Whether a recipe mitigates discrepancy.
pub(super) fn is_dm(recipe: &RecipeSection) -> bool {
    objective(recipe).is_some_and(|objective| matches!(objective, Objective::Dm { .. }))
}

/// Whether an attack is the null attack.
pub(super) fn is_noise(attack: &AttackSection) -> bool {
    matches!(attack.method, AttackTemplate::Fixed(AttackMethod::Noise { .. }))
}

/// Whether an attack follows the gradients of the loss towards any wrong class: then random points must not beat it.
pub(super) fn follows_gradients(attack: &AttackSection) -> bool {
    let to_features_or_all_images =
        matches!(attack.method, AttackTemplate::Feature { .. } | AttackTemplate::Uap { .. });
    attack.method.knowledge() == Knowledge::WhiteBox && attack.target.is_none() && !to_features_or_all_images
}
