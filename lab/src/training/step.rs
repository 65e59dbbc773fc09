//! The gradients of one step.

use tch::{Kind, Tensor};

use super::inner::Draws;
use super::objective::Step;
use crate::error::LabError;
use crate::examples::Batch;

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

/// Gradients of a batch by each of `trained`, found part by part where the recipe has micro-batches: each part counts by its share of the images. What
/// the method carries from step to step moves too. `step` describes the whole batch.
///
/// # Errors
/// No memory.
pub fn gradients(
    step: &Step<'_>,
    batch: &Batch,
    micro_batch_size: Option<u32>,
    trained: &[&Tensor],
) -> Result<Gradients, LabError> {
    let images = step.draws.examples.len();
    let most = micro_batch_size.map_or(images, |micro| micro as usize).max(1);
    let mut sums: Option<Gradients> = None;
    for (number, examples) in step.draws.examples.chunks(most).enumerate() {
        let first_row = number * most;
        let (first, count) = (first_row as i64, examples.len() as i64);
        let part =
            Batch { pixels: batch.pixels.f_narrow(0, first, count)?, labels: batch.labels.f_narrow(0, first, count)? };
        let of_part = Step { draws: Draws { examples, ..step.draws }, first_row, ..*step };
        let found = gradients_of_part(&of_part, &part, trained, examples.len() as f64 / images as f64)?;
        sums = Some(match sums {
            None => found,
            Some(sums) => sums.plus(&found)?,
        });
    }
    sums.ok_or_else(|| LabError::Defect("a step without images".to_owned()))
}

fn gradients_of_part(step: &Step<'_>, part: &Batch, trained: &[&Tensor], share: f64) -> Result<Gradients, LabError> {
    let found = step.loss(part)?;
    let loss = found.loss.f_mul_scalar(share)?;
    let wanted: Vec<&Tensor> = trained.iter().copied().chain(&found.leaf).collect();
    let mut gradients = found.passes.gradients(&loss, &wanted)?;
    if found.leaf.is_some()
        && let Some(gradient) = gradients.pop()
    {
        step.ascend(&gradient)?;
    }
    let correct = found.logits.f_argmax(1, false)?.f_eq_tensor(&part.labels)?.f_sum(Kind::Int64)?;
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
