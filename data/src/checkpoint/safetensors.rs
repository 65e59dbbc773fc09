//! Weights in safetensors files.

use std::path::Path;

use super::element::Element;
use super::{NamedTensor, WeightsProblem, at_least_one};
use crate::error::{DataError, InFile};
use crate::safetensors_file::{self, RawTensor};

/// The floating-point tensors of a file, sorted by name.
pub(super) fn read(file: &[u8], path: &Path) -> Result<Vec<NamedTensor>, DataError> {
    let tensors = safetensors_file::parse(file).in_file(path)?;
    let count = tensors.len();
    let mut weights = Vec::with_capacity(count);
    for (name, tensor) in tensors {
        let Some(element) = element(&tensor) else {
            return Err(WeightsProblem::ElementType { tensor: name, found: tensor.element }).in_file(path);
        };
        if element.is_float() {
            weights.push(NamedTensor { name, values: element.decode(tensor.bytes), shape: tensor.shape });
        }
    }
    at_least_one(weights, count, path)
}

fn element(tensor: &RawTensor<'_>) -> Option<Element> {
    match tensor.element.as_str() {
        "F32" => Some(Element::Float32),
        "F64" => Some(Element::Float64),
        "F16" => Some(Element::Float16),
        "BF16" => Some(Element::BFloat16),
        "BOOL" | "U8" | "I8" => Some(Element::Other(1)),
        "U16" | "I16" => Some(Element::Other(2)),
        "U32" | "I32" => Some(Element::Other(4)),
        "U64" | "I64" => Some(Element::Other(8)),
        _ => None,
    }
}
