//! What a task computes, and the identity that follows from it.

use serde::{Deserialize, Serialize};

use super::analysis::AnalysisSpec;
use super::attack::{AttackConfig, AttackMethod};
use super::dataset::DatasetSpec;
use super::model::{ModelSpec, Weights};
use super::recipe::Recipe;
use crate::digest::Digest;
use crate::ids::TaskId;

/// Version of the numerics of the lab. Raised whenever a change makes any task's numbers different, so that old results are never taken for new ones.
pub const NUMERICS_VERSION: u32 = 4;

/// Consecutive examples that are attacked together. Nothing crosses the border of a block, so that an evaluation comes to the same bits whatever way
/// it is split. Part of the numerics.
pub const EVALUATION_BLOCK: u32 = 256;

/// What a task computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "computes", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant, reason = "specs are held one at a time, or behind a pointer")]
pub enum TaskSpec {
    /// A training: weights → checkpoint.
    Train(TrainSpec),
    /// An evaluation of a model under one attack → outcomes per example.
    Attack(AttackSpec),
    /// An analysis of a model, or of two → numbers.
    Analyze(AnalysisSpec),
}

/// A training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Training examples.
    pub dataset: DatasetSpec,
    /// The model.
    pub model: ModelSpec,
    /// Where its weights start.
    pub weights: Weights,
    /// How it is trained.
    pub recipe: Recipe,
    /// Seed of everything random in it.
    pub seed: u64,
    /// [`NUMERICS_VERSION`] of the build that planned it.
    pub numerics: u32,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackSpec {
    /// Examples to attack.
    pub dataset: DatasetSpec,
    /// The model.
    pub model: ModelSpec,
    /// Its weights.
    pub weights: Weights,
    /// The attack.
    pub attack: AttackConfig,
    /// Seed of everything random in it.
    pub seed: u64,
    /// [`NUMERICS_VERSION`] of the build that planned it.
    pub numerics: u32,
    /// The part of the examples that this task evaluates; all of them if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The earlier attack that may make this one pointless; none where it is evaluated in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascade>,
}

/// An evaluation is pointless where an earlier attack has left too little.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cascade {
    /// The evaluation of the same model in the same ball by the earlier attack.
    pub after: TaskId,
    /// AAI under the earlier attack up to which this one is pointless.
    pub until_aai: f64,
}

/// Whole [blocks](EVALUATION_BLOCK) of an evaluation's examples, but for the end of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Index of the first example.
    pub first: u32,
    /// How many.
    pub examples: u32,
}

impl Shard {
    /// Indices of its examples.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.first as usize..self.first as usize + self.examples as usize
    }
}

impl AttackSpec {
    /// Examples that this task evaluates.
    pub fn examples(&self) -> u32 {
        self.shard.map_or(self.dataset.examples, |shard| shard.examples)
    }
}

impl TaskSpec {
    /// The text that is hashed: JSON with the fields in the order of their declaration and floats in their shortest exact form.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a spec holds only strings, numbers, lists and maps with text keys")
    }

    /// The task's identity: the SHA-256 of [`canonical_json`](Self::canonical_json).
    pub fn id(&self) -> TaskId {
        TaskId::from_digest(Digest::of(self.canonical_json().as_bytes()))
    }

    /// Where its weights come from.
    pub const fn weights(&self) -> &Weights {
        match self {
            Self::Train(spec) => &spec.weights,
            Self::Attack(spec) => &spec.weights,
            Self::Analyze(spec) => &spec.weights,
        }
    }

    /// Its examples.
    pub const fn dataset(&self) -> &DatasetSpec {
        match self {
            Self::Train(spec) => &spec.dataset,
            Self::Attack(spec) => &spec.dataset,
            Self::Analyze(spec) => &spec.dataset,
        }
    }

    /// Tasks that have to come before it: those whose artifacts it needs, and the earlier attack of a cascade.
    pub fn inputs(&self) -> Vec<TaskId> {
        let mut inputs = self.artifacts();
        inputs.extend(self.cascade().map(|cascade| cascade.after));
        inputs
    }

    /// The cascade that it stands in.
    pub const fn cascade(&self) -> Option<Cascade> {
        match self {
            Self::Attack(spec) => spec.cascade,
            Self::Train(_) | Self::Analyze(_) => None,
        }
    }

    /// Tasks whose artifacts it needs: the weights it starts from, those of the other model where there is one, and constructed data sets.
    pub fn artifacts(&self) -> Vec<TaskId> {
        let trained = |weights: &Weights| match weights {
            Weights::Task { task, .. } => Some(*task),
            Weights::Scratch | Weights::Imported { .. } => None,
        };
        let weights = [Some(self.weights()), self.other_weights()].into_iter().flatten().filter_map(trained);
        let datasets = [Some(self.dataset()), self.crafted_on()].into_iter().flatten();
        let mut inputs = Vec::new();
        for task in weights.chain(datasets.filter_map(|dataset| dataset.source.task())) {
            if !inputs.contains(&task) {
                inputs.push(task);
            }
        }
        inputs
    }

    /// Digests of the user's files it reads: data and imported checkpoints.
    pub fn files(&self) -> Vec<Digest> {
        let mut files = self.dataset().source.files();
        if let Some(crafted_on) = self.crafted_on() {
            files.extend(crafted_on.source.files());
        }
        for weights in [Some(self.weights()), self.other_weights()].into_iter().flatten() {
            if let Weights::Imported { checkpoint, .. } = weights {
                files.push(*checkpoint);
            }
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(*file));
        files
    }

    /// Weights of the model that a transferred attack is crafted on, or an analysis compares with.
    fn other_weights(&self) -> Option<&Weights> {
        match self {
            Self::Attack(AttackSpec {
                attack: AttackConfig { method: AttackMethod::Transfer { source, .. }, .. },
                ..
            }) => Some(&source.weights),
            Self::Analyze(spec) => spec.against.as_ref().map(|other| &other.weights),
            Self::Attack(_) | Self::Train(_) => None,
        }
    }

    /// The examples that a universal perturbation is crafted on.
    fn crafted_on(&self) -> Option<&DatasetSpec> {
        match self {
            Self::Attack(AttackSpec {
                attack: AttackConfig { method: AttackMethod::Uap { crafted_on, .. }, .. },
                ..
            }) => Some(crafted_on),
            Self::Attack(_) | Self::Train(_) | Self::Analyze(_) => None,
        }
    }
}
