//! The safetensors format: eight bytes with the length of the header, a JSON header, the tensors one after another; all little-endian.
//!
//! Read here rather than by the `safetensors` crate because its errors do not say which tensor is wrong.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;

const LENGTH_BYTES: usize = 8;
/// A header of 16 MiB describes some 100,000 tensors.
const MAX_HEADER_BYTES: u64 = 1 << 24;
const METADATA_KEY: &str = "__metadata__";

/// Why a file is not in safetensors format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafeTensorsProblem {
    /// Too short even for the length of the header.
    #[error("{found} bytes are too few for a safetensors file")]
    TooShort {
        /// Bytes there.
        found: usize,
    },
    /// A header that is surely none.
    #[error(
        "not a safetensors file: its first eight bytes claim a header of {claimed} bytes, more than the {limit} allowed"
    )]
    HeaderTooLong {
        /// From the first eight bytes.
        claimed: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Ends inside the header.
    #[error("cut short: it claims a header of {claimed} bytes, and only {found} follow")]
    HeaderCutShort {
        /// From the first eight bytes.
        claimed: u64,
        /// Bytes after the first eight.
        found: usize,
    },
    /// A header that is not the JSON it should be.
    #[error("its header is not a list of tensors in JSON: {reason}")]
    HeaderNotJson {
        /// What the parser says.
        reason: String,
    },
    /// A type of values this format does not have.
    #[error("`{tensor}` has type {found}, which is none that safetensors knows")]
    UnknownType {
        /// The tensor.
        tensor: String,
        /// From the header.
        found: String,
    },
    /// Bytes that are not there.
    #[error("`{tensor}` lies in the bytes {start} to {end} of {available}: cut short, or a broken header")]
    OutOfFile {
        /// The tensor.
        tensor: String,
        /// First byte, counted after the header.
        start: u64,
        /// One after the last byte.
        end: u64,
        /// Bytes after the header.
        available: u64,
    },
    /// A shape that does not go with the bytes.
    #[error("`{tensor}` has {found} bytes, its shape {shape:?} and type {element} take {expected}")]
    Size {
        /// The tensor.
        tensor: String,
        /// Bytes it has.
        found: u64,
        /// Bytes its shape takes.
        expected: u64,
        /// From the header.
        shape: Vec<u64>,
        /// From the header.
        element: String,
    },
    /// A shape of more values than can be counted.
    #[error("`{tensor}` has the shape {shape:?}, more values than any file holds")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// From the header.
        shape: Vec<u64>,
    },
    /// Bytes that two tensors share or that belong to none.
    #[error("`{tensor}` starts at byte {found}, and the tensor before it ends at {expected}")]
    NotAdjacent {
        /// The tensor.
        tensor: String,
        /// Where it starts.
        found: u64,
        /// Where it should.
        expected: u64,
    },
    /// Bytes behind the last tensor.
    #[error("too long: {found} bytes follow the header, and the tensors end at {expected}")]
    Trailing {
        /// Bytes after the header.
        found: u64,
        /// End of the last tensor.
        expected: u64,
    },
}

/// A tensor as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawTensor<'bytes> {
    /// Type of the values, by the format's name, such as `F32`.
    pub(crate) element: String,
    /// Lengths of the axes.
    pub(crate) shape: Vec<u64>,
    /// The values, little-endian, exactly as many as the shape says.
    pub(crate) bytes: &'bytes [u8],
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a file by name.
pub(crate) fn parse(file: &[u8]) -> Result<BTreeMap<String, RawTensor<'_>>, SafeTensorsProblem> {
    let (header, data) = split(file)?;
    let not_json = |error: serde_json::Error| SafeTensorsProblem::HeaderNotJson { reason: error.to_string() };
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).map_err(not_json)?;
    entries.remove(METADATA_KEY);
    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let entry: Entry = serde_json::from_value(value)
            .map_err(|error| SafeTensorsProblem::HeaderNotJson { reason: format!("`{name}`: {error}") })?;
        let range = byte_range(&name, &entry, data.len())?;
        let tensor = RawTensor { element: entry.dtype, shape: entry.shape, bytes: &data[range.clone()] };
        ranges.push((range, name.clone()));
        tensors.insert(name, tensor);
    }
    check_adjacent(ranges, data.len())?;
    Ok(tensors)
}

fn split(file: &[u8]) -> Result<(&[u8], &[u8]), SafeTensorsProblem> {
    let Some((length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(SafeTensorsProblem::TooShort { found: file.len() });
    };
    let claimed = u64::from_le_bytes(*length);
    if claimed > MAX_HEADER_BYTES {
        return Err(SafeTensorsProblem::HeaderTooLong { claimed, limit: MAX_HEADER_BYTES });
    }
    let header_bytes = usize::try_from(claimed).unwrap_or(usize::MAX);
    rest.split_at_checked(header_bytes).ok_or(SafeTensorsProblem::HeaderCutShort { claimed, found: rest.len() })
}

fn byte_range(name: &str, entry: &Entry, available: usize) -> Result<Range<usize>, SafeTensorsProblem> {
    let tensor = || name.to_owned();
    let (start, end) = entry.data_offsets;
    if start > end || end > available as u64 {
        return Err(SafeTensorsProblem::OutOfFile { tensor: tensor(), start, end, available: available as u64 });
    }
    let Some(value_bytes) = element_bytes(&entry.dtype) else {
        return Err(SafeTensorsProblem::UnknownType { tensor: tensor(), found: entry.dtype.clone() });
    };
    let bytes = entry.shape.iter().try_fold(value_bytes, |product, axis| product.checked_mul(*axis));
    let Some(expected) = bytes else {
        return Err(SafeTensorsProblem::TooLarge { tensor: tensor(), shape: entry.shape.clone() });
    };
    if end - start != expected {
        let (shape, element) = (entry.shape.clone(), entry.dtype.clone());
        return Err(SafeTensorsProblem::Size { tensor: tensor(), found: end - start, expected, shape, element });
    }
    // Both are at most `available`, which is a usize.
    Ok(start as usize..end as usize)
}

fn check_adjacent(mut ranges: Vec<(Range<usize>, String)>, available: usize) -> Result<(), SafeTensorsProblem> {
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    let mut expected = 0;
    for (range, tensor) in ranges {
        if range.start != expected {
            let (found, expected) = (range.start as u64, expected as u64);
            return Err(SafeTensorsProblem::NotAdjacent { tensor, found, expected });
        }
        expected = range.end;
    }
    if expected == available {
        Ok(())
    } else {
        Err(SafeTensorsProblem::Trailing { found: available as u64, expected: expected as u64 })
    }
}

/// Bytes of a value of this type.
fn element_bytes(element: &str) -> Option<u64> {
    match element {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => Some(1),
        "U16" | "I16" | "F16" | "BF16" => Some(2),
        "U32" | "I32" | "F32" => Some(4),
        "U64" | "I64" | "F64" | "C64" => Some(8),
        _ => None,
    }
}
