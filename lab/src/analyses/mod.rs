//! What models have learnt, asked beside their accuracy.
//!
//! * [`similarity`]: how alike two models are, layer by layer; [`moments`]: what it gathers of the layers' activations;
//! * [`frequency`]: what a model makes of the low and the high frequencies of images, and the spectrum of perturbations;
//! * [`heat_map`]: which single frequencies a model errs on;
//! * [`corruptions`]: what a model makes of noise, blur, weather and digital processing;
//! * [`transfer`]: which adversarial examples of one model fool another;
//! * [`landscape`]: the loss around images;
//! * [`confidence`]: how sure a model is of the true class, under attack too;
//! * [`spectrum`]: at which frequencies adversarial perturbations lie;
//! * [`saliency`]: which pixels two models go by;
//! * [`robust_features`]: data sets of what a model sees in images;
//! * [`universal`]: whom one perturbation of all images fools that was crafted on one of two models;
//! * [`pictures`]: images that they leave, to look at.

mod canonical;
pub mod confidence;
pub mod corruptions;
pub mod frequency;
pub mod heat_map;
pub mod landscape;
pub mod moments;
pub mod pictures;
pub mod robust_features;
pub mod saliency;
mod shown;
pub mod similarity;
pub mod spectrum;
pub mod transfer;
pub mod universal;
mod values;

use gauntlet_domain::experiment::{AnalysisMethod, AnalysisResult, AnalysisValue, Corruption};
use tch::Tensor;

use self::robust_features::Constructed;
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

/// What an analysis came to.
#[derive(Debug)]
pub struct Answer {
    /// Its numbers and images.
    pub result: AnalysisResult,
    /// Images, f32 \[N,C,H,W\] in \[0,1\], and labels, i64 \[N\], of the data set that it made.
    pub dataset: Option<[Tensor; 2]>,
}

/// Asks it. `go_on` hears after each batch how many images of how many the model was shown, and says whether to stop.
///
/// # Errors
/// A method that compares without another model; [`LabError::Interrupted`] where it was to stop; libtorch's.
pub fn analyze(
    method: &AnalysisMethod,
    subject: &Subject<'_>,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Answer, LabError> {
    let &Subject { model, examples, batch_size, seed, .. } = subject;
    let result = match method {
        AnalysisMethod::Similarity { threshold } => {
            let layers = similarity::compare(subject.both()?, examples, batch_size, *threshold, go_on)?;
            numbers(layers.iter().flat_map(values::similarity))
        }
        AnalysisMethod::Frequency { radii } => {
            let accuracies = frequency::accuracy_by_radius(model, examples, radii, batch_size, go_on)?;
            numbers(accuracies.iter().map(values::accuracy))
        }
        AnalysisMethod::HeatMap { norm, reach } => {
            let waves = heat_map::Waves { norm: *norm, seed, reach: Some(*reach) };
            values::heat_map(&heat_map::fourier_heat_map(model, examples, waves, batch_size, go_on)?)?
        }
        AnalysisMethod::Corruptions { kinds, severities } => {
            let of_kind = |kind: &Corruption| severities.iter().map(|severity| (*kind, *severity)).collect::<Vec<_>>();
            let asked: Vec<(Corruption, u32)> = kinds.iter().flat_map(of_kind).collect();
            let found = corruptions::accuracy_by_corruption(model, examples, &asked, seed, batch_size, go_on)?;
            numbers(values::corruption(&found, severities))
        }
        AnalysisMethod::Transfer { by, other_classes } => {
            let way = (by, *other_classes);
            let radii = transfer::transfer(subject.both()?, examples, way, batch_size, go_on)?;
            let images = transfer::pictures(model, examples, by)?;
            AnalysisResult { images, ..numbers(radii.iter().flat_map(values::transfer)) }
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
            let images = values::perturbations(&crafted.perturbations)?;
            AnalysisResult { images, ..numbers(values::universal(&crafted, *eps)) }
        }
        AnalysisMethod::Landscape { distances } => {
            let places = landscape::landscape(model, examples, distances, subject.seed, batch_size, go_on)?;
            numbers(places.iter().flat_map(values::landscape))
        }
        AnalysisMethod::Saliency { steps, other_classes } => {
            let way = (*steps, *other_classes);
            let alignments = saliency::alignments(subject.both()?, examples, way, batch_size, go_on)?;
            let images = saliency::pictures(subject.both()?, examples, way)?;
            AnalysisResult { images, ..numbers(values::saliency(&alignments)) }
        }
        AnalysisMethod::Confidence { by } => {
            let radii = confidence::confidence(model, examples, by, batch_size, go_on)?;
            numbers(radii.iter().flat_map(values::confidence))
        }
        AnalysisMethod::Spectrum { by } => {
            let spectra = spectrum::spectrum(model, examples, by, seed, batch_size, go_on)?;
            numbers(values::spectrum(&spectra))
        }
        AnalysisMethod::RobustFeatures { construction } => {
            let Constructed { pixels, labels, outcome, images } =
                robust_features::construct(model, examples, construction, seed, batch_size, go_on)?;
            let result = AnalysisResult { images, ..numbers(values::construction(&outcome)) };
            return Ok(Answer { result, dataset: Some([pixels, labels]) });
        }
    };
    Ok(Answer { result, dataset: None })
}

impl<'a> Subject<'a> {
    /// The model and the one that it is compared with.
    fn both(&self) -> Result<[&'a Model; 2], LabError> {
        let missing = || LabError::Spec("nothing is there to compare the model with".to_owned());
        Ok([self.model, self.other.ok_or_else(missing)?])
    }
}

/// A result without images.
fn numbers(values: impl IntoIterator<Item = AnalysisValue>) -> AnalysisResult {
    AnalysisResult { values: values.into_iter().collect(), ..AnalysisResult::default() }
}
