//! Tensors in `.safetensors` files: trained weights, resumable checkpoints, constructed data sets.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::{Device, Kind, Tensor};

use crate::error::LabError;

/// A file's tensors by name, and its text entries.
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) entries: BTreeMap<String, String>,
}

/// Writes f32 and i64 tensors and text entries to `path`, whole or not at all. With at most one entry the bytes follow from the content alone.
pub(crate) fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    entries: &[(&str, String)],
) -> Result<(), LabError> {
    let mut blobs = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let shape: Vec<usize> = tensor.size().iter().map(|length| *length as usize).collect();
        let (kind, bytes) = bytes_of(tensor)?;
        blobs.push((name.as_str(), kind, shape, bytes));
    }
    let mut views = Vec::with_capacity(blobs.len());
    for (name, kind, shape, bytes) in &blobs {
        views.push((*name, TensorView::new(*kind, shape.clone(), bytes).map_err(|e| defect(path, &e))?));
    }
    let entries: HashMap<String, String> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let content = safetensors::serialize(views, Some(entries)).map_err(|e| defect(path, &e))?;
    write_whole(path, &content).map_err(|source| LabError::Io { path: path.to_owned(), source })
}

/// Reads a file that [`write`] wrote.
pub(crate) fn read(path: &Path, device: Device) -> Result<Contents, LabError> {
    let damaged = |problem: String| LabError::Resume { path: path.to_owned(), problem };
    let bytes = fs::read(path).map_err(|source| LabError::Io { path: path.to_owned(), source })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("tensor `{name}` holds {:?}, expected F32", view.dtype())));
        }
        let size: Vec<i64> = view.shape().iter().map(|length| *length as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &size, Kind::Float)?.f_to_device(device)?;
        tensors.insert(name.to_owned(), tensor);
    }
    let entries = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Contents { tensors, entries })
}

fn bytes_of(tensor: &Tensor) -> Result<(Dtype, Vec<u8>), LabError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let count = tensor.numel();
    if tensor.kind() == Kind::Int64 {
        let mut values = vec![0i64; count];
        tensor.f_copy_data(&mut values, count)?;
        return Ok((Dtype::I64, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    }
    let mut values = vec![0f32; count];
    tensor.f_copy_data(&mut values, count)?;
    Ok((Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
}

/// Writes a file, whole or not at all.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut partial = PathBuf::from(path).into_os_string();
    partial.push(".partial");
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

fn defect(path: &Path, error: &safetensors::SafeTensorError) -> LabError {
    LabError::Defect(format!("{}: {error}", path.display()))
}
