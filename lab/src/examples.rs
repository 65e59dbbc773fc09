//! A split in the device's memory.

use gauntlet_data::{Images, Places};
use gauntlet_domain::experiment::DatasetSpec;
use tch::{Device, Kind, Tensor};

use crate::error::LabError;

/// Labelled images of a split, as bytes on the device: a quarter of what floats would take.
#[derive(Debug)]
pub struct Examples {
    /// u8 \[N,C,H,W\].
    pixels: Tensor,
    /// i64 \[N\].
    labels: Tensor,
}

/// Images as a model takes them.
#[derive(Debug)]
pub struct Batch {
    /// f32 \[n,C,H,W\] in [0,1].
    pub pixels: Tensor,
    /// i64 \[n\].
    pub labels: Tensor,
}

impl Examples {
    /// Reads a split and brings it to the device.
    ///
    /// # Errors
    /// Files that are missing, damaged or not what the spec says; labels outside the classes; no memory.
    pub fn load(spec: &DatasetSpec, places: &Places, device: Device) -> Result<Self, LabError> {
        Self::from_images(&gauntlet_data::load(spec, places)?, spec.classes, device)
    }

    /// Brings images to the device.
    ///
    /// # Errors
    /// Labels outside the classes; another number of pixels or labels than the shape says; no memory.
    pub fn from_images(images: &Images, classes: u32, device: Device) -> Result<Self, LabError> {
        let count = images.labels.len();
        let shape = images.shape;
        let sides = [shape.channels, shape.height, shape.width];
        let per_image: usize = sides.iter().map(|side| *side as usize).product();
        if count == 0 || images.pixels.len() != count * per_image {
            let found = images.pixels.len();
            return Err(LabError::Spec(format!("{found} bytes of pixels came for {count} images of {per_image}")));
        }
        if let Some(index) = images.labels.iter().position(|label| *label >= classes) {
            let label = images.labels[index];
            return Err(LabError::Spec(format!("example {index} has label {label}: there are {classes} classes")));
        }
        let size = [count as i64, sides[0].into(), sides[1].into(), sides[2].into()];
        let pixels = Tensor::f_from_data_size(&images.pixels, &size, Kind::Uint8)?.f_to_device(device)?;
        let labels: Vec<i64> = images.labels.iter().copied().map(i64::from).collect();
        Ok(Self { pixels, labels: Tensor::f_from_slice(&labels)?.f_to_device(device)? })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    /// Never true: a split without examples is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True classes of all examples.
    ///
    /// # Errors
    /// libtorch's.
    pub fn labels(&self) -> Result<Vec<i64>, LabError> {
        Ok(Vec::try_from(&self.labels)?)
    }

    /// Bytes it takes on the device.
    pub fn bytes(&self) -> usize {
        self.pixels.numel() + 8 * self.labels.numel()
    }

    /// The examples of these indices, in this order.
    ///
    /// # Errors
    /// libtorch's.
    pub fn select(&self, indices: &[i64]) -> Result<Batch, LabError> {
        let indices = Tensor::f_from_slice(indices)?.f_to_device(self.pixels.device())?;
        let pixels = to_unit_interval(&self.pixels.f_index_select(0, &indices)?)?;
        Ok(Batch { pixels, labels: self.labels.f_index_select(0, &indices)? })
    }

    /// `count` examples from `first` on.
    ///
    /// # Errors
    /// libtorch's.
    pub fn range(&self, first: usize, count: usize) -> Result<Batch, LabError> {
        let (first, count) = (first as i64, count as i64);
        let pixels = to_unit_interval(&self.pixels.f_narrow(0, first, count)?)?;
        Ok(Batch { pixels, labels: self.labels.f_narrow(0, first, count)? })
    }
}

fn to_unit_interval(bytes: &Tensor) -> tch::Result<Tensor> {
    bytes.f_to_kind(Kind::Float)?.f_div_scalar(255.0)
}
