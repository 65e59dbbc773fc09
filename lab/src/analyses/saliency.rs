//! What in images two models go by: alignment of their input gradients and of their integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365).
//!
//! A map holds, for each pixel, what it does to the logit of the example's class. Integrated gradients follow the straight line from the black image to
//! the original, at the middles of equal steps; their sum is the difference of the logits at both ends, but for the error of the steps.

use gauntlet_domain::experiment::{AnalysisImage, OtherClasses};
use tch::{Kind, Tensor};

use super::pictures;
use super::shown::{Progress, indices, logits};
use crate::attacks::slope;
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Model, Output};
use crate::training::Wish;

/// Examples of which images are left.
const SHOWN: usize = 3;

/// How alike the maps of two models are: means of absolute cosines, in \[0,1\].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Of the maps of the same example.
    pub same: f64,
    /// Of the first model's map of an example and the second's of the next one (of the last example and the first): what chance and what all images have
    /// in common come to.
    pub null: f64,
}

/// Alignment of two models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignments {
    /// Of the gradients.
    pub gradient: Alignment,
    /// Of the integrated gradients.
    pub integrated: Alignment,
}

/// Gradient by the pixels of the logits of classes, i64 \[n\]; f32 \[n,C,H,W\].
///
/// # Errors
/// Images that do not fit the model; no memory.
pub fn gradients(model: &Model, pixels: &Tensor, classes: &Tensor) -> Result<Tensor, LabError> {
    let of_class = |output: &Output| output.logits.f_gather(1, &classes.f_unsqueeze(1)?, false)?.f_squeeze_dim(1);
    slope(model, pixels, &of_class)
}

/// Integrated gradients of the logits of classes, i64 \[n\], from the black image to images, f32 \[n,C,H,W\] in \[0,1\], in so many steps; f32 \[n,C,H,W\].
///
/// # Errors
/// No steps; images that do not fit the model; no memory.
pub fn integrated_gradients(model: &Model, pixels: &Tensor, classes: &Tensor, steps: u32) -> Result<Tensor, LabError> {
    if steps == 0 {
        return Err(LabError::Spec("gradients cannot be integrated in no steps".to_owned()));
    }
    let mut sum = pixels.f_zeros_like()?;
    for step in 0..steps {
        let share = (f64::from(step) + 0.5) / f64::from(steps);
        sum = sum.f_add(&gradients(model, &pixels.f_mul_scalar(share)?, classes)?)?;
    }
    Ok(sum.f_mul(pixels)?.f_div_scalar(f64::from(steps))?)
}

/// Alignment of the maps of two models, each of its class of the example: the label, or, of a second model with classes of its own, what it predicts.
///
/// A map of nothing but zeros is aligned with nothing. `go_on` hears how many examples of how many are done; [`Wish::Stop`] ends it.
///
/// # Errors
/// No steps; a model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn alignments(
    models: [&Model; 2],
    examples: &Examples,
    (steps, other_classes): (u32, OtherClasses),
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Alignments, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let mut progress = Progress::new(count as u64, go_on)?;
    let [mut gradient, mut integrated] = [Sums::default(), Sums::default()];
    for first in (0..count).step_by(step) {
        let batch = examples.range(first, step.min(count - first))?;
        let [own, other] = maps(models, &batch, first, (steps, other_classes))?;
        gradient.add([own.gradient, other.gradient])?;
        integrated.add([own.integrated, other.integrated])?;
        progress.add(batch.labels.numel())?;
    }
    Ok(Alignments { gradient: gradient.alignment()?, integrated: integrated.alignment()? })
}

/// The first examples, and the maps of both models that [`alignments`] compares; each map amplified, grey where a pixel does nothing.
///
/// # Errors
/// As [`alignments`].
pub fn pictures(
    models: [&Model; 2],
    examples: &Examples,
    way: (u32, OtherClasses),
) -> Result<Vec<AnalysisImage>, LabError> {
    let room = pictures::room(&examples.range(0, 1)?.pixels) / 5;
    let batch = examples.range(0, SHOWN.min(room).min(examples.len()))?;
    if batch.labels.numel() == 0 {
        return Ok(Vec::new());
    }
    let [own, other] = maps(models, &batch, 0, way)?;
    let shown = [
        ("gradient", &own.gradient),
        ("integrated", &own.integrated),
        ("other-gradient", &other.gradient),
        ("other-integrated", &other.integrated),
    ];
    let mut images = Vec::new();
    for row in 0..batch.labels.numel() as i64 {
        images.push(pictures::picture(format!("example-{row}-original"), &batch.pixels.f_get(row)?)?);
        for (name, maps) in shown {
            images.push(pictures::amplified(format!("example-{row}-{name}"), &maps.f_get(row)?)?);
        }
    }
    Ok(images)
}

/// The maps of a model, f32 \[n,C,H,W\].
struct Maps {
    gradient: Tensor,
    integrated: Tensor,
}

/// The maps of both models of a batch whose first example has this index.
fn maps(
    models: [&Model; 2],
    batch: &Batch,
    first: usize,
    (steps, other_classes): (u32, OtherClasses),
) -> Result<[Maps; 2], LabError> {
    let Batch { pixels, labels } = batch;
    let all = indices(first, labels.numel());
    let predicted = |model| Ok::<Tensor, LabError>(logits(model, pixels, &all)?.f_argmax(1, false)?);
    // What the model predicts is asked for in any case: a model that says nothing finite has no maps.
    let (_, other) = (predicted(models[0])?, predicted(models[1])?);
    let of = |model, classes: &Tensor| {
        let gradient = gradients(model, pixels, classes)?;
        Ok::<Maps, LabError>(Maps { gradient, integrated: integrated_gradients(model, pixels, classes, steps)? })
    };
    let other_class = if other_classes == OtherClasses::Own { &other } else { labels };
    Ok([of(models[0], labels)?, of(models[1], other_class)?])
}

/// Sums of absolute cosines in the making.
#[derive(Default)]
struct Sums {
    examples: u64,
    same: f64,
    null: f64,
    /// The first model's map of the last example, and the second's of the first.
    ends: Option<[Tensor; 2]>,
}

impl Sums {
    /// Maps of both models of the next examples, f32 \[n,C,H,W\].
    fn add(&mut self, maps: [Tensor; 2]) -> Result<(), LabError> {
        let [own, other] = [directions(&maps[0])?, directions(&maps[1])?];
        let count = own.size()[0];
        self.same += absolute_cosines(&own, &other)?;
        self.null += absolute_cosines(&own.f_narrow(0, 0, count - 1)?, &other.f_narrow(0, 1, count - 1)?)?;
        let [first, last] = [other.f_narrow(0, 0, 1)?, own.f_narrow(0, count - 1, 1)?];
        self.ends = Some(match self.ends.take() {
            None => [last, first],
            Some([before, very_first]) => {
                self.null += absolute_cosines(&before, &first)?;
                [last, very_first]
            }
        });
        self.examples += count as u64;
        Ok(())
    }

    fn alignment(self) -> Result<Alignment, LabError> {
        let around = match &self.ends {
            Some([last, first]) => absolute_cosines(last, first)?,
            None => 0.0,
        };
        let examples = self.examples.max(1) as f64;
        Ok(Alignment { same: self.same / examples, null: (self.null + around) / examples })
    }
}

/// Maps as vectors of length 1, f64 \[n,m\]; zeros stay zeros.
fn directions(maps: &Tensor) -> tch::Result<Tensor> {
    let flat = maps.f_flatten(1, -1)?.f_to_kind(Kind::Double)?;
    // A logit may be so flat that squares underflow in the way.
    let scaled = flat.f_div(&flat.f_abs()?.f_amax([1i64].as_slice(), true)?.f_clamp_min(f64::MIN_POSITIVE)?)?;
    let lengths = scaled.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
    scaled.f_div(&lengths.f_clamp_min(f64::MIN_POSITIVE)?)
}

/// Sum over the rows of the absolute products of directions, f64 \[n,m\].
fn absolute_cosines(one: &Tensor, other: &Tensor) -> Result<f64, LabError> {
    let cosines = one.f_mul(other)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
    Ok(cosines.f_abs()?.f_sum(Kind::Double)?.f_double_value(&[])?)
}
