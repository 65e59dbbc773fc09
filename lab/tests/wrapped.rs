//! Checkpoints as other people's training code saves them; `reference/make_wrapped.py` made the files with PyTorch.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{Backbone, CheckpointFormat, Head, ModelSpec, Normalize, Weights};
use gauntlet_lab::LabError;
use gauntlet_lab::models::{Checkpoints, Parameters, starting_weights};
use support::{floats, model_spec};
use tch::Device;

const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f64; 3] = [0.2471, 0.2435, 0.2616];

fn spec(mean: [f64; 3]) -> ModelSpec {
    let normalize = Normalize { mean: mean.to_vec(), std: STD.to_vec() };
    ModelSpec { normalize, ..model_spec(Backbone::ResNet18W16, 3, 10) }
}

fn import(name: &str, spec: &ModelSpec, head: Head) -> Result<Parameters, LabError> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/wrapped/{name}.pth.gz"));
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(packed).unwrap()).read_to_end(&mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.pth"));
    std::fs::write(&path, &bytes).unwrap();
    let checkpoint = Digest::of(&bytes);
    let (tasks, files) = (BTreeMap::new(), BTreeMap::from([(checkpoint, path)]));
    let weights = Weights::Imported { checkpoint, format: CheckpointFormat::Pytorch, head };
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    starting_weights(spec, &weights, 0, checkpoints, Device::Cpu)
}

/// Every tensor holds its place in the state dict over 64.
fn assert_is_the_model(name: &str, parameters: &Parameters) {
    let expected = spec(MEAN).state_dict();
    assert_eq!(parameters.tensors().len(), expected.len(), "{name}");
    for (place, parameter) in expected.iter().enumerate() {
        let found = &parameters.tensors()[&parameter.name];
        let shape: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
        assert_eq!(found.size(), shape, "{name}: {}", parameter.name);
        assert!(floats(found).iter().all(|value| *value == place as f32 / 64.0), "{name}: {}", parameter.name);
    }
}

#[test]
fn a_model_is_found_inside_what_training_code_wraps_around_it() {
    for name in
        ["plain", "data_parallel", "container", "robustness", "robustbench", "robustbench_wrapped", "sequential"]
    {
        let parameters = import(name, &spec(MEAN), Head::Keep).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_is_the_model(name, &parameters);
    }
}

#[test]
fn a_head_is_replaced_inside_a_wrapper_too() {
    let parameters = import("robustness", &ModelSpec { classes: 26, ..spec(MEAN) }, Head::Replace).unwrap();
    assert_eq!(parameters.tensors()["fc.weight"].size(), [26, 128]);
    let first = floats(&parameters.tensors()["conv1.weight"]);
    assert!(first.iter().all(|value| *value == 0.0), "the first tensor is filled with 0");
    assert!(floats(&parameters.tensors()["bn1.weight"]).iter().all(|value| *value == 1.0 / 64.0));
}

#[test]
fn a_checkpoint_behind_another_normalisation_is_refused_with_both() {
    for (name, tensor) in [
        ("robustness", "module.attacker.normalize.new_mean"),
        ("robustbench", "mu"),
        ("robustbench_wrapped", "mu"),
        ("sequential", "0.mean"),
    ] {
        let message = import(name, &spec([0.5; 3]), Head::Keep).unwrap_err().to_string();
        let expected =
            format!("its `{tensor}` is [0.4914, 0.4822, 0.4465], the model's `normalize` has mean = [0.5, 0.5, 0.5]");
        assert!(message.ends_with(&expected), "{name}: {message}");
    }
}

#[test]
fn copies_that_are_not_equal_are_no_copies() {
    let message = import("differing_copies", &spec(MEAN), Head::Keep).unwrap_err().to_string();
    assert!(
        message.ends_with("tensor `attacker.model.fc.bias` should be a copy of `model.fc.bias`, and differs from it"),
        "{message}"
    );
}
