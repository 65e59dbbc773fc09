//! Data sets of what a model sees: made with a network whose features are known, pixel by pixel, and trained on.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_data::Images;
use gauntlet_domain::experiment::{
    AnalysisMethod, AnalysisSpec, Backbone, Construction, DatasetSource, DatasetSpec, Descent, Head, ImageShape,
    Length, ModelSpec, NUMERICS_VERSION, Norm, Normalize, Objective, TaskSpec, TrainSpec, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use gauntlet_lab::analyses::robust_features::{Constructed, construct};
use gauntlet_lab::models::{Mode, Model, Parameters};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Examples, Inputs, Lab, LabError, Settings, TaskOutput};
use support::trained::{spec, trained};
use support::{Bench, Notes, formula_bytes, given};
use tch::{Device, Kind, Tensor};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const EXAMPLES: usize = 20;
const CLASSES: u32 = 3;
/// Features that the network has: one for each tap of the stem's 3×3 kernel.
const FEATURES: usize = 9;
/// How far the places of a feature's pixels are apart: the strides of the stem and of three stages.
const STRIDE: usize = 16;

/// Pixels whose mean is feature `number` where the image has them; beyond the border stands 0.
fn pixels_of(number: usize) -> Vec<usize> {
    let places = |tap: usize| (0..2).filter_map(move |place| (place * STRIDE + tap).checked_sub(1));
    places(number / 3).flat_map(|row| places(number % 3).map(move |column| row * SIDE + column)).collect()
}

/// A network whose features are means of four pixels: its stem takes single pixels apart, its residual branches say nothing, its shortcuts pass on.
fn known() -> Model {
    let normalize = Normalize { mean: vec![0.0], std: vec![1.0] };
    let spec = ModelSpec { normalize, ..support::model_spec(Backbone::ResNet18W16, 1, CLASSES) };
    let mut tensors = BTreeMap::new();
    for parameter in spec.backbone.state_dict(spec.stem, 1, CLASSES) {
        let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
        let tensor = Tensor::zeros(size.as_slice(), (Kind::Float, Device::Cpu));
        let name = parameter.name.as_str();
        let one = |at: &[i64]| {
            let place = at.iter().fold(tensor.shallow_clone(), |part, index| part.get(*index));
            let _filled = place.shallow_clone().fill_(1.0);
        };
        match name {
            "conv1.weight" => (0..FEATURES as i64).for_each(|number| one(&[number, 0, number / 3, number % 3])),
            // Class k has the features k, k + 3 and k + 6.
            "fc.weight" => (0..FEATURES as i64).for_each(|number| one(&[number % 3, number])),
            _ if name.ends_with("downsample.0.weight") => (0..16).for_each(|number| one(&[number, number])),
            // With what is added to it, the variance is 1.
            _ if name.ends_with("running_var") => drop(tensor.shallow_clone().fill_(1.0 - 1e-5)),
            _ if size.len() == 1 && name.ends_with("weight") => drop(tensor.shallow_clone().fill_(1.0)),
            _ => {}
        }
        tensors.insert(parameter.name, tensor);
    }
    Model::new(&spec, Parameters::new(tensors).frozen(), Device::Cpu).unwrap()
}

fn labels() -> Vec<u32> {
    (0..EXAMPLES as u32).map(|example| example % CLASSES).collect()
}

fn examples() -> Examples {
    let shape = ImageShape { channels: 1, height: SIDE as u32, width: SIDE as u32 };
    // Without black, where rectifiers have no slope.
    let pixels = formula_bytes("seen", EXAMPLES * PIXELS).into_iter().map(|level| 64 + level / 2).collect();
    Examples::from_images(&Images { pixels, labels: labels(), shape }, CLASSES, Device::Cpu).unwrap()
}

fn rows(pixels: &Tensor) -> Vec<Vec<f32>> {
    let flat: Vec<f32> = Vec::try_from(pixels.contiguous().view([-1])).unwrap();
    flat.chunks(PIXELS).map(<[f32]>::to_vec).collect()
}

fn made(construction: &Construction, seed: u64, batch_size: usize) -> Constructed {
    construct(&known(), &examples(), construction, seed, batch_size, &mut |_, _| Wish::GoOn).unwrap()
}

fn descent(eps: f64) -> Descent {
    Descent { norm: Norm::L2, eps, steps: 40, step_size: 0.2 }
}

/// Of an image, its features by hand.
fn features_of(image: &[f32]) -> Vec<f32> {
    (0..FEATURES).map(|number| pixels_of(number).iter().map(|pixel| image[*pixel]).sum::<f32>() / 4.0).collect()
}

#[test]
fn the_network_has_the_features_that_are_known() {
    let batch = examples().range(0, EXAMPLES).unwrap();
    let features = known().forward(&batch.pixels, Mode::Eval).unwrap().features;
    for (example, image) in rows(&batch.pixels).iter().enumerate() {
        let found: Vec<f32> = Vec::try_from(features.get(example as i64)).unwrap();
        let known = features_of(image);
        assert!(found.iter().zip(&known).all(|(one, other)| (one - other).abs() < 1e-5), "{found:?} {known:?}");
        assert!(found[FEATURES..].iter().all(|value| *value == 0.0));
    }
}

#[test]
fn a_represented_example_has_its_features_in_the_pixels_they_come_from_and_another_image_everywhere_else() {
    let result = made(&Construction::Represented { steps: 200, step_size: 0.02 }, 3, 7);
    let used: BTreeSet<usize> = (0..FEATURES).flat_map(pixels_of).collect();
    let rest = |image: &[f32]| -> Vec<u32> {
        (0..PIXELS).filter(|pixel| !used.contains(pixel)).map(|pixel| image[pixel].to_bits()).collect()
    };
    let originals = rows(&examples().range(0, EXAMPLES).unwrap().pixels);
    let mut starts = BTreeSet::new();
    for (example, image) in rows(&result.pixels).iter().enumerate() {
        let start = originals.iter().position(|original| rest(original) == rest(image)).unwrap();
        assert_ne!(start, example);
        starts.insert(start);
        let (sought, found) = (features_of(&originals[example]), features_of(image));
        let away = sought.iter().zip(&found).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(away < 0.01, "example {example}: {sought:?} {found:?}");
    }
    assert_eq!(starts.len(), EXAMPLES, "every example starts one");
    assert_eq!(Vec::<i64>::try_from(&result.labels).unwrap(), labels().into_iter().map(i64::from).collect::<Vec<_>>());
    let [end, start] = result.outcome.feature_distances.unwrap();
    assert!(end < 0.02 && start > 0.1, "{end} {start}");
}

#[test]
fn images_are_led_to_the_next_class_by_its_own_pixels_alone_and_stay_in_the_ball() {
    let result = made(&Construction::NextTarget(descent(1.0)), 3, 7);
    let next: Vec<i64> = labels().iter().map(|label| i64::from((label + 1) % CLASSES)).collect();
    assert_eq!(Vec::<i64>::try_from(&result.labels).unwrap(), next);
    let feature_of: BTreeMap<usize, usize> =
        (0..FEATURES).flat_map(|number| pixels_of(number).into_iter().map(move |pixel| (pixel, number))).collect();
    let originals = rows(&examples().range(0, EXAMPLES).unwrap().pixels);
    for ((image, original), target) in rows(&result.pixels).iter().zip(&originals).zip(&next) {
        let change: Vec<f32> = image.iter().zip(original).map(|(new, old)| new - old).collect();
        for (pixel, change) in change.iter().enumerate() {
            match feature_of.get(&pixel) {
                None => assert_eq!(*change, 0.0),
                Some(feature) if (*feature % 3) as i64 == *target => assert!(*change >= 0.0, "{change}"),
                Some(_) => assert!(*change <= 0.0, "{change}"),
            }
        }
        let length = change.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!(length <= 1.0 + 1e-5 && length > 0.5, "{length}");
    }
    assert_eq!(result.outcome.agreement, 1.0, "{:?}", result.outcome);
}

#[test]
fn drawn_targets_follow_from_the_seed_and_not_from_the_batches() {
    let drawn = |seed, batch_size| {
        let result = made(&Construction::RandomTarget(descent(0.5)), seed, batch_size);
        Vec::<i64>::try_from(&result.labels).unwrap()
    };
    assert_eq!(drawn(3, 7), drawn(3, 20));
    assert_ne!(drawn(3, 7), drawn(4, 7));
    assert_eq!(drawn(3, 7).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2]));
}

/// A construction with the trained model.
fn task(bench: &Bench, construction: Construction) -> (AnalysisSpec, Inputs) {
    let parent = TaskId::from_digest(Digest::of(b"parent"));
    let path = bench.folder.path().join("parent.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let spec = AnalysisSpec {
        dataset: bench.dataset.clone(),
        model: support::model_spec(spec().backbone, 1, 3),
        weights: Weights::Task { task: parent, head: Head::Keep },
        against: None,
        method: AnalysisMethod::RobustFeatures { construction },
        seed: 5,
        numerics: NUMERICS_VERSION,
    };
    (spec, given(&bench.inputs, parent, path))
}

fn executed(spec: &AnalysisSpec, inputs: &Inputs, notes: &mut Notes) -> Result<Vec<u8>, LabError> {
    match Lab::new(Settings::default()).execute(&TaskSpec::Analyze(spec.clone()), inputs, notes)? {
        TaskOutput::Analyzed { result, dataset: Some(path) } => {
            let measures: Vec<&str> = result.values.iter().map(|value| value.measure.as_str()).collect();
            assert!(measures.iter().all(|measure| spec.method.measures().contains(measure)), "{measures:?}");
            Ok(std::fs::read(path).unwrap())
        }
        other => panic!("a construction gave {other:?}"),
    }
}

#[test]
fn what_was_made_is_the_same_to_the_byte_after_a_stop_and_a_training_takes_it_for_its_split() {
    let bench = Bench::new(40);
    let (spec, inputs) = task(&bench, Construction::NextTarget(Descent { steps: 5, ..descent(0.5) }));
    let whole = executed(&spec, &inputs, &mut Notes::default()).unwrap();
    let stopped = executed(&spec, &inputs, &mut Notes { wishes: [(80, Wish::Stop)].into(), ..Notes::default() });
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(executed(&spec, &inputs, &mut Notes::default()).unwrap(), whole);

    let task = TaskSpec::Analyze(spec.clone()).id();
    let path = bench.folder.path().join("made.safetensors");
    std::fs::write(&path, &whole).unwrap();
    let source = DatasetSource::Constructed { task };
    let dataset = DatasetSpec { source, ..bench.dataset.clone() };
    let train = TrainSpec { dataset, ..bench.train_spec(Objective::Standard, Length::Iterations(4)) };
    let train_on = |inputs: &Inputs| {
        Lab::new(Settings::default()).execute(&TaskSpec::Train(train.clone()), inputs, &mut Notes::default())
    };
    let inputs = given(&bench.inputs, task, path.clone());
    let weights = |output| match output {
        TaskOutput::Trained { checkpoint } => std::fs::read(checkpoint).unwrap(),
        other => panic!("{other:?}"),
    };
    let on_made = weights(train_on(&inputs).unwrap());
    let on_split = bench.train_spec(Objective::Standard, Length::Iterations(4));
    let on_split =
        Lab::new(Settings::default()).execute(&TaskSpec::Train(on_split), &bench.inputs, &mut Notes::default());
    assert_ne!(on_made, weights(on_split.unwrap()));
    assert!(train_on(&bench.inputs).unwrap_err().to_string().contains("is not at hand"));

    // The pixels lie at the end of the file or before its labels; one of them becomes a number that none can be.
    let mut broken = whole;
    let header = u64::from_le_bytes(*broken.first_chunk::<8>().unwrap()) as usize + 8;
    let offsets = String::from_utf8_lossy(&broken[8..header]).into_owned();
    let first = header + if offsets.find("images") < offsets.find("labels") { 0 } else { 40 * 8 };
    broken[first..first + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, broken).unwrap();
    let error = train_on(&inputs).unwrap_err().to_string();
    assert!(error.contains("image 0 holds NaN: pixels are 0 to 1"), "{error}");
}
