//! What tasks are expected to cost, for estimates and order only.
//!
//! Work is counted in passes of one image through the network, a forward pass being 1. A backward pass to weights and input is two more; one to the
//! input alone about 1.5 more (two convolutions of three, measured on a CPU). Early stopping is not foreseen: an attack costs what it costs if it
//! fails on every example.

use crate::experiment::{
    ApgdLoss, AttackMethod, AttackSpec, AutoAttackVersion, Backbone, ImageShape, Length, Objective, Recipe, Stem,
    TrainSpec,
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
    cost(images * passes, spec.model.backbone, spec.dataset.image)
}

/// Cost of an evaluation.
pub(super) fn attack(spec: &AttackSpec) -> f64 {
    let passes = FORWARD + attack_passes(&spec.attack.method, spec.model.classes);
    cost(f64::from(spec.dataset.examples) * passes, spec.model.backbone, spec.dataset.image)
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

fn cost(passes: f64, backbone: Backbone, image: ImageShape) -> f64 {
    passes / TRAINING_STEP * multiply_adds(backbone, image) as f64 / 1e9
}

/// Multiply-adds of the convolutions of one forward pass; the head and the normalisations are small beside them.
fn multiply_adds(backbone: Backbone, image: ImageShape) -> u64 {
    let layout = backbone.layout();
    let half = |(height, width): (u64, u64)| (height.div_ceil(2), width.div_ceil(2));
    let mut area = half((image.height.into(), image.width.into()));
    let pixels = |(height, width): (u64, u64)| height * width;
    let kernel = u64::from(layout.stem.kernel_size());
    let mut total = pixels(area) * u64::from(layout.width) * u64::from(image.channels) * kernel * kernel;
    if layout.stem == Stem::ImageNet {
        area = half(area);
    }
    let mut inputs = u64::from(layout.width);
    for (stage, blocks) in layout.blocks.into_iter().enumerate() {
        let outputs = u64::from(layout.width) << stage;
        for block in 0..blocks {
            if block == 0 && stage > 0 {
                area = half(area);
                total += pixels(area) * inputs * outputs;
            }
            total += pixels(area) * 9 * outputs * (inputs + outputs);
            inputs = outputs;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet18_needs_1_8_billion_multiply_adds_at_224() {
        // torchvision's documentation: 1.81 GFLOPS (it counts multiply-adds).
        let image = ImageShape { channels: 3, height: 224, width: 224 };
        let count = multiply_adds(Backbone::ResNet18, image) as f64 / 1e9;
        assert!((count - 1.81).abs() < 0.01, "{count}");
    }
}
