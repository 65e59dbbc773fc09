//! Noise.

use super::draws::{Draws, poisson};
use super::grid::Image;

/// Normal noise; standard deviations by severity.
pub(super) fn gaussian_noise(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let scale = [0.08, 0.12, 0.18, 0.26, 0.38][severity];
    Image::of(&image.grid().map(|value| value + scale * draws.normal()))
}

/// Photons that are counted: so many for the brightest value.
pub(super) fn shot_noise(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let photons = [60.0, 25.0, 12.0, 5.0, 3.0][severity];
    Image::of(&image.grid().map(|value| poisson(draws, value * photons) / photons))
}

/// A share of the values, each channel's on its own, becomes white or black.
pub(super) fn impulse_noise(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let share = [0.03, 0.06, 0.09, 0.17, 0.27][severity];
    let replaced: Vec<bool> = image.bytes.iter().map(|_| draws.unit() <= share).collect();
    let white: Vec<bool> = image.bytes.iter().map(|_| draws.unit() <= 0.5).collect();
    let value = |((byte, replaced), white): ((&u8, bool), bool)| match (replaced, white) {
        (false, _) => *byte,
        (true, true) => u8::MAX,
        (true, false) => 0,
    };
    image.with(image.bytes.iter().zip(replaced).zip(white).map(value).collect())
}

/// Normal noise in proportion to the value; standard deviations by severity.
pub(super) fn speckle_noise(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let scale = [0.15, 0.2, 0.35, 0.45, 0.6][severity];
    Image::of(&image.grid().map(|value| value + value * scale * draws.normal()))
}
