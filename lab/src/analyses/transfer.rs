//! Adversarial examples of one model, shown to another, and the other way round (Szegedy et al. 2014, arXiv 1312.6199; Papernot et al. 2016, arXiv
//! 1605.07277).
//!
//! A model is fooled where it predicts another class than for the original. Of two models with the same classes the examples count that both get right;
//! of models with classes of their own all examples do. Either way each model is attacked away from what it predicts for the original.

use gauntlet_domain::experiment::{AnalysisImage, Ascents, OtherClasses};
use tch::{Kind, Tensor};

use super::pictures;
use super::shown::{Progress, indices, logits};
use crate::attacks::{Ascent, Ball};
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::Model;
use crate::training::Wish;

/// Examples of which images are left.
const SHOWN: usize = 4;

/// How many adversarial examples of one radius fool which model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transferred {
    /// The radius, in pixel space.
    pub eps: f64,
    /// Examples that were attacked.
    pub eligible: u64,
    /// Of these, those that fool: `fooled[a][b]` counts what was crafted on model `a` and shown to model `b`.
    pub fooled: [[u64; 2]; 2],
}

/// The examples of a batch that count.
struct Attacked {
    pixels: Tensor,
    /// What each model predicts for the originals, i64 \[n\].
    clean: [Tensor; 2],
    /// Indices in the split.
    examples: Vec<u64>,
}

/// Crafts on both models at each radius and shows what was crafted to both.
///
/// Every step is taken for every example, so that what is passed on does not depend on when the model that it was crafted on is fooled. `go_on` hears how
/// many images of how many were crafted, those of examples that do not count included; [`Wish::Stop`] ends it.
///
/// # Errors
/// A model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn transfer(
    models: [&Model; 2],
    examples: &Examples,
    (by, other_classes): (&Ascents, OtherClasses),
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<Transferred>, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let mut found: Vec<Transferred> =
        by.epsilons.iter().map(|eps| Transferred { eps: *eps, eligible: 0, fooled: [[0; 2]; 2] }).collect();
    let mut progress = Progress::new((2 * count * found.len()) as u64, go_on)?;
    for first in (0..count).step_by(step) {
        let size = step.min(count - first);
        let attacked = Attacked::of(models, &examples.range(first, size)?, first, other_classes)?;
        for at in &mut found {
            at.eligible += attacked.examples.len() as u64;
            for crafter in 0..2 {
                let fooled = attacked.fooled(models, crafter, by, at.eps)?;
                at.fooled[crafter].iter_mut().zip(fooled).for_each(|(sum, more)| *sum += more);
                progress.add(size)?;
            }
        }
    }
    Ok(found)
}

/// The first examples, attacked on a model within the largest radius: the original, the adversarial example, and what was added to it, amplified.
///
/// # Errors
/// As [`transfer`].
pub fn pictures(model: &Model, examples: &Examples, by: &Ascents) -> Result<Vec<AnalysisImage>, LabError> {
    let eps = by.epsilons.iter().copied().fold(0.0, f64::max);
    let room = pictures::room(&examples.range(0, 1)?.pixels) / 3;
    let batch = examples.range(0, SHOWN.min(room).min(examples.len()))?;
    let all = indices(0, batch.labels.numel());
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let labels = logits(model, &batch.pixels, &all)?.f_argmax(1, false)?;
    let ascent = Ascent { model, ball: Ball { norm: by.norm, eps }, steps: by.steps, step_size: by.step_of_eps * eps };
    let attacked = ascent.lead(&Batch { pixels: batch.pixels.shallow_clone(), labels }, &all)?;
    let mut images = Vec::new();
    for row in 0..all.len() as i64 {
        let [original, adversarial] = [batch.pixels.f_get(row)?, attacked.f_get(row)?];
        images.push(pictures::picture(format!("example-{row}-original"), &original)?);
        images.push(pictures::picture(format!("example-{row}-adversarial"), &adversarial)?);
        images.push(pictures::amplified(format!("example-{row}-difference"), &adversarial.f_sub(&original)?)?);
    }
    Ok(images)
}

impl Attacked {
    fn of(models: [&Model; 2], batch: &Batch, first: usize, classes: OtherClasses) -> Result<Self, LabError> {
        let all = indices(first, batch.labels.numel());
        let predicted = |model| Ok::<Tensor, LabError>(logits(model, &batch.pixels, &all)?.f_argmax(1, false)?);
        let clean = [predicted(models[0])?, predicted(models[1])?];
        if classes == OtherClasses::Own {
            return Ok(Self { pixels: batch.pixels.shallow_clone(), clean, examples: all });
        }
        let right = |clean: &Tensor| clean.f_eq_tensor(&batch.labels);
        let eligible = right(&clean[0])?.f_logical_and(&right(&clean[1])?)?;
        let rows = eligible.f_nonzero()?.f_view([-1])?;
        let kept: Vec<i64> = Vec::try_from(&rows)?;
        let [first, second] = clean.map(|clean| clean.f_index_select(0, &rows));
        Ok(Self {
            pixels: batch.pixels.f_index_select(0, &rows)?,
            clean: [first?, second?],
            examples: kept.iter().map(|row| all[*row as usize]).collect(),
        })
    }

    /// How many of the examples that are crafted on model number `crafter` fool each model.
    fn fooled(&self, models: [&Model; 2], crafter: usize, by: &Ascents, eps: f64) -> Result<[u64; 2], LabError> {
        if self.examples.is_empty() {
            return Ok([0; 2]);
        }
        let ball = Ball { norm: by.norm, eps };
        let ascent = Ascent { model: models[crafter], ball, steps: by.steps, step_size: by.step_of_eps * eps };
        let batch = Batch { pixels: self.pixels.shallow_clone(), labels: self.clean[crafter].shallow_clone() };
        let images = ascent.lead(&batch, &self.examples)?;
        let changed = |judge: usize| {
            let predicted = logits(models[judge], &images, &self.examples)?.f_argmax(1, false)?;
            let changed = predicted.f_ne_tensor(&self.clean[judge])?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
            Ok::<u64, LabError>(changed as u64)
        };
        Ok([changed(0)?, changed(1)?])
    }
}
