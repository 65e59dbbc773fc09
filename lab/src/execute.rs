//! From a task to its output.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gauntlet_data::Places;
use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{
    AnalysisResult, AnalysisSpec, AttackMethod, AttackResult, AttackSpec, DatasetSpec, EpochMetrics, ModelSpec,
    NUMERICS_VERSION, Shard, TaskSpec, TrainSpec, Weights,
};
use gauntlet_domain::task::MemoryPlan;

use crate::analyses::{Answer, Subject, analyze};
use crate::attacks::{Aids, Blocks, Evaluation, Resumable, Step, evaluate_resumably};
use crate::checkpoint;
use crate::device::DeviceName;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::{Activations, Checkpoints, Model, Parameters, starting_weights};
use crate::training::{Observation, Training, Wish, train};

/// Data sets kept in memory between tasks: a source, a target and its test split.
const DATASETS_KEPT: usize = 3;

/// Name of the trained weights in a task's output folder.
const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

/// Name of a constructed data set there.
const DATASET_FILE: &str = "dataset.safetensors";

/// How tasks are computed. Device, threads and the size of batches of an attack decide the rounding of results, and nothing else of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where.
    pub device: DeviceName,
    /// Threads of one operation on the CPU. Two processes of one thread are faster than one of two.
    pub threads: u32,
    /// Examples attacked together.
    pub attack_batch_size: usize,
    /// Shortest time between two resumable checkpoints.
    pub checkpoint_interval: Duration,
    /// Whether activations are computed again instead of kept, which takes longer and needs less memory. Results are the same.
    pub recompute_activations: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: DeviceName::Cpu,
            threads: 1,
            attack_batch_size: 128,
            checkpoint_interval: Duration::from_secs(10),
            recompute_activations: false,
        }
    }
}

/// Where a task's inputs lie and where its outputs go.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Files and tasks named in the spec, and the folder of data that set-up brings.
    pub places: Places,
    /// A resumable checkpoint of an earlier attempt at the same task.
    pub resume_from: Option<PathBuf>,
    /// An existing folder that this attempt alone writes to.
    pub output_dir: PathBuf,
    /// How it spares memory.
    pub memory: MemoryPlan,
}

/// Hears how a task goes.
pub trait Observer {
    /// `done` of `total` `unit`s (`steps`, `examples`) are done. Called often.
    fn progress(&mut self, done: u64, total: u64, unit: &'static str);

    /// An epoch ended. After a resume the earlier epochs are told again first.
    fn epoch(&mut self, metrics: &EpochMetrics);

    /// A resumable checkpoint after so many epochs of a training, or blocks of an evaluation, is on disk. It stays there at least until the one after the next.
    fn checkpoint(&mut self, path: &Path, epoch: u32);

    /// What it wants; asked after each step of a training and between the batches of an attack.
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskOutput {
    /// Trained weights, in the output folder.
    Trained {
        /// The file: `.safetensors` under torchvision's names; the same weights give the same bytes.
        checkpoint: PathBuf,
    },
    /// The outcomes of an attack.
    Attacked(AttackResult),
    /// An analysis.
    Analyzed {
        /// Its numbers and images.
        result: AnalysisResult,
        /// The data set that it made, in the output folder: the same bytes for the same data.
        dataset: Option<PathBuf>,
    },
}

/// A place to compute tasks, one after the other. It keeps the data sets and the model it used last, so that attack after attack on one run reads
/// nothing again.
pub struct Lab {
    settings: Settings,
    /// The most recently used last.
    datasets: Vec<KeptExamples>,
    model: Option<(ModelKey, Rc<Model>)>,
}

/// A split that was used before.
struct KeptExamples {
    spec: DatasetSpec,
    /// Whether its images were left in their files.
    originals: bool,
    examples: Rc<Examples>,
}

/// What the weights of a model follow from.
#[derive(Debug, PartialEq)]
struct ModelKey {
    activations: Activations,
    spec: ModelSpec,
    weights: Weights,
    seed: u64,
}

impl Lab {
    /// A lab with these settings, for use on the thread that makes it: libtorch keeps the number of threads per calling thread.
    pub fn new(settings: Settings) -> Self {
        tch::set_num_threads(i32::try_from(settings.threads.max(1)).unwrap_or(1));
        Self { settings, datasets: Vec::new(), model: None }
    }

    /// Its settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Computes a task.
    ///
    /// # Errors
    /// See [`LabError`]; its [`class`](LabError::class) says whether trying again may help. A panic is an error too.
    pub fn execute(
        &mut self,
        spec: &TaskSpec,
        inputs: &Inputs,
        observer: &mut dyn Observer,
    ) -> Result<TaskOutput, LabError> {
        if inputs.memory.forget_kept {
            self.forget();
        }
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| match spec {
            TaskSpec::Train(train) => self.train(train, spec.id(), inputs, observer),
            TaskSpec::Attack(attack) => self.attack(attack, spec.id(), inputs, observer),
            TaskSpec::Analyze(analysis) => self.analyze(analysis, inputs, observer),
        }));
        let result = outcome.unwrap_or_else(|panic| Err(from_panic(panic.as_ref())));
        if matches!(result, Err(LabError::OutOfMemory(_) | LabError::Defect(_))) {
            // What is kept may be what is too much, or may be half changed.
            self.forget();
        }
        result
    }

    fn forget(&mut self) {
        self.datasets.clear();
        self.model = None;
    }

    fn activations(&self, inputs: &Inputs) -> Activations {
        match self.settings.recompute_activations || inputs.memory.recompute_activations {
            true => Activations::Recompute,
            false => Activations::Keep,
        }
    }

    fn train(
        &mut self,
        spec: &TrainSpec,
        task: TaskId,
        inputs: &Inputs,
        observer: &mut dyn Observer,
    ) -> Result<TaskOutput, LabError> {
        check(&spec.dataset, &spec.model, spec.numerics)?;
        let device = self.settings.device.device();
        let originals = spec.recipe.augmentation.crop.is_some();
        let examples = self.kept_examples(&spec.dataset, originals, &inputs.places)?;
        let parameters = self.load_parameters(&spec.model, &spec.weights, spec.seed, inputs)?;
        let model = Model::new(&spec.model, parameters, device)?.with_activations(self.activations(inputs));
        let training = Training {
            task,
            spec,
            model: &model,
            examples: &examples,
            device,
            resume_from: inputs.resume_from.as_deref(),
            output_dir: &inputs.output_dir,
            checkpoint_interval: self.settings.checkpoint_interval,
        };
        train(&training, &mut |observation| {
            match observation {
                Observation::Step(done, total) => {
                    observer.progress((*done).into(), (*total).into(), "steps");
                    return observer.wish();
                }
                Observation::Epoch(metrics) => observer.epoch(metrics),
                Observation::Checkpoint(path, epoch) => observer.checkpoint(path, *epoch),
            }
            Wish::GoOn
        })?;
        let path = inputs.output_dir.join(CHECKPOINT_FILE);
        checkpoint::write(&path, model.parameters().tensors(), &[("format", "pt".to_owned())])?;
        Ok(TaskOutput::Trained { checkpoint: path })
    }

    fn attack(
        &mut self,
        spec: &AttackSpec,
        task: TaskId,
        inputs: &Inputs,
        observer: &mut dyn Observer,
    ) -> Result<TaskOutput, LabError> {
        check(&spec.dataset, &spec.model, spec.numerics)?;
        let examples = self.examples(&spec.dataset, &inputs.places)?;
        let model = self.kept_model(&spec.model, &spec.weights, spec.seed, inputs)?;
        let source = self.transfer_source(&spec.attack.method, spec.seed, inputs)?;
        let crafted_on = match &spec.attack.method {
            AttackMethod::Uap { crafted_on, .. } => Some(self.examples(crafted_on, &inputs.places)?),
            _ => None,
        };
        let evaluation = Evaluation {
            aids: Aids { source: source.as_ref(), crafted_on: crafted_on.as_deref() },
            model: &model,
            examples: &examples,
            attack: &spec.attack,
            seed: spec.seed,
            batch_size: self.settings.attack_batch_size,
            keep_images: false,
        };
        let range = spec.shard.map_or(0..examples.len(), Shard::range);
        let total = range.len() as u64;
        let resumable = Resumable {
            task,
            resume_from: inputs.resume_from.as_deref(),
            output_dir: &inputs.output_dir,
            checkpoint_interval: self.settings.checkpoint_interval,
        };
        let result = evaluate_resumably(&Blocks::new(evaluation, range)?, &resumable, &mut |step| {
            match step {
                Step::Examples(done) => observer.progress(*done as u64, total, "examples"),
                Step::Block => {}
                Step::Checkpoint(path, blocks) => observer.checkpoint(path, *blocks),
            }
            observer.wish()
        })?;
        Ok(TaskOutput::Attacked(result))
    }

    fn analyze(
        &mut self,
        spec: &AnalysisSpec,
        inputs: &Inputs,
        observer: &mut dyn Observer,
    ) -> Result<TaskOutput, LabError> {
        check(&spec.dataset, &spec.model, spec.numerics)?;
        let examples = self.examples(&spec.dataset, &inputs.places)?;
        let model = self.kept_model(&spec.model, &spec.weights, spec.seed, inputs)?;
        let other = match &spec.against {
            Some(other) => Some(self.frozen_model(&other.model, &other.weights, spec.seed, inputs)?),
            None => None,
        };
        let batch_size = self.settings.attack_batch_size;
        let other = other.as_ref();
        let subject = Subject { model: &model, other, examples: &examples, batch_size, seed: spec.seed };
        let Answer { result, dataset } = analyze(&spec.method, &subject, &mut |done, total| {
            observer.progress(done, total, "images");
            observer.wish()
        })?;
        let Some([images, labels]) = dataset else { return Ok(TaskOutput::Analyzed { result, dataset: None }) };
        let path = inputs.output_dir.join(DATASET_FILE);
        let tensors = [("images".to_owned(), images), ("labels".to_owned(), labels)].into();
        checkpoint::write(&path, &tensors, &[])?;
        Ok(TaskOutput::Analyzed { result, dataset: Some(path) })
    }

    fn examples(&mut self, spec: &DatasetSpec, places: &Places) -> Result<Rc<Examples>, LabError> {
        self.kept_examples(spec, false, places)
    }

    /// A split; `originals` leaves image files in their files for random crops.
    fn kept_examples(
        &mut self,
        spec: &DatasetSpec,
        originals: bool,
        places: &Places,
    ) -> Result<Rc<Examples>, LabError> {
        let kept = self.datasets.iter().position(|kept| kept.spec == *spec && kept.originals == originals);
        let entry = match kept {
            Some(index) => self.datasets.remove(index),
            None => {
                if self.datasets.len() >= DATASETS_KEPT {
                    self.datasets.remove(0);
                }
                let device = self.settings.device.device();
                let examples = if originals {
                    Examples::originals(spec, places, device)?
                } else {
                    Examples::load(spec, places, device)?
                };
                KeptExamples { spec: spec.clone(), originals, examples: Rc::new(examples) }
            }
        };
        let examples = Rc::clone(&entry.examples);
        self.datasets.push(entry);
        Ok(examples)
    }

    /// A model that is asked, kept for the next task that asks it.
    fn kept_model(
        &mut self,
        spec: &ModelSpec,
        weights: &Weights,
        seed: u64,
        inputs: &Inputs,
    ) -> Result<Rc<Model>, LabError> {
        let activations = self.activations(inputs);
        let key = ModelKey { activations, spec: spec.clone(), weights: weights.clone(), seed };
        if let Some((kept, model)) = &self.model
            && *kept == key
        {
            return Ok(Rc::clone(model));
        }
        let model = Rc::new(self.frozen_model(spec, weights, seed, inputs)?);
        self.model = Some((key, Rc::clone(&model)));
        Ok(model)
    }

    fn transfer_source(&self, method: &AttackMethod, seed: u64, inputs: &Inputs) -> Result<Option<Model>, LabError> {
        let AttackMethod::Transfer { source, .. } = method else { return Ok(None) };
        self.frozen_model(&source.model, &source.weights, seed, inputs).map(Some)
    }

    fn load_parameters(
        &self,
        spec: &ModelSpec,
        weights: &Weights,
        seed: u64,
        inputs: &Inputs,
    ) -> Result<Parameters, LabError> {
        let checkpoints = Checkpoints { tasks: &inputs.places.task_artifacts, files: &inputs.places.files };
        starting_weights(spec, weights, seed, checkpoints, self.settings.device.device())
    }

    /// A model that is only asked, not trained.
    fn frozen_model(&self, spec: &ModelSpec, weights: &Weights, seed: u64, inputs: &Inputs) -> Result<Model, LabError> {
        let parameters = self.load_parameters(spec, weights, seed, inputs)?.frozen();
        Ok(Model::new(spec, parameters, self.settings.device.device())?.with_activations(self.activations(inputs)))
    }
}

/// Whether the parts of a spec go together. The planner checks the same; this is the last line.
fn check(dataset: &DatasetSpec, model: &ModelSpec, numerics: u32) -> Result<(), LabError> {
    let problem = if numerics != NUMERICS_VERSION {
        format!("it was planned for version {numerics} of the numerics, this executor has version {NUMERICS_VERSION}")
    } else if dataset.image.channels != model.channels {
        format!("images have {} channels, the model takes {}", dataset.image.channels, model.channels)
    } else if dataset.classes != model.classes {
        format!("the data set has {} classes, the model {}", dataset.classes, model.classes)
    } else if dataset.image.height.min(dataset.image.width) < model.backbone.min_image_size(model.stem) {
        let (height, width) = (dataset.image.height, dataset.image.width);
        format!(
            "images are {height}×{width}, {} takes {} and up",
            model.backbone,
            model.backbone.min_image_size(model.stem)
        )
    } else if [dataset.image.height, dataset.image.width]
        .iter()
        .any(|side| !side.is_multiple_of(model.backbone.image_size_unit()))
    {
        let (height, width, unit) = (dataset.image.height, dataset.image.width, model.backbone.image_size_unit());
        format!("images are {height}×{width}, {} takes sides that are multiples of {unit}", model.backbone)
    } else {
        return Ok(());
    };
    Err(LabError::Spec(problem))
}

fn from_panic(panic: &(dyn Any + Send)) -> LabError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let message = text.unwrap_or("a panic without a message");
    match LabError::from_torch_message(message) {
        out_of_memory @ LabError::OutOfMemory(_) => out_of_memory,
        _ => LabError::Defect(message.to_owned()),
    }
}
