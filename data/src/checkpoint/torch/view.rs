//! Tensors as views of storages: an offset, a shape and a stride for each axis.

use crate::checkpoint::element::Element;

/// A run of values that tensors look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Type of the values.
    pub(super) element: Element,
    /// Name of the entry that holds them.
    pub(super) key: String,
    /// Their number, as the pickle claims.
    pub(super) length: u64,
}

/// A tensor: which values of a storage it shows, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) storage: Storage,
    /// First value.
    pub(super) offset: u64,
    /// Lengths of the axes.
    pub(super) shape: Vec<u64>,
    /// Values from one position to the next, along each axis.
    pub(super) stride: Vec<u64>,
}

/// Why a tensor is not in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorProblem {
    /// As many strides as axes are needed.
    #[error("has {strides} strides for {axes} axes")]
    Strides {
        /// Number of axes.
        axes: usize,
        /// Number of strides.
        strides: usize,
    },
    /// A view that goes beyond its storage.
    #[error(
        "has shape {shape:?} and strides {stride:?} from value {offset}, which leaves its storage of {length} values"
    )]
    OutOfStorage {
        /// Lengths of the axes.
        shape: Vec<u64>,
        /// Values from one position to the next, along each axis.
        stride: Vec<u64>,
        /// First value.
        offset: u64,
        /// Values of the storage.
        length: u64,
    },
    /// A storage that is not what the pickle says.
    #[error("lies in the storage `{key}`, which has {found} bytes, expected {expected}")]
    StorageBytes {
        /// Name of the storage.
        key: String,
        /// Its bytes.
        found: u64,
        /// Bytes of the claimed values; the largest number where it does not fit one.
        expected: u64,
    },
}

impl View {
    /// Whether the view stays within its storage; [`gather`](Self::gather) may be called only then.
    pub(super) fn check(&self) -> Result<(), TensorProblem> {
        if self.shape.len() != self.stride.len() {
            return Err(TensorProblem::Strides { axes: self.shape.len(), strides: self.stride.len() });
        }
        let inside = || self.end().is_some_and(|end| end <= self.storage.length);
        if self.count().is_some_and(|count| count == 0 || inside()) {
            return Ok(());
        }
        let (offset, length) = (self.offset, self.storage.length);
        Err(TensorProblem::OutOfStorage { shape: self.shape.clone(), stride: self.stride.clone(), offset, length })
    }

    /// Number of values.
    pub(super) fn values(&self) -> u64 {
        self.count().unwrap_or(u64::MAX)
    }

    fn count(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length))
    }

    /// One after the last value it shows, if it shows any.
    fn end(&self) -> Option<u64> {
        let axes = self.shape.iter().zip(&self.stride);
        axes.into_iter()
            .try_fold(self.offset, |last, (length, stride)| {
                last.checked_add(length.checked_sub(1)?.checked_mul(*stride)?)
            })?
            .checked_add(1)
    }

    /// The values in row-major order, from the bytes of the storage.
    pub(super) fn gather(&self, storage: &[u8]) -> Result<Vec<f32>, TensorProblem> {
        let expected = self.storage.length.saturating_mul(self.storage.element.bytes());
        if storage.len() as u64 != expected {
            let key = self.storage.key.clone();
            return Err(TensorProblem::StorageBytes { key, found: storage.len() as u64, expected });
        }
        // From here on every index is below the length of `storage`, which is a usize.
        let (element, offset) = (self.storage.element, self.offset as usize);
        let (value_bytes, count) = (element.bytes() as usize, self.values() as usize);
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.is_contiguous() {
            return Ok(element.decode(&storage[offset * value_bytes..(offset + count) * value_bytes]));
        }
        let mut gathered = Vec::with_capacity(count * value_bytes);
        self.visit(|index| gathered.extend_from_slice(&storage[index * value_bytes..(index + 1) * value_bytes]));
        Ok(element.decode(&gathered))
    }

    /// Whether the values lie one after another, in order. The stride of an axis of length one is never used.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.stride).rev().all(|(length, stride)| {
            let right = *length == 1 || *stride == expected;
            expected *= length;
            right
        })
    }

    /// Shows `see` where in the storage each value lies, in row-major order; there is one at least.
    fn visit(&self, mut see: impl FnMut(usize)) {
        let mut position = vec![0; self.shape.len()];
        loop {
            let steps: u64 = position.iter().zip(&self.stride).map(|(step, stride)| step * stride).sum();
            see((self.offset + steps) as usize);
            let next = (0..self.shape.len()).rev().find(|axis| position[*axis] + 1 < self.shape[*axis]);
            let Some(axis) = next else { return };
            position[axis] += 1;
            position[axis + 1..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(length: u64) -> Storage {
        Storage { element: Element::Float32, key: "0".into(), length }
    }

    fn bytes(length: u16) -> Vec<u8> {
        (0..length).flat_map(|value| f32::from(value).to_le_bytes()).collect()
    }

    fn view(offset: u64, shape: &[u64], stride: &[u64]) -> View {
        View { storage: storage(6), offset, shape: shape.to_vec(), stride: stride.to_vec() }
    }

    fn gather(offset: u64, shape: &[u64], stride: &[u64]) -> Vec<f32> {
        let view = view(offset, shape, stride);
        assert_eq!(view.check(), Ok(()));
        view.gather(&bytes(6)).unwrap()
    }

    fn problem(offset: u64, shape: &[u64], stride: &[u64]) -> String {
        view(offset, shape, stride).check().unwrap_err().to_string()
    }

    #[test]
    fn strides_are_honoured() {
        assert_eq!(gather(0, &[3, 2], &[2, 1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "as it lies");
        assert_eq!(gather(0, &[2, 3], &[1, 2]), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0], "transposed");
        assert_eq!(gather(1, &[2], &[3]), [1.0, 4.0], "a column");
        assert_eq!(gather(5, &[], &[]), [5.0], "a single number");
        assert_eq!(gather(0, &[2, 0], &[1, 1]), [0.0; 0], "nothing");
        assert_eq!(gather(2, &[3], &[0]), [2.0; 3], "one value expanded");
    }

    #[test]
    fn a_view_beyond_its_storage_is_refused() {
        assert_eq!(
            problem(1, &[3, 2], &[2, 1]),
            "has shape [3, 2] and strides [2, 1] from value 1, which leaves its storage of 6 values"
        );
        for (offset, shape, stride) in [
            (6, vec![], vec![]),
            (u64::MAX, vec![1], vec![1]),
            (0, vec![u64::MAX, u64::MAX], vec![u64::MAX, 1]),
            (0, vec![1 << 32, 1 << 32], vec![0, 0]),
        ] {
            assert!(problem(offset, &shape, &stride).contains("which leaves its storage"), "{offset} {shape:?}");
        }
    }

    #[test]
    fn strides_and_axes_must_agree() {
        assert_eq!(problem(0, &[2, 3], &[1]), "has 1 strides for 2 axes");
    }

    #[test]
    fn a_storage_of_another_length_than_claimed_is_refused() {
        let problem = view(0, &[6], &[1]).gather(&bytes(5)).unwrap_err();
        assert_eq!(problem.to_string(), "lies in the storage `0`, which has 20 bytes, expected 24");
    }
}
