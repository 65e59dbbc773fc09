//! A split as the device takes it: in its memory, or as image files.

use std::sync::Arc;

use gauntlet_data::{ConstructedImages, ImageFolder, Images, Loader, Places, View, Wanted};
use gauntlet_domain::experiment::{DatasetSource, DatasetSpec, FrequencyBand, ImageShape};
use tch::{Device, Kind, Tensor};

use crate::analyses::frequency::band_pass;
use crate::error::LabError;

/// Fitted images of a folder stay in memory if they take no more than this.
const MEMORY_BUDGET: u64 = 2 << 30;

/// Labelled images of a split.
#[derive(Debug)]
pub struct Examples {
    pixels: Pixels,
    /// i64 \[N\], on the device.
    labels: Tensor,
    /// What is left of the images' frequencies; all if none.
    frequencies: Option<FrequencyBand>,
}

/// Where the pixels are.
#[derive(Debug)]
enum Pixels {
    /// \[N,C,H,W\] on the device: u8, a quarter of what floats would take; or, where another task made them, f32 in [0,1].
    Memory(Tensor),
    /// In files, decoded whenever they are needed.
    Files(Arc<ImageFolder>),
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
    /// Reads a split and brings it to the device; what is too large for memory is left in its files.
    ///
    /// # Errors
    /// Files that are missing, damaged or not what the spec says; labels outside the classes; no memory.
    pub fn load(spec: &DatasetSpec, places: &Places, device: Device) -> Result<Self, LabError> {
        Self::load_within(MEMORY_BUDGET, spec, places, device)
    }

    /// The same with image files left where they are if their images take more than `budget` bytes.
    ///
    /// # Errors
    /// Like [`load`](Self::load).
    pub fn load_within(budget: u64, spec: &DatasetSpec, places: &Places, device: Device) -> Result<Self, LabError> {
        match spec.source {
            DatasetSource::Folder { .. } => {}
            DatasetSource::Constructed { task } => {
                return Self::constructed(&gauntlet_data::load_constructed(spec, task, places)?, spec, device);
            }
            _ => return Self::in_memory(&gauntlet_data::load(spec, places)?, spec, device),
        }
        let folder = ImageFolder::open(spec, places, threads())?;
        if folder.fitted_bytes() <= budget {
            return Self::in_memory(&folder.load(threads())?, spec, device);
        }
        Self::from_folder(folder, spec, device)
    }

    /// A split of image files of which every epoch sees other parts.
    ///
    /// # Errors
    /// Files that are missing or not what the spec says; a data set of another format.
    pub fn originals(spec: &DatasetSpec, places: &Places, device: Device) -> Result<Self, LabError> {
        Self::from_folder(ImageFolder::open(spec, places, threads())?, spec, device)
    }

    fn in_memory(images: &Images, spec: &DatasetSpec, device: Device) -> Result<Self, LabError> {
        Ok(Self { frequencies: spec.frequencies, ..Self::from_images(images, spec.classes, device)? })
    }

    fn constructed(made: &ConstructedImages, spec: &DatasetSpec, device: Device) -> Result<Self, LabError> {
        let size =
            [made.labels.len() as i64, made.shape.channels.into(), made.shape.height.into(), made.shape.width.into()];
        let pixels = Tensor::f_from_slice(&made.pixels)?.f_view(size.as_slice())?.f_to_device(device)?;
        let labels: Vec<i64> = made.labels.iter().copied().map(i64::from).collect();
        let labels = Tensor::f_from_slice(&labels)?.f_to_device(device)?;
        Ok(Self { pixels: Pixels::Memory(pixels), labels, frequencies: spec.frequencies })
    }

    fn from_folder(folder: ImageFolder, spec: &DatasetSpec, device: Device) -> Result<Self, LabError> {
        let labels: Vec<i64> = folder.labels().map(i64::from).collect();
        let labels = Tensor::f_from_slice(&labels)?.f_to_device(device)?;
        Ok(Self { pixels: Pixels::Files(Arc::new(folder)), labels, frequencies: spec.frequencies })
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
        let pixels = bytes(&images.pixels, count, shape)?.f_to_device(device)?;
        let labels: Vec<i64> = images.labels.iter().copied().map(i64::from).collect();
        let labels = Tensor::f_from_slice(&labels)?.f_to_device(device)?;
        Ok(Self { pixels: Pixels::Memory(pixels), labels, frequencies: None })
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
        let pixels = match &self.pixels {
            Pixels::Memory(pixels) => pixels.numel() * pixels.kind().elt_size_in_bytes(),
            Pixels::Files(_) => 0,
        };
        pixels + 8 * self.labels.numel()
    }

    /// The files, where the images are not in memory.
    pub(crate) const fn files(&self) -> Option<&Arc<ImageFolder>> {
        match &self.pixels {
            Pixels::Memory(_) => None,
            Pixels::Files(folder) => Some(folder),
        }
    }

    /// The examples of these indices, in this order.
    ///
    /// # Errors
    /// libtorch's; a file that is damaged or has changed.
    pub fn select(&self, indices: &[i64]) -> Result<Batch, LabError> {
        let on_device = Tensor::f_from_slice(indices)?.f_to_device(self.labels.device())?;
        let labels = self.labels.f_index_select(0, &on_device)?;
        let pixels = match &self.pixels {
            Pixels::Memory(pixels) => self.shown(&pixels.f_index_select(0, &on_device)?)?,
            Pixels::Files(folder) => {
                let mut loader = Loader::new(Arc::clone(folder), threads());
                let wanted = |index: &i64| Wanted { example: *index as usize, view: View::default() };
                loader.ask(&indices.iter().map(wanted).collect::<Vec<Wanted>>())?;
                self.take(&mut loader, folder, indices.len())?
            }
        };
        Ok(Batch { pixels, labels })
    }

    /// `count` examples from `first` on.
    ///
    /// # Errors
    /// libtorch's; a file that is damaged or has changed.
    pub fn range(&self, first: usize, count: usize) -> Result<Batch, LabError> {
        match &self.pixels {
            Pixels::Memory(pixels) => {
                let (first, count) = (first as i64, count as i64);
                let pixels = self.shown(&pixels.f_narrow(0, first, count)?)?;
                Ok(Batch { pixels, labels: self.labels.f_narrow(0, first, count)? })
            }
            Pixels::Files(_) => self.select(&(first as i64..(first + count) as i64).collect::<Vec<i64>>()),
        }
    }

    /// The next batch of a loader, f32 \[n,C,H,W\] in [0,1] on the device.
    pub(crate) fn take(&self, loader: &mut Loader, folder: &ImageFolder, count: usize) -> Result<Tensor, LabError> {
        let pixels = loader.take().ok_or_else(|| LabError::Defect("no batch was asked for".to_owned()))??;
        let pixels = bytes(&pixels, count, folder.shape())?.f_to_device(self.labels.device())?;
        self.shown(&pixels)
    }

    /// Images of the data set as a model takes them, f32 \[n,C,H,W\] in [0,1], from u8 or from such.
    fn shown(&self, images: &Tensor) -> Result<Tensor, LabError> {
        let pixels = match images.kind() {
            Kind::Float => images.shallow_clone(),
            _ => images.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?,
        };
        match self.frequencies {
            None => Ok(pixels),
            Some(band) => band_pass(&pixels, band),
        }
    }

    /// The labels of these examples, i64 \[n\] on the device.
    pub(crate) fn labels_of(&self, indices: &[i64]) -> Result<Tensor, LabError> {
        let indices = Tensor::f_from_slice(indices)?.f_to_device(self.labels.device())?;
        Ok(self.labels.f_index_select(0, &indices)?)
    }
}

/// Threads that decode: as many as libtorch uses for an operation.
pub(crate) fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

/// u8 \[n,C,H,W\].
fn bytes(pixels: &[u8], count: usize, shape: ImageShape) -> tch::Result<Tensor> {
    let size = [count as i64, shape.channels.into(), shape.height.into(), shape.width.into()];
    Tensor::f_from_data_size(pixels, &size, Kind::Uint8)
}
