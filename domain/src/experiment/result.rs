//! What comes out of a task.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// An immutable output, named by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Their count.
    pub size_bytes: u64,
}

/// The result of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum TaskResult {
    /// Of a training.
    Trained(TrainResult),
    /// Of an evaluation.
    Attacked(AttackResult),
}

/// The result of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainResult {
    /// The trained weights, `.safetensors` under torchvision's names.
    pub checkpoint: ArtifactRef,
}

/// What one epoch of a training measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Counted from 1.
    pub epoch: u32,
    /// Optimiser steps done so far.
    pub iterations: u32,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Mean of the objective over the epoch's steps, in nats.
    pub train_loss: f64,
    /// Share of the epoch's training images classified right as they were shown (clean ones where the objective shows both), in train mode.
    pub train_accuracy: f64,
    /// What the recipe's validation measured after the epoch.
    #[serde(default)]
    pub validation: Option<ValidationMetrics>,
}

/// What a training measured on the examples that are kept from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// Mean cross-entropy on the images as they are, in nats.
    pub loss: f64,
    /// Share of the images classified right as they are.
    pub accuracy: f64,
    /// Share of the images classified right before and after the inner attack; measured where it chooses the epoch.
    pub robust_accuracy: Option<f64>,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttackResult {
    /// What happened to each example.
    pub outcomes: Outcomes,
    /// Examples × passes through the network, forward or backward, that the attack needed.
    pub model_queries: u64,
}

/// What an attack did to the examples 0, 1, 2, … of a split; one column per quantity, all of one length.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// True class.
    pub label: Vec<u32>,
    /// Class given to the original image.
    pub clean_prediction: Vec<u32>,
    /// Class given to the attack's output.
    pub adversarial_prediction: Vec<u32>,
    /// Cross-entropy on the original image, in nats.
    pub clean_loss: Vec<f32>,
    /// Cross-entropy on the attack's output, in nats.
    pub adversarial_loss: Vec<f32>,
    /// Length of the perturbation in the attack's norm, pixel space; 0 where the original is already misclassified.
    pub distance: Vec<f32>,
}

/// Columns that do not make a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutcomes {
    /// Columns of different lengths.
    #[error("column `{column}` has {found} entries, `label` has {expected}")]
    Length {
        /// The odd column.
        column: &'static str,
        /// Its length.
        found: usize,
        /// Length of `label`.
        expected: usize,
    },
    /// Another number of examples than the task evaluates.
    #[error("outcomes of {found} examples came for a task of {expected}")]
    Examples {
        /// What came.
        found: usize,
        /// What the task evaluates.
        expected: usize,
    },
    /// A loss or distance that is not a number.
    #[error("`{column}` of example {index} is not a number")]
    NotANumber {
        /// The column.
        column: &'static str,
        /// The example.
        index: usize,
    },
}

impl Outcomes {
    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.label.len()
    }

    /// Examples classified right before the attack.
    pub fn clean_correct(&self) -> usize {
        self.label.iter().zip(&self.clean_prediction).filter(|(label, clean)| label == clean).count()
    }

    /// Examples classified right both before and after the attack.
    pub fn robust_correct(&self) -> usize {
        let after = self.clean_prediction.iter().zip(&self.adversarial_prediction);
        self.label
            .iter()
            .zip(after)
            .filter(|(label, (clean, adversarial))| label == clean && label == adversarial)
            .count()
    }

    /// Whether the columns are a table of `expected` examples.
    ///
    /// # Errors
    /// Columns of different lengths, another number of examples, or a NaN.
    pub fn check(&self, expected: usize) -> Result<(), InvalidOutcomes> {
        let rows = self.examples();
        let lengths = [
            ("clean_prediction", self.clean_prediction.len()),
            ("adversarial_prediction", self.adversarial_prediction.len()),
            ("clean_loss", self.clean_loss.len()),
            ("adversarial_loss", self.adversarial_loss.len()),
            ("distance", self.distance.len()),
        ];
        if let Some((column, found)) = lengths.into_iter().find(|(_, found)| *found != rows) {
            return Err(InvalidOutcomes::Length { column, found, expected: rows });
        }
        if rows != expected {
            return Err(InvalidOutcomes::Examples { found: rows, expected });
        }
        let floats = [
            ("clean_loss", &self.clean_loss),
            ("adversarial_loss", &self.adversarial_loss),
            ("distance", &self.distance),
        ];
        for (column, values) in floats {
            if let Some(index) = values.iter().position(|value| value.is_nan()) {
                return Err(InvalidOutcomes::NotANumber { column, index });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes() -> Outcomes {
        Outcomes {
            label: vec![0, 1, 2],
            clean_prediction: vec![0, 1, 0],
            adversarial_prediction: vec![0, 0, 2],
            clean_loss: vec![0.1; 3],
            adversarial_loss: vec![0.2; 3],
            distance: vec![0.0; 3],
        }
    }

    #[test]
    fn an_example_is_robust_only_if_it_was_right_before_and_after() {
        assert_eq!((outcomes().clean_correct(), outcomes().robust_correct()), (2, 1));
    }

    #[test]
    fn columns_that_make_no_table_are_named() {
        assert_eq!(outcomes().check(3), Ok(()));
        assert!(outcomes().check(4).is_err());
        let short = Outcomes { distance: vec![], ..outcomes() };
        assert_eq!(short.check(3).unwrap_err().to_string(), "column `distance` has 0 entries, `label` has 3");
        let nan = Outcomes { clean_loss: vec![0.0, f32::NAN, 0.0], ..outcomes() };
        assert_eq!(nan.check(3).unwrap_err().to_string(), "`clean_loss` of example 1 is not a number");
    }
}
