//! How sure a model is of the true class, on originals and on adversarial examples.

use gauntlet_domain::experiment::Ascents;
use tch::{Kind, Tensor};

use super::shown::{Progress, indices, logits};
use crate::attacks::{Ascent, Ball};
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::training::Wish;

/// The softmax probability of the true class over all examples at one radius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// The radius, in pixel space; 0 for the originals.
    pub eps: f64,
    /// Mean.
    pub mean: f64,
    /// The deciles 1, 5 and 9, linear between the two nearest examples.
    pub deciles: [f64; 3],
}

/// Probabilities of the true class for the originals, which come first, and for adversarial examples at each radius.
///
/// Every example is attacked, also one that the model gets wrong, and all steps are taken. `go_on` hears how many images of how many were shown;
/// [`Wish::Stop`] ends it.
///
/// # Errors
/// A model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn confidence(
    model: &Model,
    examples: &Examples,
    by: &Ascents,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<Confidence>, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let mut found: Vec<(f64, Vec<f64>)> =
        [0.0].iter().chain(&by.epsilons).map(|eps| (*eps, Vec::with_capacity(count))).collect();
    let mut progress = Progress::new((count * found.len()) as u64, go_on)?;
    for first in (0..count).step_by(step) {
        let batch = examples.range(first, step.min(count - first))?;
        let examples = indices(first, batch.labels.numel());
        for (number, (eps, probabilities)) in found.iter_mut().enumerate() {
            let images = if number == 0 {
                batch.pixels.shallow_clone()
            } else {
                let ball = Ball { norm: by.norm, eps: *eps };
                let ascent = Ascent { model, ball, steps: by.steps, step_size: by.step_of_eps * *eps };
                ascent.lead(&batch, &examples)?
            };
            let logits = logits(model, &images, &examples)?;
            probabilities.extend(of_labels(&logits, &batch.labels)?);
            progress.add(examples.len())?;
        }
    }
    Ok(found.into_iter().map(|(eps, probabilities)| Confidence::of(eps, probabilities)).collect())
}

/// Softmax probabilities of the labels, i64 \[n\].
fn of_labels(logits: &Tensor, labels: &Tensor) -> Result<Vec<f64>, LabError> {
    let probabilities = logits.f_softmax(1, Kind::Double)?.f_gather(1, &labels.f_unsqueeze(1)?, false)?;
    Ok(Vec::try_from(probabilities.f_view([-1])?)?)
}

impl Confidence {
    fn of(eps: f64, mut probabilities: Vec<f64>) -> Self {
        let mean = probabilities.iter().sum::<f64>() / probabilities.len().max(1) as f64;
        probabilities.sort_unstable_by(f64::total_cmp);
        Self { eps, mean, deciles: [0.1, 0.5, 0.9].map(|share| quantile(&probabilities, share)) }
    }
}

/// The value below which a share of these lies, smallest first, linear between the nearest two as NumPy's `quantile` is.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_nearest_two() {
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(
            [0.0, 0.25, 0.5, 0.9, 1.0].map(|share| quantile(&[1.0, 2.0, 4.0], share)),
            [1.0, 1.5, 2.0, 3.6, 4.0]
        );
        let found = Confidence::of(0.5, vec![0.75, 0.25]);
        assert_eq!((found.mean, found.deciles), (0.5, [0.3, 0.5, 0.7]));
    }
}
