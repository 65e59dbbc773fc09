//! What tasks are expected to cost, for estimates and order only.
//!
//! Work is counted in passes of one image through the network, a forward pass being 1. A backward pass to weights and input is two more; one to the
//! input alone about 1.5 more (two convolutions of three, measured on a CPU). Early stopping is not foreseen: an attack costs what it costs if it
//! fails on every example.

use crate::experiment::{
    AnalysisMethod, AnalysisSpec, ApgdLoss, Ascents, AttackMethod, AttackSpec, AutoAttackVersion, Criterion, Frozen,
    ImageShape, InnerAttack, Length, ModelSpec, Objective, Recipe, TrainSpec, UapMethod,
};

const FORWARD: f64 = 1.0;
const TRAINING_STEP: f64 = 3.0;
const INPUT_GRADIENT: f64 = 2.5;

/// Cost of a training, in the unit of [`super::PlannedTask::cost`].
pub(super) fn training(spec: &TrainSpec) -> f64 {
    let (recipe, examples) = (&spec.recipe, spec.dataset.examples);
    let images =
        |length, replays| steps_of(recipe, length, replays, examples) as f64 * f64::from(batch(recipe, examples));
    let whole = images(recipe.length, recipe.objective.replays())
        * passes(&recipe.objective, recipe.frozen == Frozen::Backbone);
    let head = recipe.head_first.as_ref();
    let head = head.map_or(0.0, |first| images(first.length, 1) * passes(&first.objective, true));
    cost(whole + head + validation(recipe, examples), &spec.model, spec.dataset.image)
}

/// Passes of the validations after each epoch.
fn validation(recipe: &Recipe, examples: u32) -> f64 {
    let Some(validation) = &recipe.validation else { return 0.0 };
    let replays = recipe.objective.replays();
    let head = recipe.head_first.as_ref().map_or(0, |first| epochs_of(recipe, first.length, 1, examples));
    let epochs = head + epochs_of(recipe, recipe.length, replays, examples);
    let robust = recipe.objective.inner().filter(|_| validation.select_by == Criterion::RobustAccuracy);
    let attack = robust.map_or(0.0, |inner| f64::from(inner.steps) * INPUT_GRADIENT + FORWARD);
    epochs as f64 * f64::from(validation.examples(examples)) * (FORWARD + attack)
}

/// Passes of one image in a step. Where the head alone is trained nothing is differentiated by the backbone's weights. Frozen stages are counted as if
/// they were trained.
fn passes(objective: &Objective, head_only: bool) -> f64 {
    let step = if head_only { FORWARD } else { TRAINING_STEP };
    let crafting = |inner: &InnerAttack| f64::from(inner.steps) * INPUT_GRADIENT;
    match objective {
        Objective::Standard => step,
        Objective::PgdAt { inner } | Objective::FastAt { inner } | Objective::Twins { inner, .. } => {
            crafting(inner) + step
        }
        Objective::FreeAt { .. } => TRAINING_STEP,
        // What the clean images give once, then two or three passes in one step.
        Objective::Trades { inner, .. } => FORWARD + crafting(inner) + 3.0 * step,
        Objective::Mart { inner, .. } => crafting(inner) + 2.0 * step,
        Objective::Dm { inner, .. } => FORWARD + crafting(inner) + 2.0 * step,
    }
}

/// Cost of an evaluation.
pub(super) fn attack(spec: &AttackSpec) -> f64 {
    let method = &spec.attack.method;
    let examples = f64::from(spec.dataset.examples);
    let passes =
        examples * (FORWARD + attack_passes(method, spec.model.classes)) + crafting(method, spec.model.classes);
    let own = cost(passes, &spec.model, spec.dataset.image);
    match method {
        AttackMethod::Transfer { source, by } => {
            let passes = examples * attack_passes(by, source.model.classes);
            own + cost(passes, &source.model, spec.dataset.image)
        }
        _ => own,
    }
}

/// Cost of an analysis.
pub(super) fn analysis(spec: &AnalysisSpec) -> f64 {
    let each = match &spec.method {
        AnalysisMethod::Similarity { .. } => FORWARD,
        // The low and the high frequencies of each.
        AnalysisMethod::Frequency { radii } => 2.0 * radii.len() as f64 * FORWARD,
        // Opposite frequencies are one wave.
        AnalysisMethod::HeatMap { norm: _, reach } => (2.0 * f64::from(*reach) + 1.0).powi(2) / 2.0 * FORWARD,
        // And once as they are.
        AnalysisMethod::Corruptions { kinds, severities } => (1 + kinds.len() * severities.len()) as f64 * FORWARD,
        // Each model crafts and is shown what both have crafted.
        AnalysisMethod::Transfer { by, .. } => FORWARD + ascents(by) + 2.0 * by.epsilons.len() as f64 * FORWARD,
        // The model's part; originals, both perturbations and noise are shown to it.
        AnalysisMethod::Uap { .. } => 4.0 * FORWARD,
        AnalysisMethod::Confidence { by } => FORWARD + ascents(by) + by.epsilons.len() as f64 * FORWARD,
        AnalysisMethod::Spectrum { by } => ascents(by),
        AnalysisMethod::Saliency { steps, .. } => FORWARD + (1.0 + f64::from(*steps)) * INPUT_GRADIENT,
        // What the finished images look like is asked once more.
        AnalysisMethod::RobustFeatures { construction } => {
            2.0 * FORWARD + f64::from(construction.steps()) * INPUT_GRADIENT
        }
        AnalysisMethod::Landscape { distances } => FORWARD + INPUT_GRADIENT + 2.0 * distances.len() as f64 * FORWARD,
    };
    let cost_of = |model: &ModelSpec| {
        let passes = f64::from(spec.dataset.examples) * each + universal_crafting(spec, model.classes);
        cost(passes, model, spec.dataset.image)
    };
    cost_of(&spec.model) + spec.against.as_ref().map_or(0.0, |other| cost_of(&other.model))
}

/// Passes of an image for its adversarial examples at every radius.
fn ascents(by: &Ascents) -> f64 {
    by.epsilons.len() as f64 * (f64::from(by.steps) * INPUT_GRADIENT + 2.0 * FORWARD)
}

/// Work on the examples that an analysis crafts a universal perturbation on.
fn universal_crafting(spec: &AnalysisSpec, classes: u32) -> f64 {
    let AnalysisMethod::Uap { by, passes, craft_examples, .. } = &spec.method else { return 0.0 };
    universal(by, *passes, craft_examples.unwrap_or(spec.dataset.examples / 2), classes)
}

/// Work on the examples that a universal perturbation is crafted on, if all passes are needed.
fn crafting(method: &AttackMethod, classes: u32) -> f64 {
    let AttackMethod::Uap { crafted_on, by, passes, .. } = method else { return 0.0 };
    universal(by, *passes, crafted_on.examples, classes)
}

fn universal(by: &UapMethod, passes: u32, examples: u32, classes: u32) -> f64 {
    let each = match by {
        UapMethod::DeepFool { steps, candidates, .. } => deepfool_passes(*steps, *candidates, classes),
        UapMethod::Gradient { .. } => INPUT_GRADIENT,
    };
    // After each pass all are asked whether they are fooled.
    f64::from(passes) * f64::from(examples) * (each + FORWARD)
}

/// A step needs the gradient of the logit of each candidate.
fn deepfool_passes(steps: u32, candidates: u32, classes: u32) -> f64 {
    f64::from(steps) * by_class(candidates.min(classes)) + FORWARD
}

/// A step that needs the gradient of each logit goes back once for each class.
fn by_class(classes: u32) -> f64 {
    FORWARD + f64::from(classes) * (INPUT_GRADIENT - FORWARD)
}

/// Work of an attack on one example that withstands it, in passes as above.
fn attack_passes(method: &AttackMethod, classes: u32) -> f64 {
    let iterated = |tries: u32, steps: u32| f64::from(tries) * (f64::from(steps) * INPUT_GRADIENT + FORWARD);
    let targets = |wanted: u32| wanted.min(classes.saturating_sub(1)).max(1);
    match method {
        AttackMethod::Noise { draws } => f64::from(*draws) * FORWARD,
        AttackMethod::Fgsm => iterated(1, 1),
        AttackMethod::Pgd { steps, restarts, .. } | AttackMethod::Feature { steps, restarts, .. } => {
            iterated(*restarts, *steps)
        }
        AttackMethod::MiFgsm { steps, .. } | AttackMethod::DiFgsm { steps, .. } => iterated(1, *steps),
        AttackMethod::Cw { steps, binary_search_steps, .. } => iterated(*binary_search_steps, *steps),
        AttackMethod::DeepFool { steps, candidates, .. } => deepfool_passes(*steps, *candidates, classes),
        AttackMethod::Apgd { loss, steps, restarts, target_classes, .. } => {
            let tries = if *loss == ApgdLoss::DlrTargeted { targets(*target_classes) } else { 1 };
            iterated(restarts.saturating_mul(tries), *steps)
        }
        AttackMethod::Fab { targeted, steps, restarts, target_classes, .. } => {
            let step = if *targeted { FORWARD + INPUT_GRADIENT } else { FORWARD + by_class(classes) };
            let tries = if *targeted { targets(*target_classes) } else { 1 };
            f64::from(*restarts) * f64::from(tries) * f64::from(*steps) * step
        }
        AttackMethod::Square { queries, restarts, .. } => f64::from(*restarts) * f64::from(*queries) * FORWARD,
        AttackMethod::AutoAttack { version } => autoattack_passes(*version, classes),
        // What was crafted elsewhere is shown once.
        AttackMethod::Uap { .. } | AttackMethod::Transfer { .. } => FORWARD,
    }
}

/// AutoAttack's parts with their published settings: 100 steps, nine target classes, 5,000 queries.
fn autoattack_passes(version: AutoAttackVersion, classes: u32) -> f64 {
    let targets = f64::from(classes.saturating_sub(1).clamp(1, 9));
    let apgd = 100.0 * INPUT_GRADIENT;
    let fab = 100.0 * (FORWARD + INPUT_GRADIENT);
    let square = 5_000.0 * FORWARD;
    match version {
        AutoAttackVersion::Standard => apgd + targets * (apgd + fab) + square,
        AutoAttackVersion::Plus => 10.0 * apgd + targets * (apgd + fab) + 5.0 * fab + square,
        AutoAttackVersion::Rand => 2.0 * 20.0 * apgd,
    }
}

/// Images of a step, for a train split of so many examples.
pub(super) fn batch(recipe: &Recipe, examples: u32) -> u32 {
    recipe.batch_size.min(recipe.training_examples(examples))
}

/// Steps of a training, its first phase included; an incomplete last batch of an epoch is dropped unless it is the only one.
pub(super) fn steps(recipe: &Recipe, examples: u32) -> u64 {
    let head = recipe.head_first.as_ref().map_or(0, |first| steps_of(recipe, first.length, 1, examples));
    head.saturating_add(steps_of(recipe, recipe.length, recipe.objective.replays(), examples))
}

fn steps_of(recipe: &Recipe, length: Length, replays: u32, examples: u32) -> u64 {
    match length {
        Length::Epochs(epochs) => {
            (u64::from(epochs) * batches_per_epoch(recipe, examples)).saturating_mul(replays.into())
        }
        Length::Iterations(iterations) => iterations.into(),
    }
}

/// Epochs that a phase begins.
fn epochs_of(recipe: &Recipe, length: Length, replays: u32, examples: u32) -> u64 {
    let steps_per_epoch = batches_per_epoch(recipe, examples).saturating_mul(replays.into()).max(1);
    steps_of(recipe, length, replays, examples).div_ceil(steps_per_epoch)
}

fn batches_per_epoch(recipe: &Recipe, examples: u32) -> u64 {
    u64::from(recipe.training_examples(examples) / batch(recipe, examples).max(1)).max(1)
}

fn cost(passes: f64, model: &ModelSpec, image: ImageShape) -> f64 {
    passes / TRAINING_STEP * model.multiply_adds(image) as f64 / 1e9
}
