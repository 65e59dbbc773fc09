//! Types of the values of tensors.

use half::{bf16, f16};

/// Type of the values of a tensor, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Float32,
    Float64,
    Float16,
    BFloat16,
    /// Integers and truth values of so many bytes, which are counters and masks, never weights.
    Other(u64),
}

impl Element {
    /// Bytes of a value.
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Float64 => 8,
            Self::Float32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
            Self::Other(bytes) => bytes,
        }
    }

    pub(super) const fn is_float(self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// The values in `bytes`; none for integers.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Float32 => bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
            Self::Float64 => bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value) as f32).collect(),
            Self::Float16 => bytes.as_chunks().0.iter().map(|value| f16::from_le_bytes(*value).to_f32()).collect(),
            Self::BFloat16 => bytes.as_chunks().0.iter().map(|value| bf16::from_le_bytes(*value).to_f32()).collect(),
            Self::Other(_) => Vec::new(),
        }
    }
}
