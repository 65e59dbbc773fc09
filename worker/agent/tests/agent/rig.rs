//! An agent with its folders and its coordinator, and the tasks it is given.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_agent::{Agent, AgentError, Config, Leave};
use gauntlet_domain::Digest;
use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{
    AnalysisMethod, AnalysisSpec, AttackConfig, AttackMethod, AttackSpec, Augmentation, Backbone, Construction,
    DatasetSource, DatasetSpec, Decay, Descent, EpsilonSchedule, Fit, Frozen, Head, ImageShape, Length, ModelSpec,
    NUMERICS_VERSION, Norm, Normalize, Objective, Optimizer, Precision, Recipe, Schedule, Stem, Subset, TaskSpec,
    TrainSpec, Weights,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::behaviour;
use crate::coordinator::{Coordinator, PATIENCE};

pub struct Rig {
    pub folder: tempfile::TempDir,
    pub coordinator: Coordinator,
    pub config: Config,
}

impl Rig {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pids", "data"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let coordinator = Coordinator::start().await;
        let config = config(&coordinator.address, folder.path());
        Self { folder, coordinator, config }
    }

    pub fn start(&self) -> Running {
        let leave = Leave::default();
        let (shutdown, at_once) = (leave.in_good_order.clone(), leave.at_once.clone());
        Running { agent: tokio::spawn(Agent::run(self.config.clone(), leave)), shutdown, at_once }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files of unacknowledged reports.
    pub fn spooled(&self) -> Vec<PathBuf> {
        let mut files = files(&self.path("state/spool"));
        files.retain(|path| path.extension().is_some_and(|extension| extension == "report"));
        files.sort();
        files
    }

    /// Executors that live.
    pub fn executors(&self) -> Vec<i32> {
        let pids = files(&self.path("pids")).into_iter().map(|path| path.file_name().unwrap().to_owned());
        pids.map(|pid| pid.to_str().unwrap().parse().unwrap()).filter(|pid| lives(*pid)).collect()
    }

    /// Folders of attempts.
    pub fn attempt_folders(&self) -> Vec<PathBuf> {
        files(&self.path("state/attempts"))
    }
}

/// The settings of an agent below `folder`, made impatient.
pub fn config(endpoint: &str, folder: &Path) -> Config {
    let store = folder.join("store").to_str().unwrap().to_owned();
    let binary = env!("CARGO_BIN_EXE_gauntlet-fake-executor");
    let mut config = Config::new(endpoint, folder.join("state"), binary, store, folder.join("data"));
    let pids = folder.join("pids").to_str().unwrap().to_owned();
    config.executor_environment = vec![(behaviour::PIDS.to_owned(), pids)];
    config.tuning.reconnect_min = Duration::from_millis(10);
    config.tuning.reconnect_max = Duration::from_millis(50);
    config.tuning.tick = Duration::from_millis(20);
    config.tuning.grace = Duration::from_millis(300);
    config
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whether the process runs: neither gone nor waiting to be reaped.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

pub struct Running {
    agent: JoinHandle<Result<(), AgentError>>,
    pub shutdown: CancellationToken,
    pub at_once: CancellationToken,
}

impl Running {
    pub async fn ends(self) -> Result<(), AgentError> {
        tokio::time::timeout(PATIENCE, self.agent).await.expect("the agent goes on").unwrap()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ends().await.unwrap();
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

pub const EXAMPLES: u32 = 3;

fn dataset() -> DatasetSpec {
    DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::SafeTensors { file: Digest::of(b"images") },
        examples: EXAMPLES,
        classes: 2,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Pad,
        frequencies: None,
    }
}

fn model() -> ModelSpec {
    let normalize = Normalize { mean: vec![0.5], std: vec![0.5] };
    ModelSpec { backbone: Backbone::ResNet18W16, stem: Stem::Standard, width: None, channels: 1, classes: 2, normalize }
}

/// An attack on a fresh model; the seed chooses what the fake executor does.
pub fn attack(seed: u64) -> TaskSpec {
    let attack = AttackConfig {
        method: AttackMethod::Fgsm,
        norm: Norm::Linf,
        eps: Some(0.1),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let spec = AttackSpec {
        dataset: dataset(),
        model: model(),
        weights: Weights::Scratch,
        attack,
        seed,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    };
    TaskSpec::Attack(spec)
}

/// A data set made with the model that another task trains.
pub fn construct(seed: u64, parent: TaskId) -> TaskSpec {
    let descent = Descent { norm: Norm::L2, eps: 0.5, steps: 1, step_size: 0.5 };
    TaskSpec::Analyze(AnalysisSpec {
        dataset: dataset(),
        model: model(),
        weights: Weights::Task { task: parent, head: Head::Keep },
        against: None,
        method: AnalysisMethod::RobustFeatures { construction: Construction::NextTarget(descent) },
        seed,
        numerics: NUMERICS_VERSION,
    })
}

/// A training from scratch on what another task makes.
pub fn train_on(seed: u64, construction: TaskId) -> TaskSpec {
    match train(seed, None) {
        TaskSpec::Train(spec) => {
            let source = DatasetSource::Constructed { task: construction };
            TaskSpec::Train(TrainSpec { dataset: DatasetSpec { source, ..dataset() }, ..spec })
        }
        other => other,
    }
}

/// A training from scratch, or from another task's checkpoint.
pub fn train(seed: u64, parent: Option<TaskId>) -> TaskSpec {
    let weights = parent.map_or(Weights::Scratch, |task| Weights::Task { task, head: Head::Keep });
    TaskSpec::Train(TrainSpec {
        dataset: dataset(),
        model: model(),
        weights,
        recipe: recipe(),
        seed,
        numerics: NUMERICS_VERSION,
    })
}

fn recipe() -> Recipe {
    Recipe {
        objective: Objective::Standard,
        epsilon_schedule: EpsilonSchedule::Constant,
        label_smoothing: 0.0,
        frozen: Frozen::NOTHING,
        head_first: None,
        head_learning_rate: None,
        dropout: true,
        batch_norm_momentum: None,
        length: Length::Epochs(2),
        batch_size: 1,
        micro_batch_size: None,
        optimizer: Optimizer::Adam { learning_rate: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], epsilon: 1e-8 },
        decay_norm_and_bias: true,
        gradient_clip: None,
        schedule: Schedule { warmup: 0.0, decay: Decay::Constant },
        precision: Precision::F32,
        ema: None,
        validation: None,
        augmentation: Augmentation::default(),
    }
}
