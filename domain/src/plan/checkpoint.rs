//! Whether an imported checkpoint fits a backbone.

use std::collections::BTreeMap;

use crate::experiment::{Backbone, ParameterShape, Stem};

/// What is wrong is listed up to so many tensors.
const SHOWN: usize = 5;

/// Number of classes of the head of a checkpoint that fits the backbone.
///
/// # Errors
/// What does not fit.
pub(super) fn classes(
    tensors: &[ParameterShape],
    backbone: Backbone,
    stem: Stem,
    channels: u32,
) -> Result<u32, String> {
    let found: BTreeMap<&str, &[u64]> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let head = format!("{}.bias", backbone.head());
    let classes = match found.get(head.as_str()) {
        Some([classes]) => u32::try_from(*classes).unwrap_or(0),
        _ => 0,
    };
    let expected = backbone.state_dict(stem, channels, classes);
    let mut wrong = misfits(&found, &expected);
    if wrong.is_empty() {
        return Ok(classes);
    }
    let rest = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Err(format!("{}{more}", wrong.join("; ")))
}

fn misfits(found: &BTreeMap<&str, &[u64]>, expected: &[ParameterShape]) -> Vec<String> {
    let mut wrong = Vec::new();
    for tensor in expected {
        match found.get(tensor.name.as_str()) {
            None => wrong.push(format!("`{}` is missing", tensor.name)),
            Some(shape) if *shape != tensor.shape => {
                wrong.push(format!("`{}` has the shape {shape:?} instead of {:?}", tensor.name, tensor.shape));
            }
            Some(_) => {}
        }
    }
    let known: std::collections::HashSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    let counter = |name: &str| name.ends_with("num_batches_tracked");
    let unexpected = found.keys().filter(|name| !known.contains(*name) && !counter(name));
    wrong.extend(unexpected.map(|name| format!("`{name}` is unexpected")));
    wrong
}
