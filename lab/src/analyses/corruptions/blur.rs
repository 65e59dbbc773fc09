//! Blurs.

use super::draws::{Draws, between, whole_between};
use super::grid::{Grid, Image, gaussian_weights, mirrored};

/// Convolution with a Gaussian; standard deviations in pixels by severity.
pub(super) fn gaussian_blur(image: &Image, severity: usize) -> Image {
    Image::of(&image.grid().blurred([1.0, 2.0, 3.0, 4.0, 6.0][severity]))
}

/// A disk: its radius in pixels, and how far its edge is softened.
pub(super) fn defocus_blur(image: &Image, severity: usize) -> Image {
    let (radius, softening) = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity];
    let disk = disk(radius, softening);
    Image::of(&image.grid().correlated(&disk.values, disk.width, mirrored))
}

fn disk(radius: i64, softening: f64) -> Grid {
    let (reach, soft) = if radius <= 8 { (8, 1) } else { (radius, 2) };
    let side = 2 * reach as usize + 1;
    let within = |x: i64, y: i64| f64::from(x * x + y * y <= radius * radius);
    let values: Vec<f64> = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| within(x, y))).collect();
    let area: f64 = values.iter().sum();
    let disk = Grid { height: side, width: side, channels: 1, values };
    let weights = gaussian_weights(soft, softening);
    disk.map(|value| value / area).separable([&weights, &weights], mirrored)
}

/// Pixels take the place of others near them, between two blurs.
///
/// The paper swaps pixels. Its code, and the package's, write one over the other in colour images; what people compare with has come from that, and so
/// it is done here.
pub(super) fn glass_blur(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let (sigma, reach, times) = [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)][severity];
    let mut blurred = Image::of(&image.grid().blurred(sigma));
    let (height, width, channels) = (image.height as i64, image.width as i64, image.channels);
    for _ in 0..times {
        for row in (reach + 1..=height - reach).rev() {
            for column in (reach + 1..=width - reach).rev() {
                let dx = whole_between(draws, -reach, reach);
                let dy = whole_between(draws, -reach, reach);
                let from = ((row + dy) * width + column + dx) as usize * channels;
                let to = (row * width + column) as usize * channels;
                blurred.bytes.copy_within(from..from + channels, to);
            }
        }
    }
    Image::of(&blurred.grid().blurred(sigma))
}

/// The blur of a motion in a random direction within 45° of the horizontal.
pub(super) fn motion_blur(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let (radius, sigma) = [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)][severity];
    let degrees = between(draws, -45.0, 45.0);
    let values = image.bytes.iter().map(|byte| f64::from(*byte)).collect();
    let blurred = Grid { values, ..image.grid() }.in_motion(radius, sigma, degrees);
    image.with(blurred.values.into_iter().map(|value| value as u8).collect())
}

/// The mean of the image and of enlargements of its middle: up to which factor, and in which steps.
pub(super) fn zoom_blur(image: &Image, severity: usize) -> Image {
    let (end, step): (f64, f64) = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)][severity];
    // As numpy.arange counts and adds: with it, the first range ends at 1.11.
    let count = ((end - 1.0) / step).ceil() as usize;
    let step = (1.0 + step) - 1.0;
    let grid = image.grid();
    let mut sum = grid.clone();
    for number in 0..count {
        let zoomed = grid.zoomed(1.0 + number as f64 * step);
        let (rows, columns) = (zoomed.height.min(grid.height), zoomed.width.min(grid.width));
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for channel in 0..grid.channels {
                sum.values[(row * grid.width + column) * grid.channels + channel] += zoomed.at(row, column, channel);
            }
        }
    }
    Image::of_singles(&sum.map(|value| value / (count as f64 + 1.0)))
}
