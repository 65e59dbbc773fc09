//! The loss around images: a check for gradients that lead nowhere (Athalye et al. 2018, arXiv 1802.00420).
//!
//! Two directions of the same L∞ norm are followed from each image: the signs of the gradient of the cross-entropy at the image, and random signs.
//! Where gradients are worth something the loss grows much faster along the first; where it does not, attacks that follow them say little.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use super::shown::{Progress, indices, logits};
use crate::attacks::{Ball, slope, to_tensor};
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Model, Output};
use crate::random::{Purpose, Stream};
use crate::training::Wish;

/// What a model makes of all images at one distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surroundings {
    /// L∞ distance from the originals, in pixel space; what leaves \[0,1\] is clipped.
    pub distance: f64,
    /// Examples shown.
    pub examples: u64,
    /// Along the signs of the gradient.
    pub gradient: Along,
    /// Along random signs.
    pub random: Along,
}

/// What a model makes of all images in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Along {
    /// Sum of the cross-entropies, in nats.
    pub loss: f64,
    /// How many predictions are right.
    pub correct: u64,
}

/// Losses and right predictions at the originals, which come first, and at each of the distances along both directions.
///
/// An example's random signs are named by the seed and its index, and are the same at every distance. `go_on` hears how many images of how many were
/// shown; [`Wish::Stop`] ends it.
///
/// # Errors
/// A model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn landscape(
    model: &Model,
    examples: &Examples,
    distances: &[f64],
    seed: u64,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<Surroundings>, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let none = Along::default();
    let at = |distance| Surroundings { distance, examples: count as u64, gradient: none, random: none };
    let mut originals = at(0.0);
    let mut found: Vec<Surroundings> = distances.iter().map(|distance| at(*distance)).collect();
    let mut progress = Progress::new((count * (1 + 2 * found.len())) as u64, go_on)?;
    for first in (0..count).step_by(step) {
        let batch = examples.range(first, step.min(count - first))?;
        let examples = indices(first, batch.labels.numel());
        originals.gradient.add(model, &batch.pixels, &batch.labels, &examples)?;
        progress.add(examples.len())?;
        let directions = [steepest(model, &batch)?, signs(seed, &batch.pixels, &examples)?];
        for place in &mut found {
            for (direction, along) in directions.iter().zip([&mut place.gradient, &mut place.random]) {
                let moved = batch.pixels.f_add(&direction.f_mul_scalar(place.distance)?)?.f_clamp(0.0, 1.0)?;
                along.add(model, &moved, &batch.labels, &examples)?;
                progress.add(examples.len())?;
            }
        }
    }
    originals.random = originals.gradient;
    found.insert(0, originals);
    Ok(found)
}

impl Along {
    fn add(&mut self, model: &Model, pixels: &Tensor, labels: &Tensor, examples: &[u64]) -> Result<(), LabError> {
        let logits = logits(model, pixels, examples)?;
        self.loss += cross_entropies(&logits, labels)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        self.correct += right as u64;
        Ok(())
    }
}

/// Signs of the gradient of the loss, f32 \[n,C,H,W\]; 0 where it has none.
fn steepest(model: &Model, batch: &Batch) -> Result<Tensor, LabError> {
    let loss = |output: &Output| cross_entropies(&output.logits, &batch.labels);
    Ok(slope(model, &batch.pixels, &loss)?.f_sign()?)
}

/// Random signs, f32 \[n,C,H,W\].
fn signs(seed: u64, pixels: &Tensor, examples: &[u64]) -> Result<Tensor, LabError> {
    let per_image = pixels.size().iter().skip(1).product::<i64>() as usize;
    let unit = Ball { norm: Norm::Linf, eps: 1.0 };
    let signs = |example: &u64| unit.rim(&mut Stream::new(seed, Purpose::Direction { example: *example }), per_image);
    Ok(to_tensor(&examples.iter().flat_map(signs).collect::<Vec<f32>>(), pixels)?)
}

fn cross_entropies(logits: &Tensor, labels: &Tensor) -> tch::Result<Tensor> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, tch::Reduction::None, -100, 0.0)
}
