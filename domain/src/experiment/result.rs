//! What comes out of a task.

use serde::{Deserialize, Serialize};

use super::analysis::AnalysisResult;
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
    /// Of an analysis.
    Analyzed(AnalysisResult),
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
    /// Attacked examples whose first gradient was exactly zero at every pixel: a sign of masked gradients.
    pub zero_gradient_examples: u64,
}

impl AttackResult {
    /// Adds the result on the examples that follow.
    pub fn append(&mut self, next: Self) {
        self.outcomes.append(next.outcomes);
        self.model_queries += next.model_queries;
        self.zero_gradient_examples += next.zero_gradient_examples;
    }
}

/// What an attack did to consecutive examples of a split; one column per quantity, all of one length.
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
    /// Length of the perturbation in the attack's norm, pixel space; 0 where the original is already misclassified, +∞ (`null` in JSON, which has no
    /// infinity) where a minimum-norm attack never fooled the model.
    #[serde(with = "distances")]
    pub distance: Vec<f32>,
}

/// Distances in JSON: `null` is +∞.
mod distances {
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(distances: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(index) = distances.iter().position(|distance| distance.is_nan() || *distance == f32::NEG_INFINITY) {
            return Err(S::Error::custom(format_args!("`distance` of example {index} is no length")));
        }
        serializer.collect_seq(distances.iter().map(|distance| distance.is_finite().then_some(*distance)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let distances = Vec::<Option<f32>>::deserialize(deserializer)?;
        Ok(distances.into_iter().map(|distance| distance.unwrap_or(f32::INFINITY)).collect())
    }
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
    /// More examples than an evaluation that may stop early had to evaluate.
    #[error("outcomes of {found} examples came, and after {enough} the interval was narrow enough to stop")]
    BeyondStop {
        /// What came.
        found: usize,
        /// Where it should have stopped.
        enough: usize,
    },
    /// A number of examples at which an evaluation that may stop early could not stop.
    #[error("outcomes of {found} examples came for a task of {asked}, which could not stop there")]
    NoStop {
        /// What came.
        found: usize,
        /// All the examples of the task.
        asked: usize,
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
    /// Adds the examples that follow.
    pub fn append(&mut self, mut next: Self) {
        self.label.append(&mut next.label);
        self.clean_prediction.append(&mut next.clean_prediction);
        self.adversarial_prediction.append(&mut next.adversarial_prediction);
        self.clean_loss.append(&mut next.clean_loss);
        self.adversarial_loss.append(&mut next.adversarial_loss);
        self.distance.append(&mut next.distance);
    }

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
        self.robust().filter(|robust| *robust).count()
    }

    /// Of each example, whether it is classified right both before and after the attack.
    pub fn robust(&self) -> impl Iterator<Item = bool> + '_ {
        let after = self.clean_prediction.iter().zip(&self.adversarial_prediction);
        self.label.iter().zip(after).map(|(label, (clean, adversarial))| label == clean && label == adversarial)
    }

    /// Examples classified right before a minimum-norm attack and by it not fooled within `eps` of the original: over all radii the curve of
    /// accuracy versus ε.
    pub fn robust_correct_at(&self, eps: f64) -> usize {
        let after = self.adversarial_prediction.iter().zip(&self.distance);
        self.label
            .iter()
            .zip(&self.clean_prediction)
            .zip(after)
            .filter(|((label, clean), (after, distance))| {
                label == clean && (label == after || f64::from(**distance) > eps)
            })
            .count()
    }

    /// The outcomes of a minimum-norm attack within `eps`: the original is the output where the point that was found lies beyond.
    ///
    /// The distance is compared as the double precision number that it is exactly, as in the view `outcomes`: a point at exactly `eps` is within.
    #[must_use]
    pub fn within(mut self, eps: f64) -> Self {
        for index in 0..self.examples() {
            if f64::from(self.distance[index]) > eps {
                self.adversarial_prediction[index] = self.clean_prediction[index];
                self.adversarial_loss[index] = self.clean_loss[index];
            }
        }
        self
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
    fn results_of_two_shards_make_one() {
        let shard = |prediction| AttackResult {
            outcomes: Outcomes { adversarial_prediction: vec![prediction; 3], ..outcomes() },
            model_queries: 5,
            zero_gradient_examples: 1,
        };
        let mut whole = shard(1);
        whole.append(shard(2));
        assert_eq!(whole.outcomes.check(6), Ok(()));
        assert_eq!(whole.outcomes.label, [0, 1, 2, 0, 1, 2]);
        assert_eq!(whole.outcomes.clean_prediction, [0, 1, 0, 0, 1, 0]);
        assert_eq!(whole.outcomes.adversarial_prediction, [1, 1, 1, 2, 2, 2]);
        assert_eq!(whole.outcomes.clean_loss, [0.1; 6]);
        assert_eq!(whole.outcomes.adversarial_loss, [0.2; 6]);
        assert_eq!(whole.outcomes.distance, [0.0; 6]);
        assert_eq!((whole.model_queries, whole.zero_gradient_examples), (10, 2));
    }

    #[test]
    fn accuracy_falls_with_the_radius_until_only_what_was_never_fooled_is_left() {
        let nearest = Outcomes {
            label: vec![0, 1, 1, 2],
            clean_prediction: vec![0, 1, 1, 0],
            adversarial_prediction: vec![1, 0, 1, 0],
            clean_loss: vec![0.1; 4],
            adversarial_loss: vec![0.2; 4],
            distance: vec![0.25, 0.5, f32::INFINITY, 0.0],
        };
        let curve = [0.0, 0.2, 0.25, 0.3, 0.5, 1e30, f64::INFINITY].map(|eps| nearest.robust_correct_at(eps));
        assert_eq!(curve, [3, 3, 2, 2, 1, 1, 1]);
        for eps in [0.0, 0.2, 0.25, 0.3, 0.5, 1e30] {
            assert_eq!(nearest.clone().within(eps).robust_correct(), nearest.robust_correct_at(eps), "{eps}");
        }
        assert_eq!(nearest.clone().within(0.3).adversarial_loss, [0.2, 0.1, 0.1, 0.2]);
        assert_eq!(nearest.check(4), Ok(()));
    }

    #[test]
    fn infinite_distances_survive_json_and_distances_that_are_no_lengths_are_refused() {
        let nearest = Outcomes { distance: vec![0.1, f32::INFINITY, 0.0], ..outcomes() };
        let text = serde_json::to_string(&nearest).unwrap();
        assert!(text.ends_with(r#""distance":[0.1,null,0.0]}"#), "{text}");
        assert_eq!(serde_json::from_str::<Outcomes>(&text).unwrap(), nearest);
        for odd in [f32::NAN, f32::NEG_INFINITY] {
            let outcomes = Outcomes { distance: vec![0.1, odd, 0.0], ..outcomes() };
            let error = serde_json::to_string(&outcomes).unwrap_err().to_string();
            assert_eq!(error, "`distance` of example 1 is no length");
        }
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
