//! Whether an imported checkpoint fits a backbone.

use std::collections::BTreeMap;

use crate::experiment::{Import, ModelSpec, MomentTensor, ParameterShape};

/// What is wrong is listed up to so many tensors.
const SHOWN: usize = 5;

/// A checkpoint that fits.
pub(super) struct Fitting {
    /// Outputs of its head.
    pub(super) classes: u32,
    /// What was done to the names of its tensors, for people.
    pub(super) note: Option<String>,
}

/// How a checkpoint fits the model.
///
/// # Errors
/// What does not fit.
pub(super) fn fit(tensors: &[ParameterShape], moments: &[MomentTensor], model: &ModelSpec) -> Result<Fitting, String> {
    let backbone = model.backbone;
    let import = Import::sort(tensors.iter().map(|tensor| tensor.name.as_str()), backbone);
    let shapes: BTreeMap<&str, &[u64]> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let found: BTreeMap<&str, &[u64]> = import.tensors.iter().map(|(name, file)| (*name, shapes[file])).collect();
    let head = format!("{}.bias", backbone.head());
    let classes = match found.get(head.as_str()) {
        Some([classes]) => u32::try_from(*classes).unwrap_or(0),
        _ => 0,
    };
    let mut wrong = misfits(&found, &ModelSpec { classes, ..model.clone() });
    wrong.extend(import.unexpected.iter().map(|name| format!("`{name}` is unexpected")));
    let differs = |(copy, kept): &&(&str, &str)| shapes[copy] != shapes[kept];
    wrong.extend(
        import.copies.iter().filter(differs).map(|(copy, kept)| format!("`{copy}` has another shape than `{kept}`")),
    );
    if wrong.is_empty() {
        let values = |name: &str| moments.iter().find(|moment| moment.name == name).map(|moment| moment.values.clone());
        import.check_normalize(&model.normalize, values).map_err(|conflict| conflict.to_string())?;
        return Ok(Fitting { classes, note: import.description() });
    }
    let rest = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    Err(format!("{}{more}", wrong.join("; ")))
}

fn misfits(found: &BTreeMap<&str, &[u64]>, model: &ModelSpec) -> Vec<String> {
    let mut wrong = Vec::new();
    for tensor in model.state_dict() {
        match found.get(tensor.name.as_str()) {
            None => wrong.push(format!("`{}` is missing", tensor.name)),
            Some(shape) if !model.backbone.accepts(&tensor, shape) => {
                wrong.push(format!("`{}` has the shape {shape:?} instead of {:?}", tensor.name, tensor.shape));
            }
            Some(_) => {}
        }
    }
    wrong
}
