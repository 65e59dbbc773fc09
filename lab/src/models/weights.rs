//! Where a model's first weights come from.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use gauntlet_data::NamedTensor;
use gauntlet_domain::experiment::{
    Backbone, CheckpointFormat, Head, Import, ModelSpec, MomentTensor, ParameterShape, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use tch::{Device, Tensor};

use super::initial;
use super::parameters::Parameters;
use crate::error::{LabError, WeightsError};

/// Where checkpoints lie.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoints<'a> {
    /// Those that tasks produced.
    pub tasks: &'a BTreeMap<TaskId, PathBuf>,
    /// Those that users brought, by digest.
    pub files: &'a BTreeMap<Digest, PathBuf>,
}

/// The weights a task starts from.
///
/// # Errors
/// A checkpoint that is not there, cannot be read, or does not fit the model: missing and unexpected names, other shapes, values that are not finite.
pub fn starting_weights(
    spec: &ModelSpec,
    weights: &Weights,
    seed: u64,
    checkpoints: Checkpoints<'_>,
    device: Device,
) -> Result<Parameters, LabError> {
    match weights {
        Weights::Scratch => fill(spec, Vec::new(), seed, device),
        Weights::Task { task, head } => {
            let origin = format!("the checkpoint of task {}", task.short());
            let path = checkpoints.tasks.get(task).ok_or_else(|| LabError::MissingInput { what: origin.clone() })?;
            let tensors = gauntlet_data::read_checkpoint(path, CheckpointFormat::SafeTensors)?;
            take_over(spec, tensors, *head, &origin, seed, device)
        }
        Weights::Imported { checkpoint, format, head } => {
            let what = || format!("the checkpoint of digest {}", checkpoint.short());
            let path = checkpoints.files.get(checkpoint).ok_or_else(|| LabError::MissingInput { what: what() })?;
            let tensors = gauntlet_data::read_verified_checkpoint(path, *format, checkpoint)?;
            take_over(spec, tensors, *head, &path.display().to_string(), seed, device)
        }
    }
}

fn take_over(
    spec: &ModelSpec,
    tensors: Vec<NamedTensor>,
    head: Head,
    origin: &str,
    seed: u64,
    device: Device,
) -> Result<Parameters, LabError> {
    let misfit = |problem| LabError::Weights {
        origin: origin.to_owned(),
        network: spec.network_name(),
        problem: Box::new(problem),
    };
    let (mut tensors, unexpected) = adopt(spec, tensors).map_err(misfit)?;
    let head_prefix = format!("{}.", spec.backbone.head());
    let replaced = |name: &str| head == Head::Replace && name.starts_with(&head_prefix);
    tensors.retain(|tensor| !replaced(&tensor.name));
    let expected: Vec<ParameterShape> = spec.state_dict();
    let wanted: Vec<&ParameterShape> = expected.iter().filter(|parameter| !replaced(&parameter.name)).collect();
    check(spec.backbone, &wanted, &tensors, unexpected).map_err(misfit)?;
    fill(spec, tensors, seed, device)
}

/// The tensors of the backbone under its own names, and the names of what is nothing to it.
fn adopt(spec: &ModelSpec, tensors: Vec<NamedTensor>) -> Result<(Vec<NamedTensor>, Vec<String>), WeightsError> {
    let by_name: BTreeMap<&str, &NamedTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let import = Import::sort(by_name.keys().copied(), spec.backbone);
    let values = |name: &str| by_name.get(name).map(|tensor| MomentTensor::new(name, &tensor.values).values);
    import.check_normalize(&spec.normalize, values)?;
    let differs = |copy: &str, kept: &str| {
        let [copy, kept] = [copy, kept].map(|name| by_name[name]);
        copy.shape != kept.shape || copy.values != kept.values
    };
    if let Some((copy, kept)) = import.copies.iter().find(|(copy, kept)| differs(copy, kept)) {
        return Err(WeightsError::Copies { copy: (*copy).to_owned(), kept: (*kept).to_owned() });
    }
    let unexpected = import.unexpected.iter().map(|name| (*name).to_owned()).collect();
    let names: HashMap<String, String> =
        import.tensors.iter().map(|(name, file)| ((*file).to_owned(), (*name).to_owned())).collect();
    let renamed =
        |tensor: NamedTensor| names.get(&tensor.name).map(|name| NamedTensor { name: name.clone(), ..tensor });
    Ok((tensors.into_iter().filter_map(renamed).collect(), unexpected))
}

/// Whether exactly the wanted tensors came, each in its shape and finite.
fn check(
    backbone: Backbone,
    wanted: &[&ParameterShape],
    found: &[NamedTensor],
    unexpected: Vec<String>,
) -> Result<(), WeightsError> {
    let by_name: BTreeMap<&str, &NamedTensor> = found.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let missing: Vec<String> =
        wanted.iter().filter(|w| !by_name.contains_key(w.name.as_str())).map(|w| w.name.clone()).collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(WeightsError::Names { missing, unexpected });
    }
    for parameter in wanted {
        let tensor = by_name[parameter.name.as_str()];
        if !backbone.accepts(parameter, &tensor.shape) {
            return Err(WeightsError::Shape {
                name: parameter.name.clone(),
                found: tensor.shape.clone(),
                expected: parameter.shape.clone(),
                in_head: parameter.name.starts_with(&format!("{}.", backbone.head())),
            });
        }
        if tensor.values.iter().any(|value| !value.is_finite()) {
            return Err(WeightsError::NotFinite { name: parameter.name.clone() });
        }
    }
    Ok(())
}

/// The state dict: what was taken over, and the rest freshly drawn.
fn fill(spec: &ModelSpec, taken: Vec<NamedTensor>, seed: u64, device: Device) -> Result<Parameters, LabError> {
    let mut tensors = BTreeMap::new();
    for tensor in taken {
        let size: Vec<i64> = tensor.shape.iter().map(|length| *length as i64).collect();
        let values = Tensor::f_from_slice(&tensor.values)?.f_view(size.as_slice())?.f_to_device(device)?;
        tensors.insert(tensor.name, values);
    }
    let list = spec.state_dict();
    for parameter in &list {
        if let Entry::Vacant(absent) = tensors.entry(parameter.name.clone()) {
            absent.insert(initial::draw(spec.family(), parameter, &list, seed, device)?);
        }
    }
    Ok(Parameters::new(tensors))
}
