//! A model that was trained for a moment, and examples to attack it with.

use std::sync::OnceLock;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{Backbone, CheckpointFormat, Head, Length, ModelSpec, Objective, TaskSpec, Weights};
use gauntlet_lab::models::{Checkpoints, Model, Parameters, starting_weights};
use gauntlet_lab::{Examples, Lab, Settings, TaskOutput};
use tch::{Device, Tensor};

use super::{Bench, Notes, model_spec, pattern, squares};

/// How many examples there are.
pub const EXAMPLES: usize = 90;

/// The checkpoint of a model that was trained for a moment, made once for all tests.
pub fn trained() -> &'static [u8] {
    static CHECKPOINT: OnceLock<Vec<u8>> = OnceLock::new();
    CHECKPOINT.get_or_init(|| {
        let bench = Bench::new(96);
        let spec = bench.train_spec(Objective::Standard, Length::Iterations(24));
        let mut lab = Lab::new(Settings::default());
        let output = lab.execute(&TaskSpec::Train(spec), &bench.inputs, &mut Notes::default()).unwrap();
        let TaskOutput::Trained { checkpoint } = output else { panic!("a training gave {output:?}") };
        std::fs::read(checkpoint).unwrap()
    })
}

pub fn spec() -> ModelSpec {
    model_spec(Backbone::ResNet18W16, 1, 3)
}

pub fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trained.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let checkpoint = Digest::of(trained());
    let (tasks, files) = ([].into(), [(checkpoint, path)].into());
    let weights = Weights::Imported { checkpoint, format: CheckpointFormat::SafeTensors, head: Head::Keep };
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let parameters = starting_weights(&spec(), &weights, 0, checkpoints, Device::Cpu).unwrap();
    Model::new(&spec(), parameters, Device::Cpu).unwrap()
}

/// Images of other noise than the training's, some with a wrong label so that the model is wrong before any attack.
pub fn examples() -> Examples {
    let mut images = squares("test", EXAMPLES);
    images.labels[4] = (images.labels[4] + 1) % 3;
    images.labels[50] = (images.labels[50] + 1) % 3;
    Examples::from_images(&images, 3, Device::Cpu).unwrap()
}

/// The trained model with other parameters: `change` gets the name of each and its values.
pub fn changed(change: impl Fn(&str, &Tensor) -> Tensor) -> Model {
    let model = model();
    let tensors = model.parameters().tensors();
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), change(name, &tensor.detach()))).collect();
    Model::new(&spec(), Parameters::new(tensors), Device::Cpu).unwrap()
}

/// The trained model with weights of its convolutions that are off by up to so many standard deviations.
pub fn shaken(by: f64) -> Model {
    changed(|name, tensor| {
        if tensor.dim() < 4 {
            return tensor.copy();
        }
        let noise = Tensor::from_slice(&pattern(name, tensor.numel())).view(tensor.size().as_slice());
        tensor + noise * tensor.std(true) * by
    })
}

/// A model that predicts one class, whatever it sees.
pub fn constant(class: i64) -> Model {
    changed(|name, tensor| match name {
        "fc.weight" => tensor.zeros_like(),
        "fc.bias" => Tensor::zeros_like(tensor).index_fill(0, &Tensor::from_slice(&[class]), 1.0),
        _ => tensor.copy(),
    })
}
