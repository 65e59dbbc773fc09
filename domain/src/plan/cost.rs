//! What tasks are expected to cost, for estimates and order only.
//!
//! Work is counted in passes of one image through the network, a forward pass being 1. A backward pass to weights and input is two more; one to the
//! input alone about 1.5 more (two convolutions of three, measured on a CPU). Early stopping is not foreseen: an attack costs what it costs if it
//! fails on every example.

use crate::experiment::{
    ApgdLoss, AttackMethod, AttackSpec, AutoAttackVersion, ImageShape, Length, ModelSpec, Objective, Recipe, TrainSpec,
};

const FORWARD: f64 = 1.0;
const TRAINING_STEP: f64 = 3.0;
const INPUT_GRADIENT: f64 = 2.5;

/// Cost of a training, in the unit of [`super::PlannedTask::cost`].
pub(super) fn training(spec: &TrainSpec) -> f64 {
    let images =
        steps(&spec.recipe, spec.dataset.examples) as f64 * f64::from(batch(&spec.recipe, spec.dataset.examples));
    let passes = match &spec.recipe.objective {
        Objective::Standard => TRAINING_STEP,
        Objective::PgdAt { inner } => f64::from(inner.steps) * INPUT_GRADIENT + TRAINING_STEP,
        // The features of the clean images once, then clean and adversarial images in one step.
        Objective::Dm { inner, .. } => FORWARD + f64::from(inner.steps) * INPUT_GRADIENT + 2.0 * TRAINING_STEP,
    };
    cost(images * passes, &spec.model, spec.dataset.image)
}

/// Cost of an evaluation.
pub(super) fn attack(spec: &AttackSpec) -> f64 {
    let passes = FORWARD + attack_passes(&spec.attack.method, spec.model.classes);
    cost(f64::from(spec.dataset.examples) * passes, &spec.model, spec.dataset.image)
}

/// Work of an attack on one example that withstands it, in passes as above.
fn attack_passes(method: &AttackMethod, classes: u32) -> f64 {
    let iterated = |tries: u32, steps: u32| f64::from(tries) * (f64::from(steps) * INPUT_GRADIENT + FORWARD);
    // A step that needs the gradient of each logit goes back once for each class.
    let by_class = |classes: u32| FORWARD + f64::from(classes) * (INPUT_GRADIENT - FORWARD);
    let targets = |wanted: u32| wanted.min(classes.saturating_sub(1)).max(1);
    match method {
        AttackMethod::Noise { draws } => f64::from(*draws) * FORWARD,
        AttackMethod::Fgsm => iterated(1, 1),
        AttackMethod::Pgd { steps, restarts, .. } | AttackMethod::Feature { steps, restarts, .. } => {
            iterated(*restarts, *steps)
        }
        AttackMethod::MiFgsm { steps, .. } | AttackMethod::DiFgsm { steps, .. } => iterated(1, *steps),
        AttackMethod::Cw { steps, binary_search_steps, .. } => iterated(*binary_search_steps, *steps),
        AttackMethod::DeepFool { steps, candidates, .. } => {
            f64::from(*steps) * by_class((*candidates).min(classes)) + FORWARD
        }
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
        // The crafting is shared by all examples; each is asked once.
        AttackMethod::Uap { .. } => FORWARD,
        AttackMethod::Transfer { by, .. } => attack_passes(by, classes) + FORWARD,
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

/// Images of a step.
pub(super) fn batch(recipe: &Recipe, examples: u32) -> u32 {
    recipe.batch_size.min(examples)
}

/// Steps of a training; an incomplete last batch of an epoch is dropped unless it is the only one.
pub(super) fn steps(recipe: &Recipe, examples: u32) -> u64 {
    match recipe.length {
        Length::Epochs(epochs) => u64::from(epochs) * u64::from(examples / batch(recipe, examples).max(1)),
        Length::Iterations(iterations) => iterations.into(),
    }
}

fn cost(passes: f64, model: &ModelSpec, image: ImageShape) -> f64 {
    passes / TRAINING_STEP * model.backbone.multiply_adds(model.stem, image) as f64 / 1e9
}
