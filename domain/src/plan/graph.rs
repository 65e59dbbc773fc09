//! The graph of tasks that answers a sweep.

use serde::{Deserialize, Serialize};

use crate::experiment::{AttackSpec, Epsilon, Norm, Shard, TaskSpec};
use crate::ids::{SweepId, TaskId};

/// Kind of a task, for people and tables. It follows from the role in the first sweep that planned the task and is no part of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A training that only gives other trainings their start.
    Pretrain,
    /// The training of a run.
    Train,
    /// An evaluation of a run under one attack.
    Attack,
    /// A part of an evaluation; the attack itself then merges its shards.
    Shard,
    /// An analysis of a run.
    Analyze,
}

impl TaskKind {
    /// The name in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Train => "train",
            Self::Attack => "attack",
            Self::Shard => "shard",
            Self::Analyze => "analyze",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pretrain, Self::Train, Self::Attack, Self::Shard, Self::Analyze]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A sweep, planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Identity of the sweep: its name and a digest of everything below.
    pub sweep_id: SweepId,
    /// The name in the sweep file.
    pub name: String,
    /// Every distinct task once, inputs before those that need them.
    pub tasks: Vec<PlannedTask>,
    /// The rows of the results, in the order of the sweep file: dataset, model, init, recipe, seed, attack, ε.
    pub cells: Vec<Cell>,
    /// The analyses, run by run in the same order.
    pub analyses: Vec<AnalysisCell>,
    /// What people should know of how their files were read.
    pub notes: Vec<String>,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTask {
    /// Identity: `spec.id()`.
    pub id: TaskId,
    /// For people.
    pub kind: TaskKind,
    /// What it computes.
    pub spec: TaskSpec,
    /// What people call it, such as `glyphs · resnet18 · scratch · standard · seed 0 · pgd10 8/255`.
    pub label: String,
    /// Tasks whose output it needs.
    pub inputs: Vec<TaskId>,
    /// Expected cost, in units of one image passed forward and backward through a network of 10⁹ multiply-adds. For estimates and order only.
    pub cost: f64,
}

impl PlannedTask {
    /// The tasks of the shards of an attack; none of what is no attack.
    pub fn split(&self, shards: &[Shard]) -> Vec<Self> {
        let TaskSpec::Attack(whole) = &self.spec else { return Vec::new() };
        let shard = |(number, shard): (usize, &Shard)| {
            let spec = TaskSpec::Attack(AttackSpec { shard: Some(*shard), ..whole.clone() });
            Self {
                id: spec.id(),
                kind: TaskKind::Shard,
                spec,
                label: format!("{} · shard {}/{}", self.label, number + 1, shards.len()),
                inputs: self.inputs.clone(),
                cost: self.cost * f64::from(shard.examples) / f64::from(whole.dataset.examples.max(1)),
            }
        };
        shards.iter().enumerate().map(shard).collect()
    }
}

/// An analysis of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AnalysisCell {
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model: its backbone unless the sweep names it.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the analysis.
    pub analysis: String,
    /// Its method.
    pub method: String,
    /// What the run is compared with: `start` for the weights that it started from, or another run; empty where nothing is.
    pub against: String,
    /// Examples on which it is asked.
    pub examples: u32,
    /// The analysis.
    pub task: TaskId,
}

/// One row of the results: a run × an attack at one ε.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model: its backbone unless the sweep names it.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the attack.
    pub attack: String,
    /// Its norm.
    pub norm: Norm,
    /// Its radius; none for a minimum-norm attack at any distance.
    pub eps: Option<Epsilon>,
    /// The training task of the run; none where the recipe is `none`.
    pub train_task: Option<TaskId>,
    /// The evaluation.
    pub attack_task: TaskId,
}
