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

/// Writes the state of a task's training.
pub(super) fn save(
    path: &Path,
    task: TaskId,
    standing: &Standing,
    model: &Parameters,
    optimizer: &BTreeMap<String, Tensor>,
) -> Result<(), LabError> {
    let prefixed = |prefix: &'static str, tensors: &BTreeMap<String, Tensor>| -> Vec<(String, Tensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone())).collect()
    };
    let tensors = prefixed(MODEL, model.tensors()).into_iter().chain(prefixed(OPTIMIZER, optimizer)).collect();
    let metrics = serde_json::to_string(&standing.metrics).map_err(|e| LabError::Defect(e.to_string()))?;
    let entries = [
        ("task", task.to_string()),
        ("epoch", standing.epoch.to_string()),
        ("iteration", standing.iteration.to_string()),
        ("metrics", metrics),
    ];
    checkpoint::write(path, &tensors, &entries)
}

/// Brings model and optimiser to the state of a file, and says where the training stood.
pub(super) fn restore(
    path: &Path,
    task: TaskId,
    model: &Parameters,
    parameters: &[(String, Tensor)],
    optimizer: &mut OptimizerState,
    device: Device,
) -> Result<Standing, LabError> {
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
    let _guard = tch::no_grad_guard();
    for (name, tensor) in model.tensors() {
        let saved = contents.tensors.get(&format!("{MODEL}{name}")).filter(|saved| saved.size() == tensor.size());
        let saved = saved.ok_or_else(|| refuse(format!("it has no fitting tensor `{name}`")))?;
        tensor.shallow_clone().f_copy_(saved)?;
    }
    let saved = contents.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(OPTIMIZER)?, t)));
    let saved = saved.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
    optimizer.restore(parameters, &saved).map_err(|error| refuse(error.to_string()))?;
    Ok(standing)
}
