//! Whether an imported checkpoint fits a backbone.

use std::collections::BTreeMap;

use crate::experiment::{Import, ModelSpec, MomentTensor, ParameterShape};

/// Of each kind of what is wrong so many tensors are listed.
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
    let [missing, mut shapes_differ] = misfits(&found, &ModelSpec { classes, ..model.clone() });
    let differs = |(copy, kept): &&(&str, &str)| shapes[copy] != shapes[kept];
    let told = |(copy, kept): &(&str, &str)| format!("`{copy}` has another shape than `{kept}`");
    shapes_differ.extend(import.copies.iter().filter(differs).map(told));
    let unexpected = import.unexpected.iter().map(|name| format!("`{name}` is unexpected")).collect();
    let wrong = [(missing, "are missing"), (shapes_differ, "have other shapes"), (unexpected, "are unexpected")];
    let wrong: Vec<String> = wrong.into_iter().filter_map(|(tensors, are)| shortened(tensors, are)).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let values = |name: &str| moments.iter().find(|moment| moment.name == name).map(|moment| moment.values.clone());
    import.check_normalize(&model.normalize, values).map_err(|conflict| conflict.to_string())?;
    Ok(Fitting { classes, note: import.description() })
}

/// The width of the net that a checkpoint is of, where it is another than the model's.
pub(super) fn other_width(tensors: &[ParameterShape], model: &ModelSpec) -> Option<u32> {
    let own = model.width.or(model.backbone.default_width())?;
    let import = Import::sort(tensors.iter().map(|tensor| tensor.name.as_str()), model.backbone);
    let first = import.tensors.get("conv1.weight")?;
    let shape = &tensors.iter().find(|tensor| tensor.name == **first)?.shape;
    let width = u32::try_from(*shape.first()?).ok()?;
    (width != own && model.backbone.takes_width(width)).then_some(width)
}

/// The first few of a list, and how many more there are.
fn shortened(mut wrong: Vec<String>, are: &str) -> Option<String> {
    let rest = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    let more = if rest > 0 { format!("; and {rest} more {are}") } else { String::new() };
    (!wrong.is_empty()).then(|| format!("{}{more}", wrong.join("; ")))
}

/// Tensors that are missing, and those of another shape.
fn misfits(found: &BTreeMap<&str, &[u64]>, model: &ModelSpec) -> [Vec<String>; 2] {
    let (mut missing, mut shapes) = (Vec::new(), Vec::new());
    for tensor in model.state_dict() {
        match found.get(tensor.name.as_str()) {
            None => missing.push(format!("`{}` is missing", tensor.name)),
            Some(shape) if !model.backbone.accepts(&tensor, shape) => {
                shapes.push(format!("`{}` has the shape {shape:?} instead of {:?}", tensor.name, tensor.shape));
            }
            Some(_) => {}
        }
    }
    [missing, shapes]
}
