//! The graph of tasks that answers a sweep.

use serde::{Deserialize, Serialize};

use crate::experiment::{Epsilon, Norm, TaskSpec};
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
}

impl TaskKind {
    /// The name in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Train => "train",
            Self::Attack => "attack",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pretrain, Self::Train, Self::Attack].into_iter().find(|kind| kind.name() == name)
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
