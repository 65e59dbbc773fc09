//! Data sets in a safetensors file: `images` u8 \[N,C,H,W\] and `labels` i64 \[N\].

use std::collections::BTreeMap;
use std::path::Path;

use gauntlet_domain::experiment::ImageShape;

use crate::error::{DataError, InFile};
use crate::images::{DatasetProblem, RawImages, paired};
use crate::safetensors_file::{self, RawTensor};
use crate::subset::{Chosen, gather, last_needed};

pub(crate) const IMAGES: &str = "images";
pub(crate) const LABELS: &str = "labels";
pub(crate) const IMAGES_SHAPE: &str = "[N, C, H, W] with C = 1 or 3 and nothing zero";
const LABELS_SHAPE: &str = "[N]";
const NAMES_SHOWN: usize = 5;

/// The images and labels of a file, checked.
pub(crate) struct LabelledTensors<'bytes> {
    pixels: &'bytes [u8],
    labels: Vec<u32>,
    shape: ImageShape,
}

impl<'bytes> LabelledTensors<'bytes> {
    /// Reads and checks the file; every label is 0 or above.
    pub(crate) fn read(file: &'bytes [u8], path: &Path) -> Result<Self, DataError> {
        let tensors = safetensors_file::parse(file).in_file(path)?;
        Self::from_tensors(&tensors).in_file(path)
    }

    fn from_tensors(tensors: &BTreeMap<String, RawTensor<'bytes>>) -> Result<Self, DatasetProblem> {
        let images = tensor(tensors, IMAGES, "U8")?;
        let (count, shape) = image_shape(&images.shape)?;
        let labels = labels(tensor(tensors, LABELS, "I64")?)?;
        paired(count.into(), labels.len() as u64)?;
        Ok(Self { pixels: images.bytes, labels, shape })
    }

    /// Number of examples.
    pub(crate) fn examples(&self) -> u32 {
        // `image_shape` saw to it that it fits.
        self.labels.len() as u32
    }

    /// C, H and W.
    pub(crate) const fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The largest label.
    pub(crate) fn max_label(&self) -> u32 {
        self.labels.iter().copied().max().unwrap_or(0)
    }

    /// All labels.
    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Some of the examples.
    pub(crate) fn chosen(&self, chosen: &[Chosen]) -> RawImages {
        let image_bytes = self.pixels.len() / self.labels.len();
        let needed = self.pixels[..last_needed(chosen) * image_bytes].to_vec();
        let (pixels, labels) = gather(needed, image_bytes, chosen);
        RawImages { pixels, labels, shape: self.shape }
    }
}

pub(crate) fn tensor<'map, 'bytes>(
    tensors: &'map BTreeMap<String, RawTensor<'bytes>>,
    name: &'static str,
    expected: &'static str,
) -> Result<&'map RawTensor<'bytes>, DatasetProblem> {
    let Some(found) = tensors.get(name) else {
        return Err(DatasetProblem::MissingTensor { tensor: name, present: name_some(tensors.keys()) });
    };
    if found.element != expected {
        return Err(DatasetProblem::ElementType { tensor: name, found: found.element.clone(), expected });
    }
    Ok(found)
}

/// The first few of some names, for people.
pub(crate) fn name_some<'names>(names: impl ExactSizeIterator<Item = &'names String>) -> String {
    let count = names.len();
    if count == 0 {
        return "nothing".to_owned();
    }
    let shown: Vec<String> = names.take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if count > NAMES_SHOWN { format!(" and {} more", count - NAMES_SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

pub(crate) fn image_shape(found: &[u64]) -> Result<(u32, ImageShape), DatasetProblem> {
    let problem = || DatasetProblem::Shape { tensor: IMAGES, found: found.to_vec(), expected: IMAGES_SHAPE };
    let lengths: Vec<u32> = found.iter().filter_map(|length| u32::try_from(*length).ok()).collect();
    let &[count, channels, height, width] = lengths.as_slice() else {
        return Err(problem());
    };
    let usable = found.len() == 4 && count > 0 && height > 0 && width > 0 && matches!(channels, 1 | 3);
    if usable { Ok((count, ImageShape { channels, height, width })) } else { Err(problem()) }
}

/// The labels of a tensor i64 \[N\], each 0 or above.
pub(crate) fn labels(tensor: &RawTensor<'_>) -> Result<Vec<u32>, DatasetProblem> {
    if tensor.shape.len() != 1 {
        return Err(DatasetProblem::Shape { tensor: LABELS, found: tensor.shape.clone(), expected: LABELS_SHAPE });
    }
    let (values, _) = tensor.bytes.as_chunks::<8>();
    let label = |(index, value): (usize, &[u8; 8])| {
        let found = i64::from_le_bytes(*value);
        u32::try_from(found).map_err(|_| DatasetProblem::NotALabel { index, found })
    };
    values.iter().enumerate().map(label).collect()
}
