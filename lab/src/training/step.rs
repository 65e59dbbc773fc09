//! The gradients of one step.

use gauntlet_domain::experiment::Recipe;
use tch::{Kind, Tensor};

use super::inner::Draws;
use super::objective::step_loss;
use crate::error::LabError;
use crate::examples::Batch;
use crate::models::Model;

/// What a step is made of.
#[derive(Debug)]
pub struct Gradients {
    /// One for each trained parameter.
    pub gradients: Vec<Tensor>,
    /// The objective over the whole batch, in nats.
    pub loss: f64,
    /// Images classified right as they were shown.
    pub correct: f64,
}

/// Gradients of a batch by each of `trained`, found part by part where the recipe has micro-batches: each part counts by its share of the images.
///
/// # Errors
/// No memory.
pub fn gradients(
    model: &Model,
    batch: &Batch,
    recipe: &Recipe,
    trained: &[&Tensor],
    seed: u64,
    iteration: u32,
) -> Result<Gradients, LabError> {
    let images = batch.labels.size()[0];
    let most = recipe.micro_batch_size.map_or(images, |micro| i64::from(micro).clamp(1, images.max(1)));
    let mut sums: Option<Gradients> = None;
    let mut first = 0;
    while first < images {
        let count = most.min(images - first);
        let part =
            Batch { pixels: batch.pixels.f_narrow(0, first, count)?, labels: batch.labels.f_narrow(0, first, count)? };
        let draws = Draws { seed, iteration, before: first as usize };
        let found = of_part(model, &part, recipe, trained, draws, count as f64 / images as f64)?;
        sums = Some(match sums {
            None => found,
            Some(sums) => sums.plus(&found)?,
        });
        first += count;
    }
    sums.ok_or_else(|| LabError::Defect("a step without images".to_owned()))
}

fn of_part(
    model: &Model,
    part: &Batch,
    recipe: &Recipe,
    trained: &[&Tensor],
    draws: Draws,
    share: f64,
) -> Result<Gradients, LabError> {
    let step = step_loss(model, part, &recipe.objective, draws)?;
    let loss = step.loss.f_mul_scalar(share)?;
    let gradients = step.passes.gradients(&loss, trained)?;
    let correct = step.logits.f_argmax(1, false)?.f_eq_tensor(&part.labels)?.f_sum(Kind::Int64)?;
    Ok(Gradients { gradients, loss: loss.f_double_value(&[])?, correct: correct.f_double_value(&[])? })
}

impl Gradients {
    fn plus(mut self, other: &Self) -> tch::Result<Self> {
        for (sum, part) in self.gradients.iter_mut().zip(&other.gradients) {
            *sum = sum.f_add(part)?;
        }
        self.loss += other.loss;
        self.correct += other.correct;
        Ok(self)
    }
}
