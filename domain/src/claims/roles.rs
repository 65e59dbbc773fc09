//! What the inits and recipes of a sweep are to the study's claims.

use crate::experiment::{AttackMethod, Construction, CuePairing, FrequencyBand, GlyphCue, Knowledge, Objective, Pass};
use crate::sweep::{
    AttackSection, AttackTemplate, DatasetSection, FeatureSet, GlyphSection, InitSection, InitStart, KeptClass,
    KeptClasses, Located, Origin, RecipeSection, Sweep,
};

/// What a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing: freshly drawn weights.
    Scratch,
    /// Pre-training on images as they are, by the sweep or, as its file says, of a checkpoint.
    Ordinary,
    /// Pre-training on perturbed images, likewise.
    Robust,
    /// A checkpoint, of which the file says nothing.
    Imported,
    /// Several pre-trainings of different kinds, one after the other.
    Several,
}

impl Start {
    /// What an init of a sweep starts from.
    pub fn of(sweep: &Sweep, init: &InitSection) -> Self {
        let stage = match &init.start {
            InitStart::Scratch => return Self::Scratch,
            InitStart::Checkpoint { robust: None, .. } => return Self::Imported,
            InitStart::Checkpoint { robust: Some(robust), .. } => {
                return if *robust { Self::Robust } else { Self::Ordinary };
            }
            InitStart::Pretrain(stage) => stage,
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

/// What the images of a source are but for a cue in them and the frequencies that are left of them, as far as the sweep file says.
#[derive(PartialEq)]
struct Images<'a> {
    name: &'a str,
    letters: Option<GlyphSection>,
    train_examples: [Option<u32>; 2],
    first_classes: Option<u32>,
    classes: Vec<&'a KeptClass>,
    side_and_channels: [Option<u32>; 2],
    features: Option<(FeatureSet, usize, &'a Construction)>,
}

impl<'a> Images<'a> {
    fn of(source: &'a DatasetSection) -> Self {
        let value = |count: &Option<Located<u32>>| count.as_ref().map(|count| count.value);
        let letters = match &source.origin {
            Origin::Glyphs(letters) => Some(GlyphSection { cue: None, ..letters.clone() }),
            _ => None,
        };
        let (first_classes, classes) = match source.keep_classes.as_ref().map(|kept| &kept.value) {
            None => (None, Vec::new()),
            Some(KeptClasses::First(count)) => (Some(*count), Vec::new()),
            Some(KeptClasses::Listed(classes)) => (None, classes.iter().map(|class| &class.value).collect()),
        };
        Self {
            name: &source.name,
            letters,
            train_examples: [value(&source.train_examples), value(&source.train_examples_per_class)],
            first_classes,
            classes,
            side_and_channels: [value(&source.image_size), value(&source.channels)],
            features: source
                .features
                .as_ref()
                .map(|Located { value: features, .. }| (features.set, features.from.value, &features.construction)),
        }
    }
}

/// The cue in the letters of a source, if there is one.
fn cue_in(source: &DatasetSection) -> Option<GlyphCue> {
    match &source.origin {
        Origin::Glyphs(letters) => letters.cue,
        _ => None,
    }
}

/// What an init is pre-trained on last, where it is.
fn source_of<'a>(sweep: &'a Sweep, init: &'a InitSection) -> Option<&'a DatasetSection> {
    match &init.start {
        InitStart::Pretrain(stage) => Some(sweep.dataset_of(&stage.dataset.value)),
        InitStart::Scratch | InitStart::Checkpoint { .. } => None,
    }
}

/// Inits of ordinary pre-training that an init of robust pre-training is held against: those with the same source, or all if there are none.
pub(super) fn counterparts<'a>(sweep: &'a Sweep, robust: &'a InitSection) -> Vec<&'a InitSection> {
    let source = |init: &'a InitSection| {
        source_of(sweep, init).map(|source| (Images::of(source), source.frequencies, cue_in(source)))
    };
    let same: Vec<_> = inits(sweep, Start::Ordinary).filter(|other| source(other) == source(robust)).collect();
    if same.is_empty() { inits(sweep, Start::Ordinary).collect() } else { same }
}

/// Inits of ordinary pre-training on the frequencies up to a radius, each with those on the frequencies beyond it of the same images.
pub(super) fn low_and_high(sweep: &Sweep) -> Vec<[&InitSection; 2]> {
    let band = |init| {
        let source = source_of(sweep, init)?;
        Some((Images::of(source), cue_in(source), source.frequencies?))
    };
    let mut pairs = Vec::new();
    for low in inits(sweep, Start::Ordinary) {
        let Some((images, cue, FrequencyBand { keep: Pass::Low, radius })) = band(low) else { continue };
        let beyond = Some((images, cue, FrequencyBand { keep: Pass::High, radius }));
        pairs.extend(inits(sweep, Start::Ordinary).filter(|high| band(high) == beyond).map(|high| [low, high]));
    }
    pairs
}

/// An init of ordinary pre-training on letters that a planted cue tells.
pub(super) struct Cued<'a> {
    pub init: &'a InitSection,
    /// Of the cue, in pixels of [0,1].
    pub amplitude: f64,
    /// Inits of ordinary pre-training on the same letters without a cue, or with one that tells nothing.
    pub controls: Vec<&'a InitSection>,
}

/// Every init whose letters a planted cue tells.
pub(super) fn cued(sweep: &Sweep) -> Vec<Cued<'_>> {
    let telling = |source: &DatasetSection| cue_in(source).filter(|cue| cue.pairing == CuePairing::Label);
    let sources: Vec<(&InitSection, &DatasetSection)> =
        inits(sweep, Start::Ordinary).filter_map(|init| Some((init, source_of(sweep, init)?))).collect();
    let mut found = Vec::new();
    for (init, source) in &sources {
        let Some(cue) = telling(source) else { continue };
        let same =
            |other: &DatasetSection| Images::of(other) == Images::of(source) && other.frequencies == source.frequencies;
        let is_control = |(_, other): &&(&InitSection, &DatasetSection)| same(other) && telling(other).is_none();
        let controls = sources.iter().filter(is_control).map(|(init, _)| *init).collect();
        found.push(Cued { init, amplitude: f64::from(cue.amplitude) / 255.0, controls });
    }
    found
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
