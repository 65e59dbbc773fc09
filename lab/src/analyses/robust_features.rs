//! Data sets of what a model sees in images: D_R, D_NR, D_rand and D_det of Ilyas et al. 2019 (arXiv 1905.02175).

use gauntlet_domain::experiment::{AnalysisImage, Construction, Descent, Norm};
use tch::{Device, Kind, Tensor};

use super::pictures;
use super::shown::{Progress, indices, logits};
use crate::attacks::{Ball, lengths, slope};
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Mode, Model, Output};
use crate::random::{Purpose, Stream};
use crate::training::Wish;

/// Examples of which images are left.
const SHOWN: usize = 4;

/// A data set that was made, and how it came out.
#[derive(Debug)]
pub struct Constructed {
    /// f32 \[N,C,H,W\] in \[0,1\], in main memory.
    pub pixels: Tensor,
    /// What each image is labelled, i64 \[N\].
    pub labels: Tensor,
    /// How it came out.
    pub outcome: Outcome,
    /// The first examples, to look at.
    pub images: Vec<AnalysisImage>,
}

/// How a construction came out, in the mean over the images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outcome {
    /// Share of the images that the model gives their label.
    pub agreement: f64,
    /// L2 distance of the image from where it started, in pixel space.
    pub distance: f64,
    /// L2 distance of the penultimate features from those of the example, where they are what is sought: at the end and at the start.
    pub feature_distances: Option<[f64; 2]>,
}

/// Makes a data set of what `model` sees in `examples`, one image for each, in their order.
///
/// Every step is taken for every image, and the last point is taken. `go_on` hears how many image-steps of how many are done; [`Wish::Stop`] ends it.
///
/// # Errors
/// A model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn construct(
    model: &Model,
    examples: &Examples,
    construction: &Construction,
    seed: u64,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Constructed, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let starts = starts(count, seed);
    let mut progress = Progress::new(count as u64 * u64::from(construction.steps()), go_on)?;
    let mut made = Made::default();
    for first in (0..count).step_by(step) {
        let size = step.min(count - first);
        let batch = examples.range(first, size)?;
        let all = indices(first, size);
        let part = match construction {
            Construction::Represented { steps, step_size } => {
                let start = examples.select(&starts[first..first + size])?.pixels;
                represented(model, batch, start, (*steps, *step_size), &mut progress)?
            }
            Construction::RandomTarget(descent) => {
                let drawn = |example: &u64| {
                    i64::from(
                        Stream::new(seed, Purpose::ConstructionTarget { example: *example }).below(model.classes()),
                    )
                };
                let targets: Vec<i64> = all.iter().map(drawn).collect();
                let targets = Tensor::f_from_slice(&targets)?.f_to_device(batch.labels.device())?;
                led(model, batch.pixels, targets, descent, &mut progress)?
            }
            Construction::NextTarget(descent) => {
                let targets = batch.labels.f_add_scalar(1)?.f_remainder(i64::from(model.classes()))?;
                led(model, batch.pixels, targets, descent, &mut progress)?
            }
        };
        made.add(model, part, &all)?;
    }
    made.finish()
}

/// Which example each image starts from: a cycle through all of them in random order, so that each is taken once and none starts from itself.
fn starts(count: usize, seed: u64) -> Vec<i64> {
    let order = Stream::new(seed, Purpose::ConstructionStart).permutation(count);
    let mut starts = vec![0; count];
    for (place, example) in order.iter().enumerate() {
        starts[*example as usize] = order[(place + 1) % count];
    }
    starts
}

/// Some images that were made.
struct Part {
    /// The examples that they are made for.
    originals: Tensor,
    /// Where they started.
    start: Tensor,
    pixels: Tensor,
    labels: Tensor,
    /// Penultimate features that were sought, f32 \[n,F\].
    sought: Option<Tensor>,
}

/// From `start` on towards images with the features of the batch.
fn represented(
    model: &Model,
    batch: Batch,
    start: Tensor,
    (steps, step_size): (u32, f64),
    progress: &mut Progress<'_>,
) -> Result<Part, LabError> {
    // The steps have a length of their own, and no ball bounds them.
    let free = Ball { norm: Norm::L2, eps: f64::INFINITY };
    let sought = features(model, &batch.pixels)?;
    let target = sought.shallow_clone();
    let nearness = move |output: &Output| squared_distance(&output.features, &target)?.f_neg();
    let mut pixels = start.shallow_clone();
    for _ in 0..steps {
        let gradient = slope(model, &pixels, &nearness)?;
        pixels = free.ascend(&pixels, &gradient, step_size)?.f_clamp(0.0, 1.0)?;
        progress.add(batch.labels.numel())?;
    }
    Ok(Part { originals: batch.pixels, start, pixels, labels: batch.labels, sought: Some(sought) })
}

/// From `originals` on towards images that the model takes for `targets`, i64 \[n\].
fn led(
    model: &Model,
    originals: Tensor,
    targets: Tensor,
    descent: &Descent,
    progress: &mut Progress<'_>,
) -> Result<Part, LabError> {
    let ball = Ball { norm: descent.norm, eps: descent.eps };
    let wanted = targets.f_unsqueeze(1)?;
    let likelihood = move |output: &Output| {
        output.logits.f_log_softmax(1, Kind::Float)?.f_gather(1, &wanted, false)?.f_squeeze_dim(1)
    };
    let mut pixels = originals.shallow_clone();
    for _ in 0..descent.steps {
        let gradient = slope(model, &pixels, &likelihood)?;
        pixels = ball.bound(&ball.ascend(&pixels, &gradient, descent.step_size)?, &originals)?;
        progress.add(targets.numel())?;
    }
    Ok(Part { start: originals.shallow_clone(), originals, pixels, labels: targets, sought: None })
}

fn features(model: &Model, pixels: &Tensor) -> Result<Tensor, LabError> {
    let _guard = tch::no_grad_guard();
    Ok(model.forward(pixels, Mode::Eval)?.features)
}

/// f32 \[n\], of f32 \[n,F\].
fn squared_distance(one: &Tensor, other: &Tensor) -> tch::Result<Tensor> {
    one.f_sub(other)?.f_square()?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
}

/// What was made so far, and sums over it.
#[derive(Default)]
struct Made {
    pixels: Vec<Tensor>,
    labels: Vec<Tensor>,
    count: usize,
    sums: Outcome,
    images: Vec<AnalysisImage>,
}

impl Made {
    fn add(&mut self, model: &Model, part: Part, examples: &[u64]) -> Result<(), LabError> {
        if self.count == 0 {
            self.images = pictures_of(&part)?;
        }
        let given = logits(model, &part.pixels, examples)?.f_argmax(1, false)?;
        self.sums.agreement += total(&given.f_eq_tensor(&part.labels)?)?;
        self.sums.distance += total(&lengths(&part.pixels.f_sub(&part.start)?, Norm::L2)?)?;
        if let Some(sought) = &part.sought {
            let away = |pixels| total(&squared_distance(&features(model, pixels)?, sought)?.f_sqrt()?);
            let sums = self.sums.feature_distances.get_or_insert([0.0; 2]);
            sums[0] += away(&part.pixels)?;
            sums[1] += away(&part.start)?;
        }
        self.pixels.push(part.pixels.f_to_device(Device::Cpu)?);
        self.labels.push(part.labels.f_to_device(Device::Cpu)?);
        self.count += examples.len();
        Ok(())
    }

    fn finish(self) -> Result<Constructed, LabError> {
        let mean = |sum: f64| sum / self.count.max(1) as f64;
        let outcome = Outcome {
            agreement: mean(self.sums.agreement),
            distance: mean(self.sums.distance),
            feature_distances: self.sums.feature_distances.map(|sums| sums.map(mean)),
        };
        let (pixels, labels) = (Tensor::f_cat(&self.pixels, 0)?, Tensor::f_cat(&self.labels, 0)?);
        Ok(Constructed { pixels, labels, outcome, images: self.images })
    }
}

fn total(values: &Tensor) -> Result<f64, LabError> {
    Ok(values.f_sum(Kind::Double)?.f_double_value(&[])?)
}

/// Of the first images: the example, where the image started unless that is the example, and what became of it.
fn pictures_of(part: &Part) -> Result<Vec<AnalysisImage>, LabError> {
    let shown = SHOWN.min(pictures::room(&part.pixels) / 3).min(part.labels.numel());
    let mut images = Vec::new();
    for row in 0..shown as i64 {
        let [original, start, made] = [&part.originals, &part.start, &part.pixels].map(|pixels| pixels.f_get(row));
        images.push(pictures::picture(format!("example-{row}-original"), &original?)?);
        let (start, made) = (start?, made?);
        if part.sought.is_some() {
            images.push(pictures::picture(format!("example-{row}-start"), &start)?);
        }
        images.push(pictures::picture(format!("example-{row}-constructed"), &made)?);
        if part.sought.is_none() {
            images.push(pictures::amplified(format!("example-{row}-difference"), &made.f_sub(&start)?)?);
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_starts_from_its_own_example_and_every_example_starts_one() {
        for count in [2, 3, 50] {
            let starts = starts(count, 7);
            assert!(starts.iter().enumerate().all(|(example, start)| example as i64 != *start), "{starts:?}");
            let mut sorted = starts.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count as i64).collect::<Vec<_>>());
        }
        assert_ne!(starts(50, 7), starts(50, 8));
    }
}
