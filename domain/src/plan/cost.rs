//! What tasks are expected to cost, for estimates and order only.
//!
//! Work is counted in passes of one image through the network, a forward pass being 1. A backward pass to weights and input is two more; one to the
//! input alone about 1.5 more (two convolutions of three, measured on a CPU). Early stopping is not foreseen: an attack costs what it costs if it
//! fails on every example.

use crate::experiment::{
    AttackMethod, AttackSpec, Backbone, Criterion, Frozen, ImageShape, InnerAttack, Length, Objective, Recipe, Stem,
    TrainSpec,
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
    cost(whole + head + validation(recipe, examples), spec.model.backbone, spec.dataset.image)
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
    let passes = FORWARD
        + match &spec.attack.method {
            AttackMethod::Noise { draws } => f64::from(*draws) * FORWARD,
            AttackMethod::Fgsm => INPUT_GRADIENT + FORWARD,
            AttackMethod::Pgd { steps, restarts, .. } => {
                f64::from(*restarts) * (f64::from(*steps) * INPUT_GRADIENT + FORWARD)
            }
        };
    cost(f64::from(spec.dataset.examples) * passes, spec.model.backbone, spec.dataset.image)
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
