//! What the inits and recipes of a sweep are to the study's claims.

use crate::experiment::{
    AttackMethod, Construction, CuePairing, Fit, FrequencyBand, GlyphCue, Knowledge, Objective, Pass, Recipe,
};
use crate::sweep::{
    AttackSection, AttackTemplate, DatasetSection, FeatureSet, Freeze, GlyphSection, InitSection, InitStart, KeptClass,
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
    kept: Kept<'a>,
    side_and_channels: [Option<u32>; 2],
    features: Option<(FeatureSet, usize, &'a Construction)>,
    fit: Fit,
}

impl<'a> Images<'a> {
    fn of(source: &'a DatasetSection) -> Self {
        let value = |count: &Option<Located<u32>>| count.as_ref().map(|count| count.value);
        let letters = match &source.origin {
            Origin::Glyphs(letters) => Some(GlyphSection { cue: None, ..letters.clone() }),
            _ => None,
        };
        Self {
            name: &source.name,
            letters,
            train_examples: [value(&source.train_examples), value(&source.train_examples_per_class)],
            kept: Kept::of(source),
            side_and_channels: [value(&source.image_size), value(&source.channels)],
            features: source
                .features
                .as_ref()
                .map(|Located { value: features, .. }| (features.set, features.from.value, &features.construction)),
            fit: source.fit,
        }
    }
}

/// The classes of a source that are kept.
#[derive(PartialEq)]
enum Kept<'a> {
    All,
    First(u32),
    Listed(Vec<&'a KeptClass>),
}

impl<'a> Kept<'a> {
    fn of(source: &'a DatasetSection) -> Self {
        match source.keep_classes.as_ref().map(|kept| &kept.value) {
            None => Self::All,
            Some(KeptClasses::First(count)) => Self::First(*count),
            Some(KeptClasses::Listed(classes)) => Self::Listed(classes.iter().map(|class| &class.value).collect()),
        }
    }

    /// Whether all classes of this are certainly kept in the other.
    fn lies_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::First(count), Self::First(of)) => count <= of,
            (Self::Listed(classes), Self::Listed(of)) => classes.iter().all(|class| of.contains(class)),
            _ => false,
        }
    }
}

/// Classes of a source. All of a data set count as more than any number that is kept of them, where the file does not tell how many they are.
fn classes(source: &DatasetSection) -> u32 {
    match Kept::of(source) {
        Kept::All => source.classes.as_ref().map_or(u32::MAX, |classes| classes.value),
        Kept::First(count) => count,
        Kept::Listed(classes) => classes.len() as u32,
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

/// Inits of ordinary pre-training whose sources differ in nothing but how many of the same classes are kept: each with those of the next fewer.
pub(super) fn more_and_fewer_classes(sweep: &Sweep) -> Vec<[&InitSection; 2]> {
    let mut found = Vec::new();
    for more in inits(sweep, Start::Ordinary) {
        let fewer: Vec<(&InitSection, u32)> =
            inits(sweep, Start::Ordinary).filter_map(|init| Some((init, fewer_classes(sweep, more, init)?))).collect();
        let most = fewer.iter().map(|(_, classes)| *classes).max();
        found.extend(fewer.iter().filter(|(_, classes)| Some(*classes) == most).map(|(init, _)| [more, *init]));
    }
    found
}

/// The classes of an init's source, if it differs from another in nothing but that it keeps fewer of the same ones.
fn fewer_classes(sweep: &Sweep, more: &InitSection, init: &InitSection) -> Option<u32> {
    let (InitStart::Pretrain(stage), InitStart::Pretrain(of_more)) = (&init.start, &more.start) else { return None };
    let (source, other) = (source_of(sweep, init)?, source_of(sweep, more)?);
    let whole = |source| Images { kept: Kept::All, ..Images::of(source) };
    let same_images = whole(source) == whole(other)
        && source.frequencies == other.frequencies
        && cue_in(source) == cue_in(other)
        && Kept::of(source).lies_within(&Kept::of(other));
    let recipes = [stage, of_more].map(|stage| sweep.recipe_of(&stage.recipe.value));
    let same_training = recipes[0].training == recipes[1].training
        && frozen(recipes[0]) == frozen(recipes[1])
        && (stage.init, stage.seed) == (of_more.init, of_more.seed);
    (same_images && same_training && classes(source) < classes(other)).then(|| classes(source))
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

fn frozen(recipe: &RecipeSection) -> Option<&Freeze> {
    recipe.freeze.as_ref().map(|freeze| &freeze.value)
}

/// Peak learning rates of backbone and head.
fn rates(recipe: &Recipe) -> [f64; 2] {
    let backbone = recipe.optimizer.learning_rate();
    [backbone, recipe.head_learning_rate.unwrap_or(backbone)]
}

/// Whether two recipes of ordinary training are the same but perhaps for learning rates and what is frozen.
fn are_relatives(one: &RecipeSection, other: &RecipeSection) -> bool {
    let but_for_rates = |recipe: &RecipeSection| {
        let training = recipe.training.clone()?;
        let optimizer = training.optimizer.with_learning_rate(0.0);
        Some(Recipe { optimizer, head_learning_rate: None, ..training })
    };
    is_ordinary(one) && is_ordinary(other) && but_for_rates(one) == but_for_rates(other)
}

fn have_the_same_rates(one: &RecipeSection, other: &RecipeSection) -> bool {
    one.training.as_ref().map(rates) == other.training.as_ref().map(rates)
}

/// Whether two recipes of ordinary training differ in learning rates or in what is frozen, and in nothing else.
pub(super) fn differ_in_rates_or_freezing_alone(one: &RecipeSection, other: &RecipeSection) -> bool {
    are_relatives(one, other) && !(have_the_same_rates(one, other) && frozen(one) == frozen(other))
}

/// Whether two recipes of ordinary training differ in what is frozen, and in nothing else.
pub(super) fn differ_in_freezing_alone(one: &RecipeSection, other: &RecipeSection) -> bool {
    are_relatives(one, other) && have_the_same_rates(one, other) && frozen(one) != frozen(other)
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
