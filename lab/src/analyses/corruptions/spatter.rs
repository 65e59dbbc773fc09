//! Water and mud on the lens.

use super::color;
use super::draws::Draws;
use super::edges::{distances, edges};
use super::grid::{Grid, Image, mirrored};

/// Pale turquoise.
const WATER: [f64; 3] = [175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0];
/// Brown.
const MUD: [f64; 3] = [63.0 / 255.0, 42.0 / 255.0, 20.0 / 255.0];

/// What is on the lens.
struct Liquid {
    /// Mean and standard deviation of the noise from which drops come.
    mean: f64,
    deviation: f64,
    /// Standard deviation of the Gaussian that rounds them.
    size: f64,
    /// Less than this is no drop.
    least: f64,
    kind: Kind,
}

enum Kind {
    /// Water, and how bright the brightest drop is.
    Water { brightest: f64 },
    /// Mud, and the standard deviation of the Gaussian that softens it.
    Mud { softness: f64 },
}

/// Drops of water, in the two most severe cases mud.
pub(super) fn spatter(image: &Image, severity: usize, draws: &mut dyn Draws) -> Image {
    let water =
        |size, least, brightest| Liquid { mean: 0.65, deviation: 0.3, size, least, kind: Kind::Water { brightest } };
    let mud = |mean, deviation| Liquid { mean, deviation, size: 1.0, least: 0.65, kind: Kind::Mud { softness: 1.5 } };
    let liquids = [water(4.0, 0.69, 0.6), water(3.0, 0.68, 0.6), water(2.0, 0.68, 0.5), mud(0.65, 0.3), mud(0.67, 0.4)];
    let liquid = &liquids[severity];
    let noise = Grid::layer(image.height, image.width, || liquid.mean + liquid.deviation * draws.normal());
    let layer = noise.blurred(liquid.size).map(|value| if value < liquid.least { 0.0 } else { value });
    match liquid.kind {
        Kind::Water { brightest } => wet(image, &layer, brightest),
        Kind::Mud { softness } => muddy(image, &layer, softness),
    }
}

/// The image behind drops of water, which shine by how far from their edges a place is.
fn wet(image: &Image, layer: &Grid, brightest: f64) -> Image {
    let drops = layer.clone().map(|value| f64::from((value * 255.0) as u8));
    let relief = relief(&drops);
    let shine = drops.refilled(|row, column, _| drops.at(row, column, 0) * relief.at(row, column, 0));
    let most = shine.values.iter().copied().fold(0.0, f64::max);
    let mut grid = image.grid();
    grid.for_each_place(|place, values| {
        // Where there is no drop at all the package divides by zero; here the image stays as it is.
        let shine = if most > 0.0 { shine.values[place] / most * brightest } else { 0.0 };
        let water = color::shown(WATER, values.len());
        values.iter_mut().zip(water).for_each(|(value, water)| *value += shine * water);
    });
    Image::of_singles(&grid)
}

/// How far places are from the edges of drops, up to 20 pixels, spread over all bytes, and lit from one side.
fn relief(drops: &Grid) -> Grid {
    // Sums before the division: what is the same everywhere must not fall below itself when it is cut off.
    let mean = |grid: &Grid| grid.separable([&[1.0; 3], &[1.0; 3]], mirrored).map(|sum| sum / 9.0);
    let near = distances(&edges(drops, 50, 150)).map(|distance| distance.min(20.0));
    let near = equalized(&mean(&near).map(f64::trunc));
    let lit = near.correlated(&[-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0], 3, mirrored);
    mean(&lit.map(|value| value.clamp(0.0, 255.0))).map(f64::round)
}

/// Bytes of which each value stands as often as any other, as far as that can be.
fn equalized(bytes: &Grid) -> Grid {
    let mut counts = [0_u32; 256];
    bytes.values.iter().for_each(|value| counts[*value as usize] += 1);
    let total: u32 = counts.iter().sum();
    let lowest = counts.iter().position(|count| *count > 0).unwrap_or_default();
    if counts[lowest] == total {
        return bytes.clone();
    }
    let scale = 255.0 / (total - counts[lowest]) as f32;
    let mut below = 0;
    let mut table = [0.0; 256];
    for byte in lowest + 1..256 {
        below += counts[byte];
        table[byte] = f64::from((below as f32 * scale).round_ties_even());
    }
    bytes.clone().map(|value| table[value as usize])
}

/// The image behind mud.
fn muddy(image: &Image, layer: &Grid, softness: f64) -> Image {
    let spots = layer.clone().map(|value| f64::from(value > 0.65)).blurred(softness);
    let spots = spots.map(|value| if value < 0.8 { 0.0 } else { value });
    let mut grid = image.grid();
    grid.for_each_place(|place, values| {
        let spot = spots.values[place];
        let mud = color::shown(MUD, values.len());
        values.iter_mut().zip(mud).for_each(|(value, mud)| *value = *value * (1.0 - spot) + mud * spot);
    });
    Image::of(&grid)
}
