//! Resumable checkpoints: everything that the rest of a training depends on, in one `.safetensors` file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::EpochMetrics;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::checkpoint::{self, Contents};
use crate::error::LabError;

/// Where a training stands, beside its tensors. The random streams need no state: the seed, the epoch and the iteration name them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    /// Epochs done.
    pub(super) epoch: u32,
    /// Steps done, those of an unfinished epoch included.
    pub(super) iteration: u32,
    /// Sums over the steps of the unfinished epoch.
    pub(super) sums: Sums,
    /// What the epochs measured.
    pub(super) metrics: Vec<EpochMetrics>,
    /// How well the best epoch so far did, where one is chosen.
    pub(super) best_score: Option<f64>,
}

/// Sums over the steps of an epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sums {
    pub(super) loss: f64,
    pub(super) correct: f64,
    pub(super) examples: usize,
    pub(super) steps: u32,
    /// Of the last step.
    pub(super) learning_rate: f64,
}

/// A named set of tensors, a part of the state.
pub(super) type Section<'a> = (&'static str, &'a BTreeMap<String, Tensor>);

/// Name of the file after so many epochs, with the steps of the next one if it stands within it.
pub(super) fn file_name(epoch: u32, steps_within: u32) -> String {
    match steps_within {
        0 => format!("resume-{epoch:06}.safetensors"),
        steps => format!("resume-{epoch:06}-{steps}.safetensors"),
    }
}

/// Writes the state of a task's training.
pub(super) fn save(path: &Path, task: TaskId, standing: &Standing, sections: &[Section<'_>]) -> Result<(), LabError> {
    let named = |(section, tensors): &Section<'_>| -> Vec<(String, Tensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{section}.{name}"), tensor.shallow_clone())).collect()
    };
    let standing = serde_json::to_string(standing).map_err(|e| LabError::Defect(e.to_string()))?;
    let entries = [("task", task.to_string()), ("standing", standing)];
    checkpoint::write(path, &sections.iter().flat_map(named).collect(), &entries)
}

/// A state that was read.
pub(super) struct Saved {
    path: PathBuf,
    contents: Contents,
    /// Where the training stood.
    pub(super) standing: Standing,
}

impl Saved {
    /// Reads the state of a task's training.
    pub(super) fn read(path: &Path, task: TaskId, device: Device) -> Result<Self, LabError> {
        let refuse = |problem: String| LabError::Resume { path: path.to_owned(), problem };
        let contents = checkpoint::read(path, device)?;
        let entry = |key: &str| contents.entries.get(key).ok_or_else(|| refuse(format!("it has no entry `{key}`")));
        let owner = entry("task")?;
        if *owner != task.to_string() {
            return Err(refuse(format!("it belongs to task {owner}, not to {task}")));
        }
        let standing =
            serde_json::from_str(entry("standing")?).map_err(|e| refuse(format!("entry `standing`: {e}")))?;
        Ok(Self { path: path.to_owned(), contents, standing })
    }

    /// The tensors of a section.
    pub(super) fn section(&self, section: &'static str) -> BTreeMap<String, Tensor> {
        let prefix = format!("{section}.");
        let inside = self.contents.tensors.iter();
        inside.filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.shallow_clone()))).collect()
    }

    /// Copies a section into tensors that have these names.
    pub(super) fn fill(&self, section: &'static str, tensors: &BTreeMap<String, Tensor>) -> Result<(), LabError> {
        let saved = self.section(section);
        let _guard = tch::no_grad_guard();
        for (name, tensor) in tensors {
            let found = saved.get(name).filter(|found| found.size() == tensor.size());
            let found = found.ok_or_else(|| self.refuse(format!("it has no fitting tensor `{section}.{name}`")))?;
            tensor.shallow_clone().f_copy_(found)?;
        }
        Ok(())
    }

    fn refuse(&self, problem: String) -> LabError {
        LabError::Resume { path: self.path.clone(), problem }
    }
}
