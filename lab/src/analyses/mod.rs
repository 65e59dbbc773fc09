//! What models have learnt, asked beside their accuracy.
//!
//! * [`similarity`]: how alike two models are, layer by layer; [`moments`]: what it gathers of the layers' activations;
//! * [`frequency`]: what a model makes of the low and the high frequencies of images, and the spectrum of perturbations;
//! * [`heat_map`]: which single frequencies a model errs on;
//! * [`corruptions`]: what a model makes of noise, blur, weather and digital processing;
//! * [`pictures`]: images that they leave, to look at.

mod canonical;
pub mod corruptions;
pub mod frequency;
pub mod heat_map;
pub mod moments;
pub mod pictures;
mod shown;
pub mod similarity;

use gauntlet_domain::experiment::{AnalysisMethod, AnalysisResult, AnalysisValue, Corruption};
use tch::Tensor;

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
    /// Seed of everything random.
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
    let &Subject { model, other, examples, batch_size, seed } = subject;
    match method {
        AnalysisMethod::Similarity { threshold } => {
            let missing = || LabError::Spec("nothing is there to compare the model with".to_owned());
            let models = [model, other.ok_or_else(missing)?];
            let layers = similarity::compare(models, examples, batch_size, *threshold, go_on)?;
            Ok(AnalysisResult { values: layers.iter().flat_map(similarity_values).collect(), images: vec![] })
        }
        AnalysisMethod::Frequency { radii } => {
            let accuracies = frequency::accuracy_by_radius(model, examples, radii, batch_size, go_on)?;
            Ok(AnalysisResult { values: accuracies.iter().map(accuracy_value).collect(), images: vec![] })
        }
        AnalysisMethod::HeatMap { norm, reach } => {
            let waves = heat_map::Waves { norm: *norm, seed, reach: Some(*reach) };
            heat_map_result(&heat_map::fourier_heat_map(model, examples, waves, batch_size, go_on)?)
        }
        AnalysisMethod::Corruptions { kinds, severities } => {
            let of_kind = |kind: &Corruption| severities.iter().map(|severity| (*kind, *severity)).collect::<Vec<_>>();
            let asked: Vec<(Corruption, u32)> = kinds.iter().flat_map(of_kind).collect();
            let found = corruptions::accuracy_by_corruption(model, examples, &asked, seed, batch_size, go_on)?;
            Ok(AnalysisResult { values: corruption_values(&found, severities), images: vec![] })
        }
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

/// The shares of a heat map, row by row, and the map as an image of a few pixels for each frequency: the lighter, the more is wrong.
fn heat_map_result(map: &heat_map::HeatMap) -> Result<AnalysisResult, LabError> {
    const SIDE: i64 = 8;
    let share = |errors: &u64| *errors as f64 / map.examples.max(1) as f64;
    let rows = map.vertical.iter().zip(&map.errors);
    let values = rows.flat_map(|(vertical, errors)| {
        map.horizontal.iter().zip(errors).map(move |(horizontal, errors)| AnalysisValue {
            measure: "error".to_owned(),
            layer: format!("vertical={vertical}"),
            x: Some(*horizontal as f64),
            value: share(errors),
        })
    });
    let shares: Vec<f32> = map.errors.iter().flatten().map(|errors| share(errors) as f32).collect();
    let shares = Tensor::f_from_slice(&shares)?.f_view([1, map.vertical.len() as i64, map.horizontal.len() as i64])?;
    let large = shares.f_repeat_interleave_self_int(SIDE, 1, None)?.f_repeat_interleave_self_int(SIDE, 2, None)?;
    Ok(AnalysisResult { values: values.collect(), images: vec![pictures::picture("heat-map", &large)?] })
}

/// The accuracy on the examples as they are, the mean over the corruptions at each severity, and each of them.
fn corruption_values(found: &[corruptions::CorruptedAccuracy], severities: &[u32]) -> Vec<AnalysisValue> {
    let value = |measure: &str, x: Option<f64>, value: f64| AnalysisValue {
        measure: measure.to_owned(),
        layer: String::new(),
        x,
        value,
    };
    let mean = |severity: &u32| {
        let of_severity = found.iter().filter(|it| it.corruption.is_some_and(|(_, of)| of == *severity));
        let shares: Vec<f64> = of_severity.map(corruptions::CorruptedAccuracy::share).collect();
        value("mean", Some(f64::from(*severity)), shares.iter().sum::<f64>() / shares.len().max(1) as f64)
    };
    let one = |it: &corruptions::CorruptedAccuracy| match it.corruption {
        Some((corruption, severity)) => value(corruption.name(), Some(f64::from(severity)), it.share()),
        None => value("clean", None, it.share()),
    };
    let (clean, corrupted) = found.split_at(found.len().min(1));
    clean.iter().map(one).chain(severities.iter().map(mean)).chain(corrupted.iter().map(one)).collect()
}
