//! Splits that another task made: a safetensors file with `images` f32 \[N,C,H,W\] in [0,1] and `labels` i64 \[N\].

use std::path::Path;

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{DatasetSpec, ImageShape};

use crate::error::{DataError, InFile};
use crate::file::{Places, read};
use crate::images::{DatasetProblem, paired};
use crate::labelled_tensors::{IMAGES, IMAGES_SHAPE, LABELS, image_shape, labels, tensor};
use crate::safetensors_file;
use crate::subset::choose;

/// Labelled images between grey levels.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstructedImages {
    /// \[N,C,H,W\], row by row, in [0,1].
    pub pixels: Vec<f32>,
    /// \[N\]; each below the spec's number of classes.
    pub labels: Vec<u32>,
    /// C, H and W.
    pub shape: ImageShape,
}

/// The first examples of what a task made, in the shape that the spec wants.
///
/// # Errors
/// An artifact that is not at hand or malformed; images of another shape; pixels outside [0,1]; labels outside the classes; too few examples.
pub fn load_constructed(spec: &DatasetSpec, task: TaskId, places: &Places) -> Result<ConstructedImages, DataError> {
    let path = places.task_artifact(task)?;
    let bytes = read(path)?;
    of_file(&bytes, spec, path)
}

fn of_file(bytes: &[u8], spec: &DatasetSpec, path: &Path) -> Result<ConstructedImages, DataError> {
    let tensors = safetensors_file::parse(bytes).in_file(path)?;
    let images = tensor(&tensors, IMAGES, "F32").in_file(path)?;
    let (count, shape) = image_shape(&images.shape).in_file(path)?;
    if shape != spec.image {
        let problem = DatasetProblem::Shape { tensor: IMAGES, found: images.shape.clone(), expected: IMAGES_SHAPE };
        return Err(problem).in_file(path);
    }
    let labels = labels(tensor(&tensors, LABELS, "I64").in_file(path)?).in_file(path)?;
    paired(count.into(), labels.len() as u64).in_file(path)?;
    let chosen = choose(labels, spec).in_file(path)?;
    let per_image = images.bytes.len() / count as usize;
    let mut pixels = Vec::with_capacity(chosen.len() * per_image / 4);
    for example in &chosen {
        let (values, _) = images.bytes[example.index * per_image..][..per_image].as_chunks::<4>();
        pixels.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
    }
    if let Some(place) = pixels.iter().position(|pixel| !(0.0..=1.0).contains(pixel)) {
        let (example, found) = (place / (per_image / 4), pixels[place].to_string());
        return Err(DatasetProblem::NotAPixel { example, found }).in_file(path);
    }
    Ok(ConstructedImages { pixels, labels: chosen.iter().map(|example| example.label).collect(), shape })
}
