//! What models have learnt, asked beside their accuracy.
//!
//! * [`similarity`]: how alike two models are, layer by layer; [`moments`]: what it gathers of the layers' activations;
//! * [`frequency`]: what a model makes of the low and the high frequencies of images, and the spectrum of perturbations;
//! * [`heat_map`]: which single frequencies a model errs on;
//! * [`transfer`]: which adversarial examples of one model fool another;
//! * [`landscape`]: the loss around images;
//! * [`confidence`]: how sure a model is of the true class, under attack too;
//! * [`saliency`]: which pixels two models go by;
//! * [`universal`]: whom one perturbation of all images fools that was crafted on one of two models.

mod canonical;
pub mod confidence;
pub mod frequency;
pub mod heat_map;
pub mod landscape;
pub mod moments;
pub mod saliency;
mod shown;
pub mod similarity;
pub mod transfer;
pub mod universal;

use gauntlet_domain::experiment::{AnalysisMethod, AnalysisResult, AnalysisValue};

use crate::attacks::Ball;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::training::Wish;

/// What an analysis is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a Model,
    /// The one that it is compared with, where the method compares.
    pub other: Option<&'a Model>,
    /// The examples on which it is asked.
    pub examples: &'a Examples,
    /// Examples of a pass.
    pub batch_size: usize,
    /// Seed of everything random in it.
    pub seed: u64,
}

/// Asks it. `go_on` hears after each batch how many images of how many the model was shown, and says whether to stop.
///
/// # Errors
/// A method that compares without another model; [`LabError::Interrupted`] where it was to stop; libtorch's.
pub fn analyze(
    method: &AnalysisMethod,
    subject: &Subject<'_>,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<AnalysisResult, LabError> {
    let &Subject { model, examples, batch_size, .. } = subject;
    match method {
        AnalysisMethod::Similarity { threshold } => {
            let layers = similarity::compare(subject.both()?, examples, batch_size, *threshold, go_on)?;
            Ok(AnalysisResult { values: layers.iter().flat_map(similarity_values).collect() })
        }
        AnalysisMethod::Frequency { radii } => {
            let accuracies = frequency::accuracy_by_radius(model, examples, radii, batch_size, go_on)?;
            Ok(AnalysisResult { values: accuracies.iter().map(accuracy_value).collect() })
        }
        AnalysisMethod::Transfer { by, other_classes } => {
            let way = (by, *other_classes);
            let radii = transfer::transfer(subject.both()?, examples, way, batch_size, go_on)?;
            Ok(AnalysisResult { values: radii.iter().flat_map(transfer_values).collect() })
        }
        AnalysisMethod::Uap { norm, eps, by, passes, fooling_rate, craft_examples } => {
            let recipe = universal::Recipe {
                ball: Ball { norm: *norm, eps: *eps },
                by,
                passes: *passes,
                fooling_rate: *fooling_rate,
                craft_examples: *craft_examples,
                seed: subject.seed,
            };
            let crafted = universal::universal(subject.both()?, examples, &recipe, batch_size, go_on)?;
            Ok(AnalysisResult { values: universal_values(&crafted, *eps) })
        }
        AnalysisMethod::Landscape { distances } => {
            let places = landscape::landscape(model, examples, distances, subject.seed, batch_size, go_on)?;
            Ok(AnalysisResult { values: places.iter().flat_map(landscape_values).collect() })
        }
        AnalysisMethod::Saliency { steps, other_classes } => {
            let way = (*steps, *other_classes);
            let alignments = saliency::alignments(subject.both()?, examples, way, batch_size, go_on)?;
            Ok(AnalysisResult { values: saliency_values(&alignments) })
        }
        AnalysisMethod::Confidence { by } => {
            let radii = confidence::confidence(model, examples, by, batch_size, go_on)?;
            Ok(AnalysisResult { values: radii.iter().flat_map(confidence_values).collect() })
        }
    }
}

impl<'a> Subject<'a> {
    /// The model and the one that it is compared with.
    fn both(&self) -> Result<[&'a Model; 2], LabError> {
        let missing = || LabError::Spec("nothing is there to compare the model with".to_owned());
        Ok([self.model, self.other.ok_or_else(missing)?])
    }
}

/// CCA and PWCCA of too few points are high by counting alone, and left out.
fn similarity_values(layer: &similarity::LayerSimilarity) -> Vec<AnalysisValue> {
    let similarity = &layer.similarity;
    let mut values = vec![("cka", similarity.cka), ("svcca", similarity.svcca)];
    if !similarity.is_underdetermined() {
        values.extend([("cca", similarity.cca), ("pwcca", similarity.pwcca)]);
    }
    let value = |(measure, value): (&str, f64)| AnalysisValue {
        measure: measure.to_owned(),
        layer: layer.layer.clone(),
        x: None,
        value,
    };
    values.into_iter().map(value).collect()
}

fn accuracy_value(accuracy: &frequency::PassAccuracy) -> AnalysisValue {
    let measure = match accuracy.pass {
        frequency::Pass::Low => "low-pass-accuracy",
        frequency::Pass::High => "high-pass-accuracy",
    };
    let value = accuracy.correct as f64 / accuracy.examples.max(1) as f64;
    AnalysisValue { measure: measure.to_owned(), layer: String::new(), x: Some(accuracy.radius), value }
}

/// Where no example counts there are no shares.
fn transfer_values(at: &transfer::Transferred) -> Vec<AnalysisValue> {
    let [[own, passed_on], [received, other]] = at.fooled;
    let shares = [("own-fooled", own), ("passed-on", passed_on), ("received", received), ("other-fooled", other)];
    let shares = shares.into_iter().filter(|_| at.eligible > 0);
    let shares = shares.map(|(measure, fooled)| (measure, fooled as f64 / at.eligible as f64));
    shares.chain([("eligible", at.eligible as f64)]).map(|(measure, value)| value_at(measure, at.eps, value)).collect()
}

fn universal_values(crafted: &universal::Crafted, eps: f64) -> Vec<AnalysisValue> {
    let ([[own, passed_on], [received, other]], [noise, other_noise]) = (crafted.fooled, crafted.noise);
    let fooled = [("own-fooled", own), ("passed-on", passed_on), ("received", received), ("other-fooled", other)];
    let all = fooled.into_iter().chain([("noise", noise), ("other-noise", other_noise)]);
    all.map(|(measure, fooled)| value_at(measure, eps, fooled as f64 / crafted.examples.max(1) as f64)).collect()
}

fn landscape_values(place: &landscape::Surroundings) -> [AnalysisValue; 4] {
    let mean = |sum: f64| sum / place.examples.max(1) as f64;
    let landscape::Surroundings { gradient, random, .. } = place;
    [
        ("gradient-loss", mean(gradient.loss)),
        ("random-loss", mean(random.loss)),
        ("gradient-accuracy", mean(gradient.correct as f64)),
        ("random-accuracy", mean(random.correct as f64)),
    ]
    .map(|(measure, value)| value_at(measure, place.distance, value))
}

fn saliency_values(alignments: &saliency::Alignments) -> Vec<AnalysisValue> {
    let saliency::Alignments { gradient, integrated } = alignments;
    let all = [
        ("gradient-alignment", gradient.same),
        ("gradient-null", gradient.null),
        ("integrated-alignment", integrated.same),
        ("integrated-null", integrated.null),
    ];
    let value = |(measure, value): (&str, f64)| AnalysisValue { x: None, ..value_at(measure, 0.0, value) };
    all.into_iter().map(value).collect()
}

fn confidence_values(at: &confidence::Confidence) -> [AnalysisValue; 4] {
    let [low, median, high] = at.deciles;
    [("confidence", at.mean), ("confidence-q10", low), ("confidence-q50", median), ("confidence-q90", high)]
        .map(|(measure, value)| value_at(measure, at.eps, value))
}

/// A number about no layer, at a place.
fn value_at(measure: &str, x: f64, value: f64) -> AnalysisValue {
    AnalysisValue { measure: measure.to_owned(), layer: String::new(), x: Some(x), value }
}
