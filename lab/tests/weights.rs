//! Where weights come from, and what is said when they do not fit.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::BTreeMap;

use gauntlet_domain::Digest;
use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{
    Backbone, CheckpointFormat, Head, Length, NUMERICS_VERSION, Objective, Stem, TaskSpec, Weights,
};
use gauntlet_domain::task::FailureClass;
use gauntlet_lab::models::{Checkpoints, Parameters, starting_weights};
use gauntlet_lab::{Lab, LabError, Settings};
use safetensors::{Dtype, tensor::TensorView};
use support::{Bench, Notes, floats, model_spec, pattern};
use tch::Device;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A state dict of the narrow net for 3 classes.
fn tensors() -> Tensors {
    let parameters = Backbone::ResNet18W16.state_dict(Stem::Standard, 1, 3).into_iter();
    let tensors = parameters.map(|parameter| {
        let shape: Vec<usize> = parameter.shape.iter().map(|length| *length as usize).collect();
        let values = pattern(&parameter.name, shape.iter().product());
        (parameter.name, (shape, values))
    });
    tensors.collect()
}

/// What becomes of a file of these tensors, imported into the narrow net.
fn import(tensors: &Tensors, head: Head, classes: u32) -> Result<Parameters, LabError> {
    let blobs: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = blobs
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imported.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let checkpoint = Digest::of(&bytes);
    let (tasks, files) = ([].into(), [(checkpoint, path)].into());
    let weights = Weights::Imported { checkpoint, format: CheckpointFormat::SafeTensors, head };
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    starting_weights(&model_spec(Backbone::ResNet18W16, 1, classes), &weights, 4, checkpoints, Device::Cpu)
}

fn message(tensors: &Tensors, classes: u32) -> String {
    let error = import(tensors, Head::Keep, classes).unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    error.to_string()
}

#[test]
fn imported_weights_are_taken_over_as_they_are() {
    let mut file = tensors();
    file.insert("bn1.num_batches_tracked".into(), (vec![], vec![7.0]));
    let parameters = import(&file, Head::Keep, 3).unwrap();
    assert_eq!(parameters.tensors().len(), tensors().len());
    for (name, (_, values)) in tensors() {
        assert_eq!(floats(&parameters.tensors()[&name]), values, "{name}");
    }
}

#[test]
fn a_replaced_head_is_drawn_for_the_new_classes_and_the_rest_stays() {
    let parameters = import(&tensors(), Head::Replace, 26).unwrap();
    assert_eq!(parameters.tensors()["fc.weight"].size(), [26, 128]);
    assert_eq!(floats(&parameters.tensors()["conv1.weight"]), tensors()["conv1.weight"].1);
    let mut headless = tensors();
    headless.retain(|name, _| !name.starts_with("fc."));
    let again = import(&headless, Head::Replace, 26).unwrap();
    assert_eq!(floats(&again.tensors()["fc.weight"]), floats(&parameters.tensors()["fc.weight"]));
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let mut file = tensors();
    file.insert("layer2.0.conv1.weight".into(), (vec![32, 16, 1, 1], vec![0.0; 512]));
    let text = message(&file, 3);
    assert!(text.contains("does not fit resnet18-w16: tensor `layer2.0.conv1.weight` has shape [32, 16, 1, 1], expected [32, 16, 3, 3]"), "{text}");
}

#[test]
fn a_head_for_other_classes_comes_with_the_way_out() {
    let text = message(&tensors(), 26);
    assert!(text.contains("`fc.bias` has shape [3], expected [26]") || text.contains("`fc.weight`"), "{text}");
    assert!(text.contains("head = \"replace\""), "{text}");
}

#[test]
fn missing_and_unexpected_tensors_are_listed() {
    let mut file = tensors();
    let moved = file.remove("bn1.bias").unwrap();
    file.insert("module.bn1.bias".into(), moved);
    let text = message(&file, 3);
    assert!(text.contains("1 missing: `bn1.bias`; 1 unexpected: `module.bn1.bias`"), "{text}");
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let mut file = tensors();
    file.get_mut("fc.bias").unwrap().1[1] = f32::NAN;
    assert!(message(&file, 3).contains("`fc.bias`"));
}

#[test]
fn weights_from_scratch_follow_from_the_seed_name_by_name() {
    let (tasks, files) = (BTreeMap::new(), BTreeMap::new());
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let draw = |classes, seed| {
        let spec = model_spec(Backbone::ResNet18W16, 1, classes);
        starting_weights(&spec, &Weights::Scratch, seed, checkpoints, Device::Cpu).unwrap()
    };
    let stem = |parameters: &Parameters| floats(&parameters.tensors()["conv1.weight"]);
    assert_eq!(stem(&draw(3, 0)), stem(&draw(26, 0)));
    assert_ne!(stem(&draw(3, 0)), stem(&draw(3, 1)));
}

#[test]
fn specs_whose_parts_do_not_go_together_are_refused_before_anything_is_read() {
    let bench = Bench::new(16);
    let good = bench.train_spec(Objective::Standard, Length::Epochs(1));
    let mut lab = Lab::new(Settings::default());
    let mut refuse = |change: &dyn Fn(&mut gauntlet_domain::experiment::TrainSpec), expected: &str| {
        let mut spec = good.clone();
        change(&mut spec);
        let error = lab.execute(&TaskSpec::Train(spec), &bench.inputs, &mut Notes::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    refuse(&|spec| spec.model.classes = 4, "the data set has 3 classes, the model 4");
    refuse(&|spec| spec.model.channels = 3, "images have 1 channels, the model takes 3");
    refuse(&|spec| spec.dataset.image.width = 8, "images are 32×8, resnet18-w16 takes 16 and up");
    refuse(&|spec| spec.numerics += 1, &format!("planned for version {} of the numerics", NUMERICS_VERSION + 1));
    refuse(&|spec| spec.model.normalize.std = vec![0.0], "std must be above zero");
}

#[test]
fn a_checkpoint_that_was_not_handed_over_may_come_with_the_next_attempt() {
    let bench = Bench::new(16);
    let mut spec = bench.train_spec(Objective::Standard, Length::Epochs(1));
    spec.weights = Weights::Task { task: TaskId::from_digest(Digest::of(b"absent")), head: Head::Keep };
    let mut lab = Lab::new(Settings::default());
    let error = lab.execute(&TaskSpec::Train(spec), &bench.inputs, &mut Notes::default()).unwrap_err();
    assert_eq!(error.class(), FailureClass::Transient);
}
