//! Images split by frequency, what a model makes of the parts, and the spectrum of perturbations.
//!
//! A frequency is a pair of whole numbers of cycles along the height and the width of the image; its distance from zero is Euclidean, in those cycles
//! (bins of the two-dimensional DFT), also where an image is not square. It belongs to the low frequencies of radius r if that distance is at most r, so
//! that radius 0 keeps the mean alone: the disc around the centre of the shifted spectrum. The study (arXiv 2106.10989) splits at r = 16 and leaves the
//! shape of its mask open.

use gauntlet_domain::experiment::FrequencyBand;
pub use gauntlet_domain::experiment::Pass;
use tch::{Kind, Tensor};

use super::shown::Shown;
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::Model;
use crate::training::Wish;

/// What a high-passed image is shown around: the middle of the range of pixels.
const MIDDLE: f64 = 0.5;

/// The dimensions of height and width.
const PLANE: [i64; 2] = [-2, -1];

/// How many images a model gets right of which it sees a part of the frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassAccuracy {
    /// The part.
    pub pass: Pass,
    /// Where it ends or begins, in cycles per image.
    pub radius: f64,
    /// Examples shown.
    pub examples: u64,
    /// Of these, those with the right prediction.
    pub correct: u64,
}

/// The frequencies of about one distance from zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    /// The distance, rounded to the nearest whole number of cycles per image.
    pub radius: u32,
    /// How many frequencies have it.
    pub frequencies: u32,
    /// Mean squared magnitude of the unitary DFT over these frequencies, the images and their channels.
    pub power: f64,
}

/// The part of images, f32 \[n,C,H,W\] in \[0,1\], whose frequencies are at most `radius` from zero, clipped to \[0,1\].
///
/// # Errors
/// A radius below zero or not finite; a tensor of another shape; no memory.
pub fn low_pass(pixels: &Tensor, radius: f64) -> Result<Tensor, LabError> {
    shown(&low_part(pixels, radius)?)
}

/// The rest of images, f32 \[n,C,H,W\] in \[0,1\], around 0.5 and clipped to \[0,1\].
///
/// The rest has mean zero, and half of it would be lost in clipping. It is not the image's mean that is added again: that is a low frequency, by which
/// a model could still go. 0.5 tells nothing, clips least, and is what the study's normalisation maps to zero.
///
/// # Errors
/// As [`low_pass`].
pub fn high_pass(pixels: &Tensor, radius: f64) -> Result<Tensor, LabError> {
    let rest = pixels.f_to_kind(Kind::Double)?.f_sub(&low_part(pixels, radius)?)?;
    shown(&rest.f_add_scalar(MIDDLE)?)
}

/// The frequencies of a band of images, f32 \[n,C,H,W\] in \[0,1\]: [`low_pass`] or [`high_pass`].
///
/// # Errors
/// As [`low_pass`].
pub fn band_pass(pixels: &Tensor, band: FrequencyBand) -> Result<Tensor, LabError> {
    match band.keep {
        Pass::Low => low_pass(pixels, band.radius),
        Pass::High => high_pass(pixels, band.radius),
    }
}

/// Pixels as a model may see them.
fn shown(pixels: &Tensor) -> Result<Tensor, LabError> {
    Ok(pixels.f_clamp(0.0, 1.0)?.f_to_kind(Kind::Float)?)
}

/// The low frequencies, f64 \[n,C,H,W\], not clipped.
fn low_part(pixels: &Tensor, radius: f64) -> Result<Tensor, LabError> {
    if !(radius >= 0.0 && radius.is_finite()) {
        return Err(LabError::Spec(format!("the radius of frequencies must be zero or above, found {radius}")));
    }
    let size = plane(pixels)?;
    let kept: Vec<f64> = distances(size).into_iter().map(|distance| f64::from(distance <= radius)).collect();
    let kept = Tensor::f_from_slice(&kept)?.f_view(size)?.f_to_device(pixels.device())?;
    let spectrum = pixels.f_to_kind(Kind::Double)?.f_fft_fft2(None::<i64>, PLANE, "backward")?;
    Ok(spectrum.f_mul(&kept)?.f_fft_ifft2(None::<i64>, PLANE, "backward")?.f_real()?)
}

/// Height and width of images.
pub(super) fn plane(images: &Tensor) -> Result<[i64; 2], LabError> {
    match *images.size() {
        [_, _, height, width] if images.numel() > 0 => Ok([height, width]),
        ref size => Err(LabError::Spec(format!("images must have four dimensions, found {size:?}"))),
    }
}

/// The frequencies of the DFT of so many values, in its order: 0, 1, … and the negative ones; −n/2 where n is even.
pub(super) fn frequencies(length: i64) -> impl Iterator<Item = i64> + Clone {
    let half = length / 2;
    (0..length).map(move |index| (index + half) % length - half)
}

/// Distance from zero of each frequency, in the order of the DFT, row by row.
fn distances([height, width]: [i64; 2]) -> Vec<f64> {
    let row = |vertical: i64| frequencies(width).map(move |horizontal| (vertical as f64).hypot(horizontal as f64));
    frequencies(height).flat_map(row).collect()
}

/// How many examples a model gets right at each radius, from their low frequencies and from their high ones: two entries for each radius, low first.
///
/// `go_on` hears how many of how many images the model has been shown, each example counted twice for each radius; [`Wish::Stop`] ends it.
///
/// # Errors
/// A radius below zero or not finite; a model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn accuracy_by_radius(
    model: &Model,
    examples: &Examples,
    radii: &[f64],
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<PassAccuracy>, LabError> {
    let _guard = tch::no_grad_guard();
    let (count, step) = (examples.len(), batch_size.max(1));
    let none = |pass, radius| PassAccuracy { pass, radius, examples: count as u64, correct: 0 };
    let both = |radius: &f64| [none(Pass::Low, *radius), none(Pass::High, *radius)];
    let mut found: Vec<PassAccuracy> = radii.iter().flat_map(both).collect();
    let mut model = Shown::new(model, (count * found.len()) as u64, go_on);
    for first in (0..count).step_by(step) {
        let Batch { pixels, labels } = examples.range(first, step.min(count - first))?;
        for part in &mut found {
            let pixels = band_pass(&pixels, FrequencyBand { keep: part.pass, radius: part.radius })?;
            part.correct += model.right(&pixels, &labels, first)?;
        }
    }
    Ok(found)
}

/// Mean squared magnitude of the spectrum of perturbations, float \[n,C,H,W\], at each distance from zero, nearest first. The DFT is unitary: power times
/// frequencies, summed, is the mean squared L2 norm of a channel of a perturbation.
///
/// # Errors
/// A tensor of another shape, or without values; values that are not finite; no memory.
pub fn spectrum(perturbations: &Tensor) -> Result<Vec<Ring>, LabError> {
    let size = plane(perturbations)?;
    let transformed = perturbations.f_to_kind(Kind::Double)?.f_fft_fft2(None::<i64>, PLANE, "ortho")?;
    let powers = transformed.f_abs()?.f_square()?.f_mean_dim([0i64, 1].as_slice(), false, Kind::Double)?;
    let powers: Vec<f64> = Vec::try_from(powers.f_flatten(0, -1)?)?;
    if powers.iter().any(|power| !power.is_finite()) {
        return Err(LabError::Spec("perturbations hold values that are not finite".to_owned()));
    }
    let mut rings: Vec<(u32, f64)> = Vec::new();
    for (distance, power) in distances(size).into_iter().zip(powers) {
        let radius = distance.round() as usize;
        rings.resize(rings.len().max(radius + 1), (0, 0.0));
        rings[radius] = (rings[radius].0 + 1, rings[radius].1 + power);
    }
    let ring = |(radius, (frequencies, sum)): (usize, (u32, f64))| Ring {
        radius: radius as u32,
        frequencies,
        power: sum / f64::from(frequencies),
    };
    Ok(rings.into_iter().enumerate().filter(|(_, (frequencies, _))| *frequencies > 0).map(ring).collect())
}
