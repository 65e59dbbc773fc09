//! The common corruptions of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261), for images of any size.
//!
//! What each does and how much of it a severity means is as in version 1.1.2 of the Python package `imagecorruptions`, the one that is used for images
//! of other sizes than ImageNet's, with what it has of its own: values are cut off to bytes after corrupting, as everywhere in ImageNet-C; the shift of
//! a motion blur ends at the image's size; glass blur copies pixels instead of swapping them. [`corrupt`] keeps to it also where a paper would say
//! otherwise, because numbers are compared with numbers that came from it. Differences are these:
//!
//! * `frost` is computed, where the package takes photographs: it looks alike, and its numbers are not those of another implementation;
//! * images may be smaller than 32 pixels, and those of one channel stay so: noise is the same in what would be three channels, colours are their luma,
//!   and `saturate` leaves such an image as it is;
//! * `spatter` without a drop leaves the image as it is, where the package divides by zero;
//! * random numbers have names (seed, example, corruption), so that neither batches nor other corruptions change them. The severities of a corruption
//!   share them.

mod blur;
mod color;
mod digital;
mod draws;
mod edges;
mod grid;
mod jpeg;
mod noise;
mod spatter;
mod weather;

use gauntlet_domain::experiment::Corruption;
use tch::{Kind, Tensor};

use super::frequency::plane;
use super::shown::Shown;
use crate::error::LabError;
use crate::examples::{Batch, Examples, threads};
use crate::models::Model;
use crate::random::{Purpose, Stream};
use crate::training::Wish;

pub use draws::Draws;
pub use grid::Image;

/// How many images a model gets right of which it sees a corruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptedAccuracy {
    /// What was done to them, and how severely; none to the images as they are.
    pub corruption: Option<(Corruption, u32)>,
    /// Examples shown.
    pub examples: u64,
    /// Of these, those with the right prediction.
    pub correct: u64,
}

impl CorruptedAccuracy {
    /// The share of right predictions, in \[0,1\].
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.examples.max(1) as f64
    }
}

/// A byte image, corrupted. A severity outside 1 to [`Corruption::MOST_SEVERE`] is taken for the nearest one.
///
/// # Panics
/// An image without pixels, with another number of channels than 1 or 3, or with another number of bytes than its sides say.
pub fn corrupt_image(image: &Image, corruption: Corruption, severity: u32, draws: &mut dyn Draws) -> Image {
    let severity = severity.clamp(1, Corruption::MOST_SEVERE) as usize - 1;
    match corruption {
        Corruption::GaussianNoise => noise::gaussian_noise(image, severity, draws),
        Corruption::ShotNoise => noise::shot_noise(image, severity, draws),
        Corruption::ImpulseNoise => noise::impulse_noise(image, severity, draws),
        Corruption::SpeckleNoise => noise::speckle_noise(image, severity, draws),
        Corruption::DefocusBlur => blur::defocus_blur(image, severity),
        Corruption::GlassBlur => blur::glass_blur(image, severity, draws),
        Corruption::MotionBlur => blur::motion_blur(image, severity, draws),
        Corruption::ZoomBlur => blur::zoom_blur(image, severity),
        Corruption::GaussianBlur => blur::gaussian_blur(image, severity),
        Corruption::Snow => weather::snow(image, severity, draws),
        Corruption::Frost => weather::frost(image, severity, draws),
        Corruption::Fog => weather::fog(image, severity, draws),
        Corruption::Brightness => weather::brightness(image, severity),
        Corruption::Spatter => spatter::spatter(image, severity, draws),
        Corruption::Contrast => digital::contrast(image, severity),
        Corruption::ElasticTransform => digital::elastic_transform(image, severity, draws),
        Corruption::Pixelate => digital::pixelate(image, severity),
        Corruption::JpegCompression => digital::jpeg_compression(image, severity),
        Corruption::Saturate => digital::saturate(image, severity),
    }
}

/// Images, f32 \[n,C,H,W\] in \[0,1\], corrupted: multiples of 1/255 in \[0,1\], of the same shape and on the same device. What comes in is rounded to
/// bytes. `first` is the index in the split of the first image, by which with the seed its random numbers are named.
///
/// # Errors
/// Another number of channels than 1 or 3; no images; a tensor of another shape; a severity that there is not; no memory.
pub fn corrupt(
    pixels: &Tensor,
    corruption: Corruption,
    severity: u32,
    seed: u64,
    first: usize,
) -> Result<Tensor, LabError> {
    if !(1..=Corruption::MOST_SEVERE).contains(&severity) {
        return Err(LabError::Spec(format!("a severity is 1 to {}, found {severity}", Corruption::MOST_SEVERE)));
    }
    let images = to_images(pixels)?;
    let corrupted = |(index, image): (usize, &Image)| {
        let purpose = Purpose::Corruption { example: (first + index) as u64, name: corruption.name() };
        corrupt_image(image, corruption, severity, &mut Stream::new(seed, purpose))
    };
    let share = images.len().div_ceil(threads());
    let parts: Vec<Vec<Image>> = std::thread::scope(|scope| {
        let part = |(number, part): (usize, &'_ [Image])| {
            let numbered = (number * share..).zip(part).map(corrupted);
            numbered.collect()
        };
        let parts: Vec<_> = images.chunks(share).enumerate().collect();
        let running: Vec<_> = parts.into_iter().map(|numbered| scope.spawn(move || part(numbered))).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let bytes: Vec<u8> = parts.into_iter().flatten().flat_map(|image| image.bytes).collect();
    from_bytes(&bytes, pixels)
}

/// Images of bytes, channels last.
fn to_images(pixels: &Tensor) -> Result<Vec<Image>, LabError> {
    let [height, width] = plane(pixels)?.map(|side| side as usize);
    let channels = pixels.size()[1] as usize;
    if ![1, 3].contains(&channels) {
        return Err(LabError::Spec(format!("images must have 1 or 3 channels to be corrupted, found {channels}")));
    }
    let bytes = pixels.f_to_kind(Kind::Double)?.f_mul_scalar(255.0)?.f_round()?.f_clamp(0.0, 255.0)?;
    let bytes = bytes.f_to_kind(Kind::Uint8)?.f_permute([0, 2, 3, 1])?.f_to_device(tch::Device::Cpu)?;
    let bytes: Vec<u8> = Vec::try_from(bytes.f_flatten(0, -1)?)?;
    let image = |bytes: &[u8]| Image { height, width, channels, bytes: bytes.to_vec() };
    Ok(bytes.chunks_exact(height * width * channels).map(image).collect())
}

/// The same as a tensor like this one.
fn from_bytes(bytes: &[u8], like: &Tensor) -> Result<Tensor, LabError> {
    let size = like.size();
    let bytes = Tensor::f_from_slice(bytes)?.f_view([size[0], size[2], size[3], size[1]])?;
    let values = bytes.f_permute([0, 3, 1, 2])?.f_contiguous()?;
    Ok(values.f_to_device(like.device())?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?)
}

/// How many examples a model gets right as they are, then with each corruption at each severity, corruption by corruption.
///
/// `go_on` hears how many of how many images the model has been shown, each example counted once for each entry; [`Wish::Stop`] ends it.
///
/// # Errors
/// As [`corrupt`]; a model whose output is not finite; images that do not fit it; [`LabError::Interrupted`].
pub fn accuracy_by_corruption(
    model: &Model,
    examples: &Examples,
    asked: &[(Corruption, u32)],
    seed: u64,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<CorruptedAccuracy>, LabError> {
    let _guard = tch::no_grad_guard();
    let (count, step) = (examples.len(), batch_size.max(1));
    let none = |corruption| CorruptedAccuracy { corruption, examples: count as u64, correct: 0 };
    let mut found: Vec<CorruptedAccuracy> =
        std::iter::once(None).chain(asked.iter().copied().map(Some)).map(none).collect();
    let mut model = Shown::new(model, (count * found.len()) as u64, go_on);
    for first in (0..count).step_by(step) {
        let Batch { pixels, labels } = examples.range(first, step.min(count - first))?;
        for part in &mut found {
            let pixels = match part.corruption {
                Some((corruption, severity)) => corrupt(&pixels, corruption, severity, seed, first)?,
                None => pixels.shallow_clone(),
            };
            part.correct += model.right(&pixels, &labels, first)?;
        }
    }
    Ok(found)
}
