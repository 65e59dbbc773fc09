//! The file in which an executor leaves what a task came to.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use gauntlet_domain::experiment::{AnalysisResult, AttackResult};
use serde::{Deserialize, Serialize};

/// Name of the file in the attempt's output folder.
pub const RESULT_FILE: &str = "result.json";

/// What a task came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "output", rename_all = "kebab-case")]
pub enum TaskOutput {
    /// A training.
    Trained {
        /// The trained weights, in the same folder.
        checkpoint: PathBuf,
    },
    /// An evaluation.
    Attacked(AttackResult),
    /// An analysis.
    Analyzed {
        /// Its numbers and images; without the data set, which is no artifact yet.
        result: AnalysisResult,
        /// The data set that it made, in the same folder.
        dataset: Option<PathBuf>,
    },
}

/// Why a result file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputFileError {
    /// The file system refused.
    #[error("result file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a result.
    #[error("result file {}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl TaskOutput {
    /// Writes it to [`RESULT_FILE`] in `folder`, whole or not at all, and says where that is.
    ///
    /// # Errors
    /// The file system's, or a path that JSON cannot carry.
    pub fn write_in(&self, folder: &Path) -> Result<PathBuf, OutputFileError> {
        let path = folder.join(RESULT_FILE);
        let partial = folder.join(format!("{RESULT_FILE}.partial"));
        let io = |source| OutputFileError::Io { path: path.clone(), source };
        let mut writer = BufWriter::new(File::create(&partial).map_err(io)?);
        serde_json::to_writer(&mut writer, self)
            .map_err(|source| OutputFileError::Json { path: path.clone(), source })?;
        writer.flush().map_err(io)?;
        writer.get_ref().sync_all().map_err(io)?;
        fs::rename(&partial, &path).map_err(io)?;
        Ok(path)
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// The file system's, or content that is not a result.
    pub fn read(path: &Path) -> Result<Self, OutputFileError> {
        let file = File::open(path).map_err(|source| OutputFileError::Io { path: path.to_owned(), source })?;
        serde_json::from_reader(BufReader::new(file))
            .map_err(|source| OutputFileError::Json { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_domain::experiment::Outcomes;

    #[test]
    fn a_result_is_read_back_as_it_was_written_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = Outcomes {
            label: vec![0, 1],
            clean_prediction: vec![0, 1],
            adversarial_prediction: vec![1, 1],
            clean_loss: vec![0.1, f32::MIN_POSITIVE],
            adversarial_loss: vec![1.0 / 3.0, f32::MAX],
            distance: vec![8.0 / 255.0, f32::INFINITY],
        };
        let output =
            TaskOutput::Attacked(AttackResult { outcomes, model_queries: u64::MAX, zero_gradient_examples: 1 });
        let path = output.write_in(folder.path()).unwrap();
        assert_eq!(TaskOutput::read(&path).unwrap(), output);
    }

    #[test]
    fn a_file_that_holds_no_result_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULT_FILE);
        fs::write(&path, "{}").unwrap();
        let error = TaskOutput::read(&path).unwrap_err().to_string();
        assert!(error.contains(RESULT_FILE), "{error}");
    }
}
