//! Splits of data sets as a spec wants them.

use std::path::Path;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{CifarVariant, DatasetSource, DatasetSpec, IdxVariant, ImageShape};

use crate::cifar;
use crate::error::{DataError, InFile};
use crate::file::{Places, read_verified};
use crate::fit;
use crate::folder::ImageFolder;
use crate::glyphs;
use crate::idx::{IdxFile, IdxKind};
use crate::labelled_tensors::LabelledTensors;
use crate::parallel;
use crate::subset::{choose, gather};

/// Labelled images of one split, as a spec wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// \[N,C,H,W\], row by row; 0 is black and 255 is 1.0 in pixel space.
    pub pixels: Vec<u8>,
    /// \[N\]; each below the spec's number of classes.
    pub labels: Vec<u32>,
    /// C, H and W.
    pub shape: ImageShape,
}

impl Images {
    /// Their number.
    pub fn examples(&self) -> usize {
        self.labels.len()
    }
}

/// Why a data set is not what the spec wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatasetProblem {
    /// A tensor is not there.
    #[error("has no tensor `{tensor}`; it holds {present}")]
    MissingTensor {
        /// The tensor.
        tensor: &'static str,
        /// What is there, for people.
        present: String,
    },
    /// A tensor of another type.
    #[error("`{tensor}` has type {found}, expected {expected}")]
    ElementType {
        /// The tensor.
        tensor: &'static str,
        /// What it has, by the format's name.
        found: String,
        /// What it should have.
        expected: &'static str,
    },
    /// A tensor of another shape.
    #[error("`{tensor}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// What it has.
        found: Vec<u64>,
        /// What it should have.
        expected: &'static str,
    },
    /// Not one label to each image.
    #[error("holds {labels} labels for {images} images")]
    Unpaired {
        /// Number of images.
        images: u64,
        /// Number of labels.
        labels: u64,
    },
    /// A label that is no class at all.
    #[error("label {found} at index {index}: labels are 0, 1, 2, …")]
    NotALabel {
        /// Of the example.
        index: usize,
        /// What is there.
        found: i64,
    },
    /// A label before the first one.
    #[error("label {found} at index {index}: labels start at {first}")]
    LabelTooSmall {
        /// Of the example.
        index: usize,
        /// What is there.
        found: u32,
        /// The label of the first class.
        first: u32,
    },
    /// A label that is none of the spec's classes.
    #[error("label {found} at index {index}, with {classes} classes: expected 0 to {}", classes.saturating_sub(1))]
    LabelOutOfRange {
        /// Of the example.
        index: usize,
        /// What is there.
        found: u32,
        /// Number of classes.
        classes: u32,
    },
    /// A value that is no pixel.
    #[error("image {example} holds {found}: pixels are 0 to 1")]
    NotAPixel {
        /// The image.
        example: usize,
        /// What is there.
        found: String,
    },
    /// A split of fewer examples than the spec wants.
    #[error("holds {found} examples, and {expected} are wanted")]
    TooFew {
        /// Number of examples.
        found: u32,
        /// Number the spec wants.
        expected: u32,
    },
    /// RGB where grey is wanted: no way leads back from one channel to three.
    #[error("its images have {found} channels, and {expected} are wanted")]
    Channels {
        /// What they have.
        found: u32,
        /// What the spec wants.
        expected: u32,
    },
    /// A way to fit that is for image files.
    #[error("`crop` brings image files to their size, and this is none")]
    CropOfTensors,
    /// Images that no border brings to the wanted size.
    #[error(
        "its images of {height}×{width} do not fit into {wanted_height}×{wanted_width}: `pad` only enlarges; `resize` also shrinks"
    )]
    TooLargeToPad {
        /// Rows they have.
        height: u32,
        /// Columns they have.
        width: u32,
        /// Rows the spec wants.
        wanted_height: u32,
        /// Columns the spec wants.
        wanted_width: u32,
    },
}

/// The first examples of a split as they lie in its file.
pub(crate) struct RawImages {
    /// u8 \[N,C,H,W\].
    pub(crate) pixels: Vec<u8>,
    /// \[N\].
    pub(crate) labels: Vec<u32>,
    /// C, H and W.
    pub(crate) shape: ImageShape,
}

/// The first examples of a split, as the spec wants them: in number, channels, size and labels.
///
/// Glyphs are drawn in the spec's shape; its `fit` says nothing about them.
///
/// # Errors
/// A file that is missing, is not the one the spec names by its digest, is malformed, or does not hold what the spec wants.
pub fn load(spec: &DatasetSpec, places: &Places) -> Result<Images, DataError> {
    match &spec.source {
        DatasetSource::Idx { images, labels, variant } => load_idx(spec, places, (images, labels), *variant),
        DatasetSource::Cifar { files, variant } => load_cifar(spec, places, files, *variant),
        DatasetSource::Folder { .. } => {
            let threads = parallel::cores();
            ImageFolder::open(spec, places, threads)?.load(threads)
        }
        DatasetSource::SafeTensors { file } => load_tensors(spec, places, file),
        DatasetSource::Glyphs(options) => {
            let letters = glyphs::letters(spec)?;
            glyphs::draw_chosen(options, spec.image, &letters, &places.data_dir)
        }
        DatasetSource::Constructed { task } => Err(DataError::BetweenLevels { task: *task }),
    }
}

fn load_idx(
    spec: &DatasetSpec,
    places: &Places,
    (images, labels): (&Digest, &Digest),
    variant: IdxVariant,
) -> Result<Images, DataError> {
    let (images_path, labels_path) = (places.path(images)?, places.path(labels)?);
    let (image_bytes, label_bytes) = (read_verified(images_path, images)?, read_verified(labels_path, labels)?);

    let image_file = IdxFile::open(&image_bytes, IdxKind::Images).in_file(images_path)?;
    let [count, height, width] = [0, 1, 2].map(|axis| image_file.axes.0[axis]);
    enough(count, spec.examples).in_file(images_path)?;
    let needed = if spec.subset.is_all() { spec.examples } else { count };
    let image_bytes = height as usize * width as usize;
    let mut pixels = Vec::new();
    let needed_bytes = u64::from(needed) * u64::from(height) * u64::from(width);
    image_file.read(|chunk| keep(&mut pixels, chunk, needed_bytes)).in_file(images_path)?;

    let label_file = IdxFile::open(&label_bytes, IdxKind::Labels).in_file(labels_path)?;
    paired(count.into(), label_file.axes.0[0].into()).in_file(labels_path)?;
    let mut kept = Vec::new();
    label_file.read(|chunk| keep(&mut kept, chunk, needed.into())).in_file(labels_path)?;

    let first = variant.first_label();
    let class = |(index, found): (usize, u8)| {
        let found = u32::from(found);
        found.checked_sub(first).ok_or(DatasetProblem::LabelTooSmall { index, found, first })
    };
    let labels: Result<Vec<u32>, DatasetProblem> = kept.into_iter().enumerate().map(class).collect();
    let labels = labels.in_file(labels_path)?;
    let chosen = choose(labels, spec).in_file(labels_path)?;
    let (pixels, labels) = gather(pixels, image_bytes, &chosen);
    let shape = ImageShape { channels: 1, height, width };
    let (pixels, shape) = if variant.is_mnist() {
        (pixels, shape)
    } else {
        (transposed(&pixels, shape), ImageShape { height: width, width: height, ..shape })
    };
    fitted(RawImages { pixels, labels, shape }, spec, images_path)
}

/// Images with rows and columns exchanged.
fn transposed(pixels: &[u8], shape: ImageShape) -> Vec<u8> {
    let (height, width) = (shape.height as usize, shape.width as usize);
    let mut turned = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact((height * width).max(1)) {
        turned.extend((0..width).flat_map(|column| (0..height).map(move |row| image[row * width + column])));
    }
    turned
}

fn load_cifar(
    spec: &DatasetSpec,
    places: &Places,
    files: &[Digest],
    variant: CifarVariant,
) -> Result<Images, DataError> {
    let mut contents = Vec::new();
    let mut path = Path::new("");
    for file in files {
        path = places.path(file)?;
        contents.push((path, read_verified(path, file)?));
    }
    let mut records = Vec::new();
    for (path, bytes) in &contents {
        records.extend(cifar::records(bytes, variant).in_file(path)?);
    }
    let chosen = choose(records.iter().map(|(label, _)| *label), spec).in_file(path)?;
    let pixels = chosen.iter().flat_map(|example| records[example.index].1).copied().collect();
    let labels = chosen.iter().map(|example| example.label).collect();
    fitted(RawImages { pixels, labels, shape: cifar::SHAPE }, spec, path)
}

fn load_tensors(spec: &DatasetSpec, places: &Places, file: &Digest) -> Result<Images, DataError> {
    let path = places.path(file)?;
    let bytes = read_verified(path, file)?;
    let tensors = LabelledTensors::read(&bytes, path)?;
    let chosen = choose(tensors.labels().iter().copied(), spec).in_file(path)?;
    fitted(tensors.chosen(&chosen), spec, path)
}

fn fitted(raw: RawImages, spec: &DatasetSpec, path: &Path) -> Result<Images, DataError> {
    let wanted = spec.image;
    if raw.shape.channels != wanted.channels && raw.shape.channels != 1 {
        let problem = DatasetProblem::Channels { found: raw.shape.channels, expected: wanted.channels };
        return Err(problem).in_file(path);
    }
    let pixels = fit::fit(raw.pixels, raw.shape, wanted, spec.fit, path)?;
    Ok(Images { pixels, labels: raw.labels, shape: wanted })
}

/// Appends what still lacks of the first `limit` bytes.
fn keep(kept: &mut Vec<u8>, chunk: &[u8], limit: u64) {
    let lacking = usize::try_from(limit - kept.len() as u64).unwrap_or(usize::MAX);
    kept.extend_from_slice(&chunk[..lacking.min(chunk.len())]);
}

fn enough(found: u32, expected: u32) -> Result<(), DatasetProblem> {
    if found < expected { Err(DatasetProblem::TooFew { found, expected }) } else { Ok(()) }
}

/// Whether there is one label to each image.
pub(crate) fn paired(images: u64, labels: u64) -> Result<(), DatasetProblem> {
    if images == labels { Ok(()) } else { Err(DatasetProblem::Unpaired { images, labels }) }
}

/// A black buffer of so many bytes.
pub(crate) fn black(examples: usize, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let sides = [shape.channels, shape.height, shape.width].map(|side| side as usize);
    let bytes = sides.into_iter().try_fold(examples, usize::checked_mul);
    let out_of_memory = || DataError::OutOfMemory { bytes: bytes.map_or(u64::MAX, |bytes| bytes as u64) };
    let length = bytes.ok_or_else(out_of_memory)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(length).map_err(|_| out_of_memory())?;
    pixels.resize(length, 0);
    Ok(pixels)
}
