//! Adversarial examples that are wanted for themselves.

use tch::Tensor;

use super::arena::{Arena, Rules};
use super::ball::Ball;
use super::gradient::Pgd;
use super::template::Attack as _;
use crate::error::LabError;
use crate::examples::Batch;
use crate::models::Model;

/// Projected gradient ascent on a model, from each image itself.
#[derive(Clone, Copy)]
pub(crate) struct Ascent<'a> {
    /// The model; its parameters need no gradients.
    pub(crate) model: &'a Model,
    /// Where the examples may lie.
    pub(crate) ball: Ball,
    /// Steps, all of which are taken.
    pub(crate) steps: u32,
    /// Length of a step.
    pub(crate) step_size: f64,
}

impl Ascent<'_> {
    /// Where it leads from each image of a batch, away from its label, also where the model gives it another one; f32 \[n,C,H,W\] in \[0,1\].
    /// `examples` are the indices in the split.
    ///
    /// # Errors
    /// A model whose output is not finite; no memory.
    pub(crate) fn lead(&self, batch: &Batch, examples: &[u64]) -> Result<Tensor, LabError> {
        let Self { model, ball, steps, step_size } = *self;
        let rules = Rules { norm: ball.norm, eps: Some(ball.eps), target: None, early_stop: false, seed: 0 };
        let batch = Batch { pixels: batch.pixels.shallow_clone(), labels: batch.labels.shallow_clone() };
        let pgd = Pgd { steps, step_size, random_start: false, restarts: 1 };
        let led = || {
            let mut arena = Arena::with_all(model, rules, batch, examples.to_vec())?;
            pgd.attempt(&mut arena, 0)?;
            arena.finish()
        };
        let images = led().map_err(|error| located(error, examples))?.images;
        images.ok_or_else(|| LabError::Defect("an arena kept no images".to_owned()))
    }
}

/// The error about a row as one about the example.
fn located(error: LabError, examples: &[u64]) -> LabError {
    match error {
        LabError::NotFinite { example: row, when } => {
            LabError::NotFinite { example: examples.get(row as usize).copied().unwrap_or(row), when }
        }
        other => other,
    }
}
