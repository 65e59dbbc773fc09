//! Universal perturbations: one change of all images, crafted on one of two models and shown to both (Moosavi-Dezfooli et al. 2017, arXiv 1610.08401;
//! Shafahi et al. 2020, arXiv 1811.11304).
//!
//! A model is fooled where it predicts another class than for the original, whatever the label says: models with other classes can be compared. The
//! perturbations are crafted on the first examples and judged on the rest, so that what is measured is not what was fitted.

use gauntlet_domain::experiment::UapMethod;
use tch::{Kind, Tensor};

use super::shown::{Progress, indices, logits};
use crate::attacks::{Ball, Crafting, to_tensor};
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::random::{Purpose, Stream};
use crate::training::Wish;

/// How universal perturbations are crafted for an analysis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe<'a> {
    /// Where they may lie.
    pub ball: Ball,
    /// How each is crafted.
    pub by: &'a UapMethod,
    /// Most passes over the examples that they are crafted on.
    pub passes: u32,
    /// Share of these that ends the crafting once fooled.
    pub fooling_rate: f64,
    /// How many examples these are, the first; half of them where it does not say.
    pub craft_examples: Option<u32>,
    /// Names the order of the crafting and the noise.
    pub seed: u64,
}

/// Two universal perturbations and whom they fool.
#[derive(Debug)]
pub struct Crafted {
    /// The perturbation that was crafted on each model, f32 \[1,C,H,W\], in the ball.
    pub perturbations: [Tensor; 2],
    /// Examples that were shown: those that nothing was crafted on.
    pub examples: u64,
    /// Of these, those that fool: `fooled[a][b]` counts what was crafted on model `a` and shown to model `b`.
    pub fooled: [[u64; 2]; 2],
    /// Those on which noise of the same norm fools each model.
    pub noise: [u64; 2],
}

/// Crafts on both models, and shows both perturbations to both, and noise beside them.
///
/// The noise is another one for each image, of length ε: random signs in L∞, a direction drawn evenly in L2. `go_on` hears how many of how many
/// images were gone through; [`Wish::Stop`] ends it.
///
/// # Errors
/// No example left to craft on or to show; a model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn universal(
    models: [&Model; 2],
    examples: &Examples,
    recipe: &Recipe<'_>,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Crafted, LabError> {
    let total = examples.len();
    let crafted_on = recipe.craft_examples.map_or(total / 2, |count| count as usize);
    if crafted_on == 0 || crafted_on >= total {
        let problem =
            format!("of {total} examples {crafted_on} would be crafted on: some are needed, and some beside them");
        return Err(LabError::Spec(problem));
    }
    let to_craft = (crafted_on as u64).saturating_mul(recipe.passes.into());
    let mut progress = Progress::new(2 * to_craft + (total - crafted_on) as u64, go_on)?;
    let mut craft = |model: &Model| {
        let crafting = Crafting {
            model,
            examples,
            count: crafted_on,
            ball: recipe.ball,
            seed: recipe.seed,
            passes: recipe.passes,
            fooling_rate: recipe.fooling_rate,
        };
        let before = progress.done();
        let perturbation = crafting.craft(recipe.by, &mut |images| progress.add(images))?;
        // Passes that were not needed.
        progress.add((before + to_craft).saturating_sub(progress.done()) as usize)?;
        Ok::<Tensor, LabError>(perturbation)
    };
    let perturbations = [craft(models[0])?, craft(models[1])?];
    let shown = (total - crafted_on) as u64;
    let mut found = Crafted { perturbations, examples: shown, fooled: [[0; 2]; 2], noise: [0; 2] };
    for first in (crafted_on..total).step_by(batch_size.max(1)) {
        let count = batch_size.max(1).min(total - first);
        let pixels = examples.range(first, count)?.pixels;
        let noise = noise(recipe.ball, recipe.seed, &pixels, first)?;
        for (judge, model) in models.into_iter().enumerate() {
            let judged = Judged::of(model, &pixels, first)?;
            for crafter in 0..2 {
                found.fooled[crafter][judge] += judged.changed_by(&found.perturbations[crafter])?;
            }
            found.noise[judge] += judged.changed_by(&noise)?;
        }
        progress.add(count)?;
    }
    Ok(found)
}

/// A batch that a model has seen without perturbations.
struct Judged<'a> {
    model: &'a Model,
    pixels: &'a Tensor,
    /// What it predicts, i64 \[n\].
    clean: Tensor,
    examples: Vec<u64>,
}

impl<'a> Judged<'a> {
    fn of(model: &'a Model, pixels: &'a Tensor, first: usize) -> Result<Self, LabError> {
        let examples = indices(first, pixels.size()[0] as usize);
        let clean = logits(model, pixels, &examples)?.f_argmax(1, false)?;
        Ok(Self { model, pixels, clean, examples })
    }

    /// On how many a perturbation, f32 \[1 or n,C,H,W\], changes the prediction.
    fn changed_by(&self, perturbation: &Tensor) -> Result<u64, LabError> {
        let perturbed = self.pixels.f_add(perturbation)?.f_clamp(0.0, 1.0)?;
        let predicted = logits(self.model, &perturbed, &self.examples)?.f_argmax(1, false)?;
        Ok(predicted.f_ne_tensor(&self.clean)?.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64)
    }
}

/// A random perturbation of length ε for each image, f32 \[n,C,H,W\]; the first is that of index `first`.
pub(super) fn noise(ball: Ball, seed: u64, pixels: &Tensor, first: usize) -> Result<Tensor, LabError> {
    let (count, per_image) = (pixels.size()[0] as usize, pixels.size().iter().skip(1).product::<i64>() as usize);
    let mut values = Vec::with_capacity(count * per_image);
    for example in indices(first, count) {
        let mut stream = Stream::new(seed, Purpose::Direction { example });
        values.extend(ball.rim(&mut stream, per_image));
    }
    Ok(to_tensor(&values, pixels)?)
}
