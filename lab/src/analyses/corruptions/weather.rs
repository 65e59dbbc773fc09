//! Snow, frost, fog and light.

use super::color;
use super::draws::{Draws, between};
use super::grid::{Grid, Image};

/// Tint of ice: bluish.
const ICE: [f64; 3] = [0.9, 1.02, 1.08];

/// Flakes that fall in front of a paler image.
pub(super) fn snow(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let flakes = [
        Flakes { mean: 0.1, deviation: 0.3, size: 3.0, least: 0.5, radius: 10, sigma: 4.0, image: 0.8 },
        Flakes { mean: 0.2, deviation: 0.3, size: 2.0, least: 0.5, radius: 12, sigma: 4.0, image: 0.7 },
        Flakes { mean: 0.55, deviation: 0.3, size: 4.0, least: 0.9, radius: 12, sigma: 8.0, image: 0.7 },
        Flakes { mean: 0.55, deviation: 0.3, size: 4.5, least: 0.85, radius: 12, sigma: 8.0, image: 0.65 },
        Flakes { mean: 0.55, deviation: 0.3, size: 2.5, least: 0.85, radius: 12, sigma: 12.0, image: 0.55 },
    ];
    let flakes = &flakes[severity];
    let layer = flakes.fallen(image, draws);
    let (height, width) = (image.height, image.width);
    let mut grid = image.grid();
    grid.for_each_place(|place, values| {
        let (row, column) = (place / width, place % width);
        let snow = layer.at(row, column, 0) + layer.at(height - 1 - row, width - 1 - column, 0);
        let white = color::luma(values) * 1.5 + 0.5;
        for value in values {
            *value = flakes.image * *value + (1.0 - flakes.image) * value.max(white) + snow;
        }
    });
    Image::of(&grid)
}

/// How it snows.
struct Flakes {
    /// Mean and standard deviation of the noise from which flakes come.
    mean: f64,
    deviation: f64,
    /// How often it is enlarged.
    size: f64,
    /// Less than this is no flake.
    least: f64,
    /// How far they fall.
    radius: usize,
    sigma: f64,
    /// Share of the image that is left beside a paler one.
    image: f64,
}

impl Flakes {
    /// Snow of at least the image's size, in [0,1].
    fn fallen(&self, image: &Image, draws: &mut dyn Draws) -> Grid {
        let noise = Grid::layer(image.height, image.width, || self.mean + self.deviation * draws.normal());
        let flake = |value: f64| if value < self.least { 0.0 } else { value.clamp(0.0, 1.0) };
        let flakes = noise.zoomed(self.size).map(flake);
        let degrees = between(draws, -135.0, -45.0);
        flakes.in_motion(self.radius, self.sigma, degrees).map(|value| (value * 255.0).round_ties_even() / 255.0)
    }
}

/// A mist of random heights on every scale: how much of it, and by how much each finer scale has less.
pub(super) fn fog(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let (amount, decay) = [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)][severity];
    let mist = plasma(image, decay, draws);
    let mut grid = image.grid();
    let brightest = grid.values.iter().copied().fold(0.0, f64::max);
    grid.for_each_place(|place, values| {
        let mist = mist.at(place / image.width, place % image.width, 0);
        for value in values {
            *value = (*value + amount * mist) * brightest / (brightest + amount);
        }
    });
    Image::of(&grid)
}

/// Random heights in [0,1] that repeat beyond the border: a square with the diamond-square algorithm, at least as large as the image.
fn plasma(image: &Image, decay: f64, draws: &mut dyn Draws) -> Grid {
    let side = image.height.max(image.width).max(3).next_power_of_two();
    let mut heights = Grid::layer(side, side, || 0.0);
    let (mut step, mut roughness) = (side, 100.0);
    while step >= 2 {
        let half = step / 2;
        let mut noise = || roughness * between(draws, -roughness, roughness);
        // The middle of squares from their corners, then the middles of their sides from what is around these.
        fill(&mut heights, step, [half, half], [[-1, -1], [-1, 1], [1, -1], [1, 1]], &mut noise);
        for middle in [[0, half], [half, 0]] {
            fill(&mut heights, step, middle, [[-1, 0], [1, 0], [0, -1], [0, 1]], &mut noise);
        }
        step = half;
        roughness /= decay;
    }
    let (least, most) =
        heights.values.iter().fold((f64::MAX, f64::MIN), |(a, b), height| (a.min(*height), b.max(*height)));
    heights.map(|height| (height - least) / (most - least))
}

/// Sets every `step`-th place from `first` on to the mean of its neighbours, half a step away, and noise.
fn fill(heights: &mut Grid, step: usize, first: [usize; 2], around: [[i64; 2]; 4], noise: &mut dyn FnMut() -> f64) {
    let (side, half) = (heights.width as i64, step as i64 / 2);
    for row in (first[0]..heights.height).step_by(step) {
        for column in (first[1]..heights.width).step_by(step) {
            let at = |[down, right]: [i64; 2]| {
                let [row, column] =
                    [row as i64 + down * half, column as i64 + right * half].map(|x| x.rem_euclid(side));
                heights.at(row as usize, column as usize, 0)
            };
            let mean = around.map(at).iter().sum::<f64>() / 4.0;
            heights.values[row * heights.width + column] = mean + noise();
        }
    }
}

/// Ice: how much is left of the image, and how much ice is added.
///
/// ImageNet-C takes crops of photographs of frozen windows, which are not shipped here. This ice is computed: see [`ice`].
pub(super) fn frost(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let (left, added) = [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)][severity];
    let ice = ice(image, draws);
    let mut grid = image.grid();
    grid.for_each_place(|place, values| {
        let ice = ice.at(place / image.width, place % image.width, 0);
        let tint = color::shown(ICE, values.len());
        for (value, tint) in values.iter_mut().zip(tint) {
            *value = left * *value + added * ice * tint;
        }
    });
    Image::of(&grid)
}

/// A layer of ice in [0,1]: bright ridges on every scale, as crystals have them, around a random level.
///
/// Level, contrast and tint are about those of the package's photographs: crops of 32 pixels have means of 0.5 to 0.8 and standard deviations of 0.04 to
/// 0.12, half of which is between neighbours.
fn ice(image: &Image, draws: &mut dyn Draws) -> Grid {
    let level = between(draws, 0.5, 0.8);
    let ridges = plasma(image, 1.25, draws).map(|height| 1.0 - (2.0 * height - 1.0).abs());
    let count = ridges.values.len() as f64;
    let mean = ridges.values.iter().sum::<f64>() / count;
    let deviation = (ridges.values.iter().map(|ridge| (ridge - mean).powi(2)).sum::<f64>() / count).sqrt();
    ridges.map(|ridge| (level + 0.08 * (ridge - mean) / deviation.max(1e-9)).clamp(0.0, 1.0))
}

/// More light on every pixel, without another hue: the largest of its values grows by so much.
pub(super) fn brightness(image: &Image, severity: usize) -> Image {
    let more = [0.1, 0.2, 0.3, 0.4, 0.5][severity];
    let mut grid = image.grid();
    grid.for_each_place(|_, values| color::brighten(values, more));
    Image::of(&grid)
}
