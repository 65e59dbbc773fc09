//! What the tests share: models and images filled from a formula, tasks on small data, golden values.
#![allow(dead_code)] // Each test binary uses its part.
#![allow(clippy::unwrap_used)] // A test may stop at once.

pub mod trained;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gauntlet_data::{Images, Places};
use gauntlet_domain::experiment::{
    Augmentation, Backbone, DatasetSource, DatasetSpec, Decay, EpochMetrics, EpsilonSchedule, Fit, Frozen, ImageShape,
    Length, ModelSpec, NUMERICS_VERSION, Normalize, Objective, Optimizer, Precision, Recipe, Schedule, Stem, Subset,
    TrainSpec, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use gauntlet_lab::models::{Model, Parameters};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Examples, Inputs, Observer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Device, Tensor};

/// The same inputs with what one task made.
pub fn given(inputs: &Inputs, task: TaskId, artifact: PathBuf) -> Inputs {
    let places = Places { task_artifacts: [(task, artifact)].into(), ..inputs.places.clone() };
    Inputs { places, ..inputs.clone() }
}

/// Values in [−1,1), exact in f32, that depend on the name and the index alone. The same as `pattern` in `reference/make_golden.py`.
pub fn pattern(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0x811C_9DC5_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let hash = |index: u32| {
        let mut h = index.wrapping_mul(0x9E37_79B9).wrapping_add(seed);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        h ^ (h >> 16)
    };
    (0..count as u32).map(|index| 2.0 * ((hash(index) >> 8) as f32 / 16_777_216.0) - 1.0).collect()
}

pub fn model_spec(backbone: Backbone, channels: u32, classes: u32) -> ModelSpec {
    let normalize = Normalize { mean: vec![0.5; channels as usize], std: vec![0.25; channels as usize] };
    ModelSpec { backbone, stem: Stem::Standard, width: None, channels, classes, normalize }
}

/// The model that `reference/make_golden.py` fills.
pub fn formula_model(backbone: Backbone, channels: u32, classes: u32) -> Model {
    let mut tensors = BTreeMap::new();
    let list = backbone.state_dict(Stem::Standard, channels, classes);
    let features = list.iter().find(|parameter| parameter.name == "fc.weight").unwrap().shape[1];
    for parameter in list {
        let count: u64 = parameter.shape.iter().product();
        let values = pattern(&parameter.name, count as usize);
        let change: Box<dyn Fn(f32) -> f32> = match parameter.shape.as_slice() {
            [outputs, _, height, width] => {
                let bound = (6.0 / (outputs * height * width) as f64).sqrt() as f32;
                Box::new(move |value| value * bound)
            }
            _ if parameter.name.starts_with("fc.") => {
                let bound = (1.0 / (features as f64).sqrt()) as f32;
                Box::new(move |value| value * bound)
            }
            _ if parameter.name.ends_with("running_var") => Box::new(|value| 1.0 + 0.5 * value),
            _ if parameter.name.ends_with("weight") => Box::new(|value| 1.0 + 0.25 * value),
            _ => Box::new(|value| 0.1 * value),
        };
        let values: Vec<f32> = values.into_iter().map(change).collect();
        let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
        tensors.insert(parameter.name, Tensor::from_slice(&values).view(size.as_slice()));
    }
    Model::new(&model_spec(backbone, channels, classes), Parameters::new(tensors), Device::Cpu).unwrap()
}

/// Bytes of images, from the formula.
pub fn formula_bytes(name: &str, count: usize) -> Vec<u8> {
    pattern(name, count).into_iter().map(|value| ((value + 1.0) * 128.0).floor() as u8).collect()
}

/// f32 pixels in [0,1], from the formula.
pub fn formula_pixels(name: &str, size: &[i64]) -> Tensor {
    let count: i64 = size.iter().product();
    Tensor::from_slice(&formula_bytes(name, count as usize)).view(size).to_kind(tch::Kind::Float) / 255.0
}

pub fn formula_examples(name: &str, labels: Vec<u32>, classes: u32) -> Examples {
    let shape = ImageShape { channels: 1, height: 32, width: 32 };
    let pixels = formula_bytes(name, labels.len() * 1024);
    Examples::from_images(&Images { pixels, labels, shape }, classes, Device::Cpu).unwrap()
}

/// A file of golden values.
pub struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"));
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |view: TensorView<'_>| {
            let size: Vec<i64> = view.shape().iter().map(|length| *length as i64).collect();
            Tensor::f_from_data_size(view.data(), &size, tch::Kind::Float).unwrap()
        };
        Self(file.iter().map(|(name, view)| (name.to_owned(), tensor(view))).collect())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no golden value `{name}`"))
    }

    pub fn classes(&self, name: &str) -> Vec<u32> {
        floats(self.get(name)).into_iter().map(|value| value as u32).collect()
    }
}

pub fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
}

/// Largest difference, relative to the largest golden value.
pub fn relative_difference(found: &Tensor, golden: &Tensor) -> f64 {
    let found = found.detach().reshape(golden.size());
    let scale = golden.abs().max().double_value(&[]).max(1e-12);
    (found - golden).abs().max().double_value(&[]) / scale
}

/// Three classes that differ by where a bright square is, in noise.
pub fn squares(name: &str, count: usize) -> Images {
    let noise = formula_bytes(name, count * 1024);
    let mut pixels: Vec<u8> = noise.into_iter().map(|byte| byte / 4).collect();
    for (example, image) in pixels.chunks_exact_mut(1024).enumerate() {
        let (row, column) = [(4, 4), (4, 20), (20, 12)][example % 3];
        for y in row..row + 8 {
            for pixel in &mut image[y * 32 + column..y * 32 + column + 8] {
                *pixel += 90;
            }
        }
    }
    let labels = (0..count as u32).map(|example| example % 3).collect();
    Images { pixels, labels, shape: ImageShape { channels: 1, height: 32, width: 32 } }
}

/// A folder with a small data set, and what a task on it needs.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub dataset: DatasetSpec,
    pub inputs: Inputs,
}

impl Bench {
    pub fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = squares("squares", count);
        let path = folder.path().join("images.safetensors");
        let labels: Vec<u8> = images.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()).collect();
        let views = [
            ("images", TensorView::new(Dtype::U8, vec![count, 1, 32, 32], &images.pixels).unwrap()),
            ("labels", TensorView::new(Dtype::I64, vec![count], &labels).unwrap()),
        ];
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let file = Digest::of(&bytes);
        let dataset = DatasetSpec {
            subset: Subset::default(),
            source: DatasetSource::SafeTensors { file },
            examples: count as u32,
            classes: 3,
            image: images.shape,
            fit: Fit::Pad,
            frequencies: None,
        };
        let places = Places { files: BTreeMap::from([(file, path)]), ..Places::default() };
        let inputs = Inputs { places, output_dir: folder.path().to_owned(), ..Inputs::default() };
        Self { folder, dataset, inputs }
    }

    pub fn recipe(objective: Objective, length: Length) -> Recipe {
        Recipe {
            objective,
            epsilon_schedule: EpsilonSchedule::Constant,
            label_smoothing: 0.0,
            frozen: Frozen::NOTHING,
            head_first: None,
            head_learning_rate: None,
            dropout: true,
            batch_norm_momentum: None,
            length,
            batch_size: 16,
            micro_batch_size: None,
            optimizer: Optimizer::Sgd { learning_rate: 0.05, momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
            decay_norm_and_bias: true,
            gradient_clip: None,
            schedule: Schedule { warmup: 0.1, decay: Decay::Cosine { final_learning_rate: 0.0 } },
            precision: Precision::F32,
            ema: None,
            validation: None,
            augmentation: Augmentation { shift: 1, ..Augmentation::default() },
        }
    }

    pub fn train_spec(&self, objective: Objective, length: Length) -> TrainSpec {
        TrainSpec {
            dataset: self.dataset.clone(),
            model: model_spec(Backbone::ResNet18W16, 1, 3),
            weights: Weights::Scratch,
            recipe: Self::recipe(objective, length),
            seed: 1,
            numerics: NUMERICS_VERSION,
        }
    }

    /// The same inputs with an output folder of their own.
    pub fn inputs_for(&self, name: &str) -> Inputs {
        let output_dir = self.folder.path().join(name);
        std::fs::create_dir_all(&output_dir).unwrap();
        Inputs { output_dir, ..self.inputs.clone() }
    }
}

/// Writes down what a task tells.
#[derive(Debug, Default)]
pub struct Notes {
    pub progress: Vec<(u64, u64, &'static str)>,
    pub epochs: Vec<EpochMetrics>,
    pub checkpoints: Vec<(PathBuf, u32)>,
    /// What is wished after which step.
    pub wishes: BTreeMap<u64, Wish>,
}

impl Observer for Notes {
    fn progress(&mut self, done: u64, total: u64, unit: &'static str) {
        self.progress.push((done, total, unit));
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        self.epochs.push(metrics.clone());
    }

    fn checkpoint(&mut self, path: &Path, epoch: u32) {
        self.checkpoints.push((path.to_owned(), epoch));
    }

    fn wish(&mut self) -> Wish {
        let done = self.progress.last().map_or(0, |(done, _, _)| *done);
        self.wishes.get(&done).copied().unwrap_or_default()
    }
}
