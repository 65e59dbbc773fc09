//! CIFAR's binary files (Krizhevsky 2009): records of labels and 32×32 RGB, plane by plane, one after the other.

use gauntlet_domain::experiment::{CifarVariant, ImageShape};

/// Why a file is not in CIFAR's binary format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CifarProblem {
    /// Not a whole number of records, or none.
    #[error("holds {found} bytes, which is no whole number of records of {record} bytes")]
    Length {
        /// Size of the file.
        found: usize,
        /// Size of a record.
        record: usize,
    },
    /// A label that is none.
    #[error("label {found} at index {index}: expected 0 to {}", classes - 1)]
    Label {
        /// Of the record.
        index: usize,
        /// What is there.
        found: u32,
        /// Number of classes.
        classes: u32,
    },
}

/// What its images are.
pub(crate) const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const IMAGE_BYTES: usize = 3 * 32 * 32;

/// Examples of each class of a file, all of whose labels are classes.
pub(crate) fn per_class(bytes: &[u8], variant: CifarVariant) -> Result<Vec<u32>, CifarProblem> {
    let mut counts = vec![0; variant.classes() as usize];
    records(bytes, variant)?.into_iter().for_each(|(label, _)| counts[label as usize] += 1);
    Ok(counts)
}

/// Class and pixels u8 \[C,H,W\] of each record.
pub(crate) fn records(bytes: &[u8], variant: CifarVariant) -> Result<Vec<(u32, &[u8])>, CifarProblem> {
    let labels = variant.label_bytes();
    let record = labels + IMAGE_BYTES;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) || bytes.len() / record > u32::MAX as usize {
        return Err(CifarProblem::Length { found: bytes.len(), record });
    }
    let classes = variant.classes();
    let read = |(index, record)| {
        let (labels, pixels) = <[u8]>::split_at(record, labels);
        match labels.last().copied().map(u32::from) {
            Some(label) if label < classes => Ok((label, pixels)),
            found => Err(CifarProblem::Label { index, found: found.unwrap_or(u32::MAX), classes }),
        }
    };
    bytes.chunks_exact(record).enumerate().map(read).collect()
}
