//! What the inits and recipes of a sweep are to the study's claims.

use crate::experiment::{AttackMethod, CuePairing, FrequencyBand, Knowledge, Objective, Pass};
use crate::sweep::{
    AttackSection, AttackTemplate, DatasetSection, InitSection, InitStart, Origin, RecipeSection, Sweep,
};

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
    let source = |init| source_of(sweep, init).map(|source| &source.name);
    let same: Vec<_> = inits(sweep, Start::Ordinary).filter(|other| source(other) == source(robust)).collect();
    if same.is_empty() { inits(sweep, Start::Ordinary).collect() } else { same }
}

/// What an init is pre-trained on last, where it is.
fn source_of<'a>(sweep: &'a Sweep, init: &'a InitSection) -> Option<&'a DatasetSection> {
    match &init.start {
        InitStart::Pretrain(stage) => Some(sweep.dataset_of(&stage.dataset.value)),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

/// Inits of ordinary pre-training on the frequencies up to a radius, each with those on the frequencies beyond it of the same source.
pub(super) fn low_and_high(sweep: &Sweep) -> Vec<[&InitSection; 2]> {
    let band = |init| source_of(sweep, init).and_then(|source| Some((&source.name, source.frequencies?)));
    let mut pairs = Vec::new();
    for low in inits(sweep, Start::Ordinary) {
        let Some((source, FrequencyBand { keep: Pass::Low, radius })) = band(low) else { continue };
        let beyond = Some((source, FrequencyBand { keep: Pass::High, radius }));
        pairs.extend(inits(sweep, Start::Ordinary).filter(|high| band(high) == beyond).map(|high| [low, high]));
    }
    pairs
}

/// The amplitude, in pixels of [0,1], of the cue that tells the letters of an init's source; none where there is no such cue.
pub(super) fn cue(sweep: &Sweep, init: &InitSection) -> Option<f64> {
    let Origin::Glyphs(glyphs) = &source_of(sweep, init)?.origin else { return None };
    let cue = glyphs.cue.filter(|cue| cue.pairing == CuePairing::Label)?;
    Some(f64::from(cue.amplitude) / 255.0)
}

/// Inits of ordinary pre-training on drawn letters that no cue tells.
pub(super) fn without_cue(sweep: &Sweep) -> impl Iterator<Item = &InitSection> {
    let of_letters = |init: &&InitSection| {
        let glyphs = |source: &DatasetSection| matches!(source.origin, Origin::Glyphs(_));
        source_of(sweep, init).is_some_and(glyphs) && cue(sweep, init).is_none()
    };
    inits(sweep, Start::Ordinary).filter(of_letters)
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
