//! Resumable checkpoints: everything that the rest of a training depends on, in one `.safetensors` file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::EpochMetrics;
use tch::{Device, Tensor};

use super::optimizer::OptimizerState;
use crate::checkpoint;
use crate::error::LabError;
use crate::models::Parameters;

const MODEL: &str = "model.";
const CARRIED: &str = "carried.";
const OPTIMIZER: &str = "optimizer.";

/// Where a training stands, beside its tensors. The random streams need no state: the seed, the epoch and the iteration name them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Standing {
    /// Epochs done.
    pub(super) epoch: u32,
    /// Steps done.
    pub(super) iteration: u32,
    /// What the epochs measured.
    pub(super) metrics: Vec<EpochMetrics>,
}

/// Name of the file after so many epochs.
pub(super) fn file_name(epoch: u32) -> String {
    format!("resume-{epoch:06}.safetensors")
}

/// Writes the state of a task's training: the tensors of the model, those that the method carries, those of the optimiser.
pub(super) fn save(
    path: &Path,
    task: TaskId,
    standing: &Standing,
    parts: [&BTreeMap<String, Tensor>; 3],
) -> Result<(), LabError> {
    let prefixed = |(prefix, tensors): (&str, &BTreeMap<String, Tensor>)| -> Vec<(String, Tensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())).collect()
    };
    let tensors = [MODEL, CARRIED, OPTIMIZER].into_iter().zip(parts).flat_map(prefixed).collect();
    let metrics = serde_json::to_string(&standing.metrics).map_err(|e| LabError::Defect(e.to_string()))?;
    let entries = [
        ("task", task.to_string()),
        ("epoch", standing.epoch.to_string()),
        ("iteration", standing.iteration.to_string()),
        ("metrics", metrics),
    ];
    checkpoint::write(path, &tensors, &entries)
}

/// The state that a file holds.
pub(super) struct Saved {
    path: PathBuf,
    /// Where the training stood.
    pub(super) standing: Standing,
    tensors: BTreeMap<String, Tensor>,
}

impl Saved {
    /// Reads the state of this task's training.
    pub(super) fn read(path: &Path, task: TaskId, device: Device) -> Result<Self, LabError> {
        let refuse = |problem: String| LabError::Resume { path: PathBuf::from(path), problem };
        let contents = checkpoint::read(path, device)?;
        let entry = |key: &str| contents.entries.get(key).ok_or_else(|| refuse(format!("it has no entry `{key}`")));
        let number = |key: &str| entry(key)?.parse::<u32>().map_err(|e| refuse(format!("entry `{key}`: {e}")));
        let owner = entry("task")?;
        if *owner != task.to_string() {
            return Err(refuse(format!("it belongs to task {owner}, not to {task}")));
        }
        let metrics = serde_json::from_str(entry("metrics")?).map_err(|e| refuse(format!("entry `metrics`: {e}")))?;
        let standing = Standing { epoch: number("epoch")?, iteration: number("iteration")?, metrics };
        Ok(Self { path: path.to_owned(), standing, tensors: contents.tensors.into_iter().collect() })
    }

    /// Brings the model, what the method carries, and the optimiser to the state.
    pub(super) fn restore(
        &self,
        model: &Parameters,
        carried: &BTreeMap<String, Tensor>,
        parameters: &[(String, Tensor)],
        optimizer: &mut OptimizerState,
    ) -> Result<(), LabError> {
        let refuse = |problem: String| LabError::Resume { path: self.path.clone(), problem };
        let _guard = tch::no_grad_guard();
        for (prefix, tensors) in [(MODEL, model.tensors()), (CARRIED, carried)] {
            for (name, tensor) in tensors {
                let saved = self.tensors.get(&format!("{prefix}{name}"));
                let saved = saved.filter(|saved| saved.size() == tensor.size());
                let saved = saved.ok_or_else(|| refuse(format!("it has no fitting tensor `{name}`")))?;
                tensor.shallow_clone().f_copy_(saved)?;
            }
        }
        let saved = self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(OPTIMIZER)?, t)));
        let saved = saved.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
        optimizer.restore(parameters, &saved).map_err(|error| refuse(error.to_string()))
    }
}
