//! Checkpoints: names and values of tensors.

mod element;
mod safetensors;
mod torch;

use std::path::Path;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::CheckpointFormat;

use crate::error::{DataError, InFile};
use crate::file::{read, read_verified};

pub use torch::{PickleProblem, TensorProblem, TorchProblem};

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// As in the file.
    pub name: String,
    /// Lengths of the axes; empty for a single number.
    pub shape: Vec<u64>,
    /// In row-major order.
    pub values: Vec<f32>,
}

/// Why weights cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsProblem {
    /// A NaN or an infinity.
    #[error("`{tensor}` holds {value} at {index:?}: weights must be finite numbers")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Along each axis.
        index: Vec<u64>,
        /// What is there, as f32.
        value: f32,
    },
    /// A type that is neither floating-point nor integer.
    #[error("`{tensor}` has type {found}; weights are read from F32, F64, F16 and BF16")]
    ElementType {
        /// The tensor.
        tensor: String,
        /// By the format's name.
        found: String,
    },
    /// No floating-point tensor at all.
    #[error("holds no weights: none of its {tensors} tensors is of floating-point numbers")]
    NoWeights {
        /// Number of tensors of other types.
        tensors: usize,
    },
}

/// The floating-point tensors of a checkpoint as f32, sorted by name; tensors of integers, such as `num_batches_tracked`, are left out.
///
/// Values are taken as they are, also NaN: [`inspect`](crate::inspect) refuses those where a user brings them.
///
/// # Errors
/// A file that cannot be read or is malformed, or that asks for anything but tensors and plain values: nothing in it is ever executed.
pub fn read_checkpoint(path: &Path, format: CheckpointFormat) -> Result<Vec<NamedTensor>, DataError> {
    parse(&read(path)?, format, path)
}

/// [`read_checkpoint`] of a file that has the expected digest; the bytes that were hashed are the bytes that are read.
///
/// # Errors
/// Those of [`read_checkpoint`], and a file with another digest.
pub fn read_verified_checkpoint(
    path: &Path,
    format: CheckpointFormat,
    expected: &Digest,
) -> Result<Vec<NamedTensor>, DataError> {
    parse(&read_verified(path, expected)?, format, path)
}

/// The floating-point tensors in the bytes of a file; `path` is for messages.
pub(crate) fn parse(bytes: &[u8], format: CheckpointFormat, path: &Path) -> Result<Vec<NamedTensor>, DataError> {
    match format {
        CheckpointFormat::SafeTensors => safetensors::read(bytes, path),
        CheckpointFormat::Pytorch => torch::read(bytes, path),
    }
}

/// Whether every weight is a finite number.
pub(crate) fn check_finite(tensors: &[NamedTensor]) -> Result<(), WeightsProblem> {
    for tensor in tensors {
        if let Some(flat) = tensor.values.iter().position(|value| !value.is_finite()) {
            let index = unravel(flat as u64, &tensor.shape);
            return Err(WeightsProblem::NotFinite { tensor: tensor.name.clone(), index, value: tensor.values[flat] });
        }
    }
    Ok(())
}

/// The tensors, if any is there; `others` were left out.
fn at_least_one(tensors: Vec<NamedTensor>, others: usize, path: &Path) -> Result<Vec<NamedTensor>, DataError> {
    if tensors.is_empty() { Err(WeightsProblem::NoWeights { tensors: others }).in_file(path) } else { Ok(tensors) }
}

/// Position along each axis of the value at `flat` in row-major order.
fn unravel(mut flat: u64, shape: &[u64]) -> Vec<u64> {
    let mut index: Vec<u64> = shape
        .iter()
        .rev()
        .map(|length| {
            let position = flat % length;
            flat /= length;
            position
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_is_not_finite_is_named_by_its_place() {
        let values = vec![0.0, 1.0, 2.0, 3.0, f32::NEG_INFINITY, 5.0];
        let tensor = NamedTensor { name: "fc.weight".into(), shape: vec![3, 2], values };
        let problem = check_finite(&[tensor]).unwrap_err();
        assert_eq!(problem.to_string(), "`fc.weight` holds -inf at [2, 0]: weights must be finite numbers");
    }
}
