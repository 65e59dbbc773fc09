//! What a file holds, for the planner.

use std::path::Path;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{CheckpointFormat, MomentTensor, ParameterShape, may_be_moment};
use gauntlet_domain::sweep::{FileContent, FileFacts, FileRole, MOST_CLASSES};

use crate::checkpoint;
use crate::cifar;
use crate::error::{DataError, InFile};
use crate::file::read;
use crate::folder;
use crate::idx::{IdxFile, IdxKind};
use crate::labelled_tensors::LabelledTensors;

/// What a file holds, and its digest, both found in the same bytes.
///
/// # Errors
/// A file that cannot be read, or that does not hold what its role says: malformed, of other types or shapes, without examples, with a
/// negative label, or with weights that are not finite.
pub fn inspect(role: FileRole, path: &Path) -> Result<FileFacts, DataError> {
    let file = |look: &dyn Fn(&[u8]) -> Result<FileContent, DataError>| {
        let bytes = read(path)?;
        Ok(FileFacts { digest: Digest::of(&bytes), content: look(&bytes)? })
    };
    match role {
        FileRole::IdxImages => file(&|bytes| idx_images(bytes, path)),
        FileRole::IdxLabels => file(&|bytes| idx_labels(bytes, path)),
        FileRole::SafeTensorsDataset => file(&|bytes| labelled_tensors(bytes, path)),
        FileRole::Cifar(variant) => file(&|bytes| {
            let per_class = cifar::per_class(bytes, variant).in_file(path)?;
            Ok(FileContent::Cifar { examples: per_class.iter().sum(), variant, per_class })
        }),
        FileRole::Checkpoint(format) => file(&|bytes| weights(bytes, format, path)),
        FileRole::ImageFolder { or_val } => {
            let (digest, classes) = folder::inspect(path, or_val)?;
            Ok(FileFacts { digest, content: FileContent::ImageFolder { classes } })
        }
    }
}

fn idx_images(bytes: &[u8], path: &Path) -> Result<FileContent, DataError> {
    let file = IdxFile::open(bytes, IdxKind::Images).in_file(path)?;
    let axes = file.read(|_| ()).in_file(path)?.0;
    Ok(FileContent::IdxImages { examples: axes[0], height: axes[1], width: axes[2] })
}

fn idx_labels(bytes: &[u8], path: &Path) -> Result<FileContent, DataError> {
    let file = IdxFile::open(bytes, IdxKind::Labels).in_file(path)?;
    let mut counts = [0_u32; 256];
    let count = |labels: &[u8]| labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    let axes = file.read(count).in_file(path)?.0;
    let max_label = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let per_class = counts[..=max_label].to_vec();
    Ok(FileContent::IdxLabels { examples: axes[0], max_label: max_label as u32, per_class })
}

/// Examples of each label up to the largest; none where that is more than any count of classes.
fn per_class(labels: &[u32], max_label: u32) -> Vec<u32> {
    if max_label >= MOST_CLASSES {
        return Vec::new();
    }
    let mut counts = vec![0; max_label as usize + 1];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    counts
}

fn labelled_tensors(bytes: &[u8], path: &Path) -> Result<FileContent, DataError> {
    let tensors = LabelledTensors::read(bytes, path)?;
    let shape = tensors.shape();
    Ok(FileContent::SafeTensorsDataset {
        examples: tensors.examples(),
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
        max_label: tensors.max_label(),
        per_class: per_class(tensors.labels(), tensors.max_label()),
    })
}

fn weights(bytes: &[u8], format: CheckpointFormat, path: &Path) -> Result<FileContent, DataError> {
    let tensors = checkpoint::parse(bytes, format, path)?;
    checkpoint::check_finite(&tensors).in_file(path)?;
    let moments = tensors.iter().filter(|tensor| may_be_moment(&tensor.name, tensor.values.len()));
    let moments = moments.map(|tensor| MomentTensor::new(&tensor.name, &tensor.values)).collect();
    let shape = |tensor: checkpoint::NamedTensor| ParameterShape { name: tensor.name, shape: tensor.shape };
    Ok(FileContent::Checkpoint { tensors: tensors.into_iter().map(shape).collect(), moments })
}
