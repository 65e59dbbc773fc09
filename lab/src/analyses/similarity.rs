//! How alike two models are, layer by layer: linear CKA, and the mean canonical correlation in three forms.
//!
//! All are computed from the covariances of the two layers over the same data points, with eigenvectors instead of the activations themselves, so that
//! any number of examples fits into memory.
//!
//! | measure | definition | paper |
//! |---|---|---|
//! | CKA | ‖X′Y‖² / (‖X′X‖ ‖Y′Y‖), Frobenius norms of centred activations; the biased estimate | Kornblith et al. 2019, arXiv 1905.00414 |
//! | CCA | mean of the canonical correlations | Raghu et al. 2017, arXiv 1706.05806 |
//! | SVCCA | the same within the fewest principal directions of each layer that explain a share of its variance | Raghu et al. 2017 |
//! | PWCCA | mean weighted by the part that each canonical variable takes in the channels of a layer | Morcos et al. 2018, arXiv 1806.05759 |
//!
//! What Google's `svcca` code does is done here as well, but for three things:
//!
//! * it drops neurons whose variance is below ε of the largest, adds ε to the others' and counts all of them; so a layer with redundant neurons is not
//!   similar to itself. Here the principal directions below ε (10⁻¹⁰) are left out too, and what is left is not changed. For layers of full rank the
//!   correlations agree;
//! * its mean leaves out the smallest correlations, those that make up the last 2 % of their sum. Here it is the mean of all;
//! * its PWCCA projects on directions that are not the canonical variables: the whitening is left out and the neurons' means are added. Here it is the
//!   paper's, with the layer that weights chosen as there: the one with fewer directions, of equals the first.

use tch::Kind;

use super::canonical::Pair;
use super::moments::{Covariances, Moments};
use super::shown::proceed;
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Mode, Model};
use crate::training::Wish;

/// Similarity of two layers. Where one is constant over all points (no channel varies by more than f32 can tell from its mean) nothing can be shared:
/// all measures and directions are 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Data points that were compared: examples, times positions or tokens.
    pub points: u64,
    /// Linear CKA, 0 to 1. Invariant to orthogonal maps and isotropic scaling of either layer.
    pub cka: f64,
    /// Mean canonical correlation, 0 to 1. Invariant to invertible linear maps of either layer.
    pub cca: f64,
    /// Mean canonical correlation of the leading principal directions, 0 to 1. Invariant to orthogonal maps and isotropic scaling.
    pub svcca: f64,
    /// Projection-weighted mean canonical correlation, 0 to 1.
    pub pwcca: f64,
    /// Principal directions of each layer that explain the threshold's share of its variance: those that `svcca` compares.
    pub directions: [u32; 2],
    /// Principal directions of each layer with any variance to speak of: those that `cca` and `pwcca` compare.
    pub ranks: [u32; 2],
}

/// Similarity of one layer of two models.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSimilarity {
    /// Name of a stage, `features` or `logits`.
    pub layer: String,
    /// How alike the models are there.
    pub similarity: Similarity,
}

impl Similarity {
    /// Share of the variance that the directions of SVCCA explain in the study (arXiv 2106.10989).
    pub const THRESHOLD: f64 = 0.98;

    /// The similarity of two layers with these moments; `threshold` is the share of the variance that the directions of SVCCA explain, above 0 and at
    /// most 1.
    ///
    /// # Errors
    /// No moments; activations that are not finite; a threshold out of its range; no memory.
    pub fn of(moments: &Moments, threshold: f64) -> Result<Self, LabError> {
        check_threshold(threshold)?;
        let covariances = moments.covariances()?;
        let points = covariances.points;
        if covariances.cross.numel() == 0 {
            return Ok(Self::nothing(&covariances));
        }
        let pair = Pair::new(&covariances)?;
        let [first, second] = &pair.sides;
        let [cca, pwcca] = pair.correlations()?;
        let ranks = [first.count(), second.count()];
        let directions = [first.explaining(threshold)?, second.explaining(threshold)?];
        Ok(Self {
            points,
            cka: cka(&covariances)?,
            cca,
            svcca: pair.leading_correlation(directions)?,
            pwcca,
            directions,
            ranks,
        })
    }

    /// Whether `cca` and `pwcca` are high whatever the layers hold: with no more points than directions in both layers together, some canonical
    /// correlations are 1 by counting alone, and all are where each layer has as many directions as there are points but one.
    pub const fn is_underdetermined(&self) -> bool {
        let [first, second] = self.ranks;
        self.points <= first as u64 + second as u64
    }

    /// What is said of a pair of which one layer, or both, are constant.
    fn nothing(covariances: &Covariances) -> Self {
        Self {
            points: covariances.points,
            cka: 0.0,
            cca: 0.0,
            svcca: 0.0,
            pwcca: 0.0,
            directions: [0; 2],
            ranks: [0; 2],
        }
    }
}

fn check_threshold(threshold: f64) -> Result<(), LabError> {
    if threshold > 0.0 && threshold <= 1.0 {
        return Ok(());
    }
    Err(LabError::Spec(format!(
        "the share of the variance to explain must be above 0 and at most 1, found {threshold}"
    )))
}

fn cka(covariances: &Covariances) -> Result<f64, LabError> {
    let squares = |matrix: &tch::Tensor| matrix.f_square()?.f_sum(Kind::Double)?.f_double_value(&[]);
    let [first, second] = [squares(&covariances.own[0])?, squares(&covariances.own[1])?];
    // Rounding may lead beyond 1.
    Ok((squares(&covariances.cross)? / (first.sqrt() * second.sqrt())).min(1.0))
}

/// Compares two models on the same examples: after every stage, then their features and logits. Both in eval mode; positions of feature maps and tokens
/// are data points of their own. The numbers of channels may differ, as those of the logits do between a source and a target.
///
/// `go_on` hears how many of how many examples are done, and the same again before each layer is computed; [`Wish::Stop`] ends the comparison. The
/// result depends on `batch_size` by rounding alone.
///
/// # Errors
/// Models of other stages, or whose stages give other numbers of positions; activations that are not finite; images that do not fit a model; a threshold
/// out of its range; no memory; [`LabError::Interrupted`].
pub fn compare(
    models: [&Model; 2],
    examples: &Examples,
    batch_size: usize,
    threshold: f64,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<LayerSimilarity>, LabError> {
    let _guard = tch::no_grad_guard();
    check_threshold(threshold)?;
    let names = layers(models)?;
    let mut moments: Vec<Moments> = names.iter().map(|_| Moments::default()).collect();
    let (total, step) = (examples.len(), batch_size.max(1));
    for first in (0..total).step_by(step) {
        proceed(go_on(first as u64, total as u64))?;
        gather(models, &examples.range(first, step.min(total - first))?, &names, &mut moments)?;
    }
    let finish = |(layer, moments): (&str, Moments)| {
        proceed(go_on(total as u64, total as u64))?;
        let similarity = Similarity::of(&moments, threshold).map_err(|error| located(layer, error))?;
        Ok(LayerSimilarity { layer: layer.to_owned(), similarity })
    };
    names.into_iter().zip(moments).map(finish).collect()
}

/// Names of what is compared.
fn layers(models: [&Model; 2]) -> Result<Vec<&'static str>, LabError> {
    let [first, second] = models.map(|model| model.stages().iter().map(|stage| stage.name).collect::<Vec<_>>());
    if first != second {
        let problem = format!("models with stages {} and {} cannot be compared", first.join(", "), second.join(", "));
        return Err(LabError::Spec(problem));
    }
    Ok([first, vec!["features", "logits"]].concat())
}

/// Adds the activations of a batch to the moments of the layers.
fn gather(models: [&Model; 2], batch: &Batch, names: &[&str], moments: &mut [Moments]) -> Result<(), LabError> {
    let mut add = |number: usize, activations: [&tch::Tensor; 2]| {
        moments[number].add(activations).map_err(|error| located(names[number], error))
    };
    let [mut x, mut y] = [models[0].normalised(&batch.pixels)?, models[1].normalised(&batch.pixels)?];
    let stages = models[0].stages().len();
    for number in 0..stages {
        x = models[0].stage(number, &x, Mode::Eval)?;
        y = models[1].stage(number, &y, Mode::Eval)?;
        add(number, [&x, &y])?;
    }
    let [x, y] = [models[0].head(&x, Mode::Eval)?, models[1].head(&y, Mode::Eval)?];
    add(stages, [&x.features, &y.features])?;
    add(stages + 1, [&x.logits, &y.logits])
}

/// The error with the layer it is about.
fn located(layer: &str, error: LabError) -> LabError {
    match error {
        LabError::Spec(problem) => LabError::Spec(format!("layer `{layer}`: {problem}")),
        other => other,
    }
}
