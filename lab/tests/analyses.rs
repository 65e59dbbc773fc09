//! Analyses as tasks: what comes out of one follows from its spec, however often it is stopped and begun again.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{
    AnalysisMethod, AnalysisResult, AnalysisSpec, Ascents, Corruption, Head, NUMERICS_VERSION, Norm, OtherClasses,
    OtherModel, TaskSpec, UapMethod, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Inputs, Lab, LabError, Settings, TaskOutput};
use support::trained::{spec, trained};
use support::{Bench, Notes, given, model_spec};

const EXAMPLES: usize = 300;

/// An analysis of the trained model, compared with these weights of the same architecture where any are given.
fn task(bench: &Bench, method: AnalysisMethod, against: Option<Weights>) -> (AnalysisSpec, Inputs) {
    let parent = TaskId::from_digest(Digest::of(b"parent"));
    let path = bench.folder.path().join("parent.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let inputs = given(&bench.inputs, parent, path);
    let model = model_spec(spec().backbone, 1, 3);
    let spec = AnalysisSpec {
        dataset: bench.dataset.clone(),
        model: model.clone(),
        weights: Weights::Task { task: parent, head: Head::Keep },
        against: against.map(|weights| Box::new(OtherModel { model, weights })),
        method,
        seed: 5,
        numerics: NUMERICS_VERSION,
    };
    (spec, inputs)
}

fn executed(spec: &AnalysisSpec, inputs: &Inputs, notes: &mut Notes) -> Result<AnalysisResult, LabError> {
    match Lab::new(Settings::default()).execute(&TaskSpec::Analyze(spec.clone()), inputs, notes)? {
        TaskOutput::Analyzed { result, dataset: None } => Ok(result),
        other => panic!("an analysis gave {other:?}"),
    }
}

fn values<'a>(result: &'a AnalysisResult, measure: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    result.values.iter().filter(move |it| it.measure == measure).map(|it| (it.layer.as_str(), it.value))
}

const SIMILARITY: AnalysisMethod = AnalysisMethod::Similarity { threshold: 0.98 };

#[test]
fn a_trained_model_is_itself_in_every_layer_and_differs_from_an_untrained_one() {
    let bench = Bench::new(EXAMPLES);
    let (same, inputs) = task(&bench, SIMILARITY, None);
    let itself = AnalysisSpec {
        against: Some(Box::new(OtherModel { model: same.model.clone(), weights: same.weights.clone() })),
        ..same
    };
    let result = executed(&itself, &inputs, &mut Notes::default()).unwrap();
    result.check(&SIMILARITY).unwrap();
    let layers: Vec<&str> = values(&result, "cka").map(|(layer, _)| layer).collect();
    assert_eq!(layers.first().zip(layers.last()), Some((&"stem", &"logits")));
    assert!(values(&result, "cka").all(|(_, value)| (value - 1.0).abs() < 1e-9), "{result:?}");
    let (untrained, inputs) = task(&bench, SIMILARITY, Some(Weights::Scratch));
    let result = executed(&untrained, &inputs, &mut Notes::default()).unwrap();
    let logits = values(&result, "cka").find(|(layer, _)| *layer == "logits").unwrap().1;
    assert!(logits < 0.9, "{logits}");
}

#[test]
fn a_comparison_with_nothing_is_refused_in_words() {
    let bench = Bench::new(EXAMPLES);
    let (spec, inputs) = task(&bench, SIMILARITY, None);
    let error = executed(&spec, &inputs, &mut Notes::default()).unwrap_err().to_string();
    assert!(error.contains("nothing is there to compare the model with"), "{error}");
}

fn ascents() -> Ascents {
    Ascents { norm: Norm::Linf, epsilons: vec![0.02, 0.05], steps: 3, step_of_eps: 0.5 }
}

/// The value of a measure at a place.
fn at(result: &AnalysisResult, measure: &str, x: f64) -> Option<f64> {
    result.values.iter().find(|it| it.measure == measure && it.x == Some(x)).map(|it| it.value)
}

#[test]
fn transfer_to_the_untrained_network_counts_every_example_and_fools_the_run_by_its_own_most() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::Transfer { by: ascents(), other_classes: OtherClasses::Own };
    let (spec, inputs) = task(&bench, method.clone(), Some(Weights::Scratch));
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    assert_eq!(result.values.len(), 10);
    assert_eq!(at(&result, "eligible", 0.05), Some(EXAMPLES as f64));
    let [own, received] = ["own-fooled", "received"].map(|measure| at(&result, measure, 0.05).unwrap());
    assert!(own > received, "{result:?}");
    let (alone, inputs) = task(&bench, method, None);
    let error = executed(&alone, &inputs, &mut Notes::default()).unwrap_err().to_string();
    assert!(error.contains("nothing is there to compare the model with"), "{error}");
}

#[test]
fn a_universal_perturbation_is_measured_beside_noise() {
    let bench = Bench::new(EXAMPLES);
    let by = UapMethod::Gradient { step_size: 0.05, batch_size: 64 };
    let (norm, eps, fooling_rate) = (Norm::Linf, 0.1, 0.9);
    let method = AnalysisMethod::Uap { norm, eps, by, passes: 2, fooling_rate, craft_examples: Some(100) };
    let (spec, inputs) = task(&bench, method.clone(), Some(Weights::Scratch));
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    assert_eq!(result.values.len(), 6);
    let [own, noise] = ["own-fooled", "noise"].map(|measure| at(&result, measure, 0.1).unwrap());
    assert!(own > noise, "{result:?}");
}

#[test]
fn the_landscape_begins_at_the_originals() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::Landscape { distances: vec![0.05] };
    let (spec, inputs) = task(&bench, method.clone(), None);
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    let found = |measure, x| at(&result, measure, x).unwrap();
    assert_eq!(result.values.len(), 8);
    assert_eq!(found("gradient-loss", 0.0), found("random-loss", 0.0));
    assert!(found("gradient-loss", 0.05) > found("random-loss", 0.05), "{result:?}");
    assert!(found("gradient-accuracy", 0.05) <= found("random-accuracy", 0.05), "{result:?}");
}

#[test]
fn a_run_goes_by_its_own_pixels_and_not_by_those_of_the_untrained_network() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::Saliency { steps: 4, other_classes: OtherClasses::Own };
    let found = |weights: Weights| {
        let (spec, inputs) = task(&bench, method.clone(), Some(weights));
        let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
        result.check(&method).unwrap();
        assert!(result.values.iter().all(|it| it.x.is_none() && (0.0..=1.0 + 1e-9).contains(&it.value)), "{result:?}");
        values(&result, "gradient-alignment").next().unwrap().1
    };
    let (itself, _) = task(&bench, method.clone(), None);
    let (own, untrained) = (found(itself.weights), found(Weights::Scratch));
    assert!(own > 0.8 && untrained < 0.5, "{own} {untrained}");
}

#[test]
fn confidence_falls_from_the_originals_on() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::Confidence { by: ascents() };
    let (spec, inputs) = task(&bench, method.clone(), None);
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    assert_eq!(result.values.len(), 12);
    let means = [0.0, 0.02, 0.05].map(|eps| at(&result, "confidence", eps).unwrap());
    assert!(means[0] > means[1] && means[1] > means[2], "{means:?}");
}

#[test]
fn a_spectrum_is_a_share_for_each_distance_at_each_radius_that_is_named_where_there_are_several() {
    let bench = Bench::new(EXAMPLES);
    let asked = |epsilons: &[f64]| {
        let method = AnalysisMethod::Spectrum { by: Ascents { epsilons: epsilons.to_vec(), ..ascents() } };
        let (spec, inputs) = task(&bench, method.clone(), None);
        let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
        result.check(&method).unwrap();
        result
    };
    let several = asked(&[0.02, 4.0 / 255.0]);
    // 24 distances in images of 32×32 pixels, two measures, two radii.
    assert_eq!(several.values.len(), 24 * 2 * 2);
    for (measure, layer) in ["energy", "noise-energy"].into_iter().flat_map(|it| [(it, "eps=0.02"), (it, "eps=4/255")])
    {
        let sum: f64 = values(&several, measure).filter(|(of, _)| *of == layer).map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{measure} {layer}: {sum}");
    }
    let one = asked(&[0.02]);
    assert!(one.values.iter().all(|it| it.layer.is_empty()));
    let of_radius = several.values.iter().filter(|it| it.layer == "eps=0.02").map(|it| it.value);
    assert_eq!(one.values.iter().map(|it| it.value).collect::<Vec<_>>(), of_radius.collect::<Vec<_>>());
}

#[test]
fn all_frequencies_are_the_whole_image_and_none_of_them_tell_nothing() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::Frequency { radii: vec![0.0, 1000.0] };
    let (spec, inputs) = task(&bench, method.clone(), None);
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    let at = |measure: &str, radius: f64| {
        result.values.iter().find(|it| it.measure == measure && it.x == Some(radius)).unwrap().value
    };
    let whole = at("low-pass-accuracy", 1000.0);
    assert!(whole > 0.6, "{whole}");
    // Of an image without frequencies a flat grey is left, and every example gets the same class.
    assert!(at("high-pass-accuracy", 1000.0) < 0.6, "{result:?}");
}

#[test]
fn corruptions_are_measured_each_at_each_severity_beside_their_mean_and_the_examples_as_they_are() {
    let bench = Bench::new(EXAMPLES);
    let kinds = vec![Corruption::Brightness, Corruption::Contrast];
    let method = AnalysisMethod::Corruptions { kinds, severities: vec![1, 5] };
    let (spec, inputs) = task(&bench, method.clone(), None);
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    let found: Vec<(&str, Option<f64>)> = result.values.iter().map(|it| (it.measure.as_str(), it.x)).collect();
    let at = |measure| [(measure, Some(1.0)), (measure, Some(5.0))];
    let expected = [[("clean", None)].as_slice(), &at("mean"), &at("brightness"), &at("contrast")].concat();
    assert_eq!(found, expected);
    let numbers: Vec<f64> = result.values.iter().map(|it| it.value).collect();
    assert!(numbers[0] > 0.6, "{numbers:?}");
    assert_eq!(numbers[2], (numbers[4] + numbers[6]) / 2.0);
}

#[test]
fn an_analysis_that_was_stopped_comes_to_the_same_bits_when_it_is_begun_again() {
    let bench = Bench::new(EXAMPLES);
    let (spec, inputs) = task(&bench, SIMILARITY, Some(Weights::Scratch));
    let mut stopped = Notes { wishes: [(128, Wish::Stop)].into(), ..Notes::default() };
    assert!(matches!(executed(&spec, &inputs, &mut stopped), Err(LabError::Interrupted)));
    let [first, second] = [(); 2].map(|()| executed(&spec, &inputs, &mut Notes::default()).unwrap());
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
}

#[test]
fn a_heat_map_has_a_row_for_each_vertical_frequency_and_is_an_image_too() {
    let bench = Bench::new(EXAMPLES);
    let method = AnalysisMethod::HeatMap { norm: 4.0, reach: 1 };
    let (spec, inputs) = task(&bench, method.clone(), None);
    let result = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    result.check(&method).unwrap();
    let places: Vec<(&str, Option<f64>)> = result.values.iter().map(|it| (it.layer.as_str(), it.x)).collect();
    let rows = ["vertical=-1", "vertical=0", "vertical=1"];
    let expected = rows.iter().flat_map(|row| [-1.0, 0.0, 1.0].map(|x| (*row, Some(x)))).collect::<Vec<_>>();
    assert_eq!(places, expected);
    let errors: Vec<f64> = values(&result, "error").map(|(_, error)| error).collect();
    assert!(errors.iter().all(|error| (0.0..=1.0).contains(error)), "{errors:?}");
    assert_eq!(
        (errors[0], errors[1], errors[3]),
        (errors[8], errors[7], errors[5]),
        "opposite frequencies are one wave"
    );
    let names: Vec<&str> = result.images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["heat-map"]);
    let other = AnalysisSpec { seed: 6, ..spec };
    assert_ne!(executed(&other, &inputs, &mut Notes::default()).unwrap().values, result.values, "signs are the seed's");
}
