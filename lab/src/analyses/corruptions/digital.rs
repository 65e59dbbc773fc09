//! What processing does to images.

use super::color;
use super::draws::{Draws, between};
use super::grid::{Grid, Image, reflected};
use super::jpeg;

/// Values nearer to their channel's mean: by this factor.
pub(super) fn contrast(image: &Image, severity: usize) -> Image {
    let factor = [0.4, 0.3, 0.2, 0.1, 0.05][severity];
    let mut grid = image.grid();
    let mut means = vec![0.0; grid.channels];
    grid.for_each_place(|_, values| means.iter_mut().zip(values).for_each(|(mean, value)| *mean += *value));
    let places = (grid.height * grid.width) as f64;
    means.iter_mut().for_each(|mean| *mean /= places);
    grid.for_each_place(|_, values| {
        values.iter_mut().zip(&means).for_each(|(value, mean)| *value = (*value - mean) * factor + mean);
    });
    Image::of(&grid)
}

/// Another saturation: times the first number, plus the second.
pub(super) fn saturate(image: &Image, severity: usize) -> Image {
    let (factor, more) = [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)][severity];
    if image.channels == 1 {
        return image.clone();
    }
    let mut grid = image.grid();
    grid.for_each_place(|_, values| color::saturate(values, factor, more));
    Image::of(&grid)
}

/// Each place shows what was near it, by smooth random displacements: how far on average grows with the image and by this factor.
///
/// The displacements of ImageNet-C are in pixels of images of 244; those of the package, in shares of the size, fit every image.
pub(super) fn elastic_transform(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let factor = [0.05, 0.065, 0.085, 0.1, 0.12][severity] * 250.0;
    let sigmas = [image.height as f64 * 0.01, image.width as f64 * 0.01];
    let bound = image.height as f64 * 0.005;
    let mut displacements = || {
        let raw = Grid::layer(image.height, image.width, || between(draws, -bound, bound));
        raw.gaussian(sigmas, 3.0, reflected).map(|value| f64::from((value * factor) as f32))
    };
    let right = displacements();
    let down = displacements();
    let grid = image.grid().map(|value| f64::from(value as f32));
    let moved = grid.refilled(|row, column, channel| {
        let y = row as f64 + down.at(row, column, 0);
        let x = column as f64 + right.at(row, column, 0);
        interpolated(&grid, y, x, channel)
    });
    Image::of_singles(&moved)
}

/// The value between places, linearly.
fn interpolated(grid: &Grid, y: f64, x: f64, channel: usize) -> f64 {
    let (row, column) = (y.floor() as i64, x.floor() as i64);
    let (below, beyond) = (y - row as f64, x - column as f64);
    let value = |row: i64, column: i64| grid.at(reflected(row, grid.height), reflected(column, grid.width), channel);
    let between = |row: i64| value(row, column) * (1.0 - beyond) + value(row, column + 1) * beyond;
    between(row) * (1.0 - below) + between(row + 1) * below
}

/// Fewer and larger pixels: this share along each side, at least one.
pub(super) fn pixelate(image: &Image, severity: usize) -> Image {
    let share = [0.6, 0.5, 0.4, 0.3, 0.25][severity];
    let [rows, columns] = [image.height, image.width].map(|length| ((length as f64 * share) as usize).max(1));
    let narrow = averaged(image, columns);
    let small = transposed(&averaged(&transposed(&narrow), rows));
    let (above, before) = (nearest(image.height, rows), nearest(image.width, columns));
    let mut bytes = Vec::with_capacity(image.bytes.len());
    for row in &above {
        for column in &before {
            let place = row * columns + column;
            bytes.extend_from_slice(&small.bytes[place * image.channels..][..image.channels]);
        }
    }
    image.with(bytes)
}

/// Which of `kept` places each of `length` shows. Adding up decides of two that are as near, as it does in Pillow.
fn nearest(length: usize, kept: usize) -> Vec<usize> {
    let step = kept as f64 / length as f64;
    let places = std::iter::successors(Some(step * 0.5), |place| Some(place + step)).take(length);
    places.map(|place| (place as usize).min(kept - 1)).collect()
}

/// The image in so many columns, each the mean of those whose middle is in it: Pillow's box filter, weights in 2⁻²² as there.
fn averaged(image: &Image, columns: usize) -> Image {
    const ONE: f64 = 4_194_304.0;
    let scale = image.width as f64 / columns as f64;
    let mut bytes = Vec::with_capacity(image.height * columns * image.channels);
    for row in image.bytes.chunks_exact(image.width * image.channels) {
        for column in 0..columns {
            let center = (column as f64 + 0.5) * scale;
            let within = |place: &usize| {
                let distance = (*place as f64 - center + 0.5) / scale;
                -0.5 < distance && distance <= 0.5
            };
            let first = (center - scale / 2.0).floor().max(0.0) as usize;
            let last = ((center + scale / 2.0).ceil() as usize).min(image.width);
            let places: Vec<usize> = (first..last).filter(within).collect();
            let weight = (ONE / places.len().max(1) as f64 + 0.5) as u64;
            for channel in 0..image.channels {
                let sum: u64 = places.iter().map(|place| u64::from(row[place * image.channels + channel])).sum();
                bytes.push(((sum * weight + ONE as u64 / 2) >> 22).min(255) as u8);
            }
        }
    }
    Image { width: columns, bytes, ..*image }
}

fn transposed(image: &Image) -> Image {
    let mut bytes = Vec::with_capacity(image.bytes.len());
    for column in 0..image.width {
        for row in 0..image.height {
            bytes.extend_from_slice(&image.bytes[(row * image.width + column) * image.channels..][..image.channels]);
        }
    }
    Image { height: image.width, width: image.height, channels: image.channels, bytes }
}

/// JPEG of this quality.
pub(super) fn jpeg_compression(image: &Image, severity: usize) -> Image {
    jpeg::compressed(image, [25, 18, 15, 10, 7][severity])
}
