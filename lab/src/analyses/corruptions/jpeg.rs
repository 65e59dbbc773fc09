//! What JPEG loses, without the file: colours at half the resolution, and coefficients rounded to multiples of those of the quality.
//!
//! All that a file adds is lossless coding. Colours, sampling, rounding and smoothing are as in libjpeg with its defaults, which Pillow uses; only its
//! cosine transforms in whole numbers are done in floating point here, so that a value may differ.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::grid::Image;

/// Side of a block.
const SIDE: usize = 8;

/// Divisors of luma (ITU-T T.81, table K.1), row by row.
const LUMA: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// Divisors of the colours (ITU-T T.81, table K.2): 99 where nothing else stands.
const CHROMA: [[u32; 4]; 4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]];

/// Values of one component.
#[derive(Clone)]
struct Plane {
    height: usize,
    width: usize,
    values: Vec<i32>,
}

impl Plane {
    fn filled(height: usize, width: usize, value: impl Fn(usize, usize) -> i32) -> Self {
        let value = &value;
        let values = (0..height).flat_map(|row| (0..width).map(move |column| value(row, column))).collect();
        Self { height, width, values }
    }

    /// The value at the border stands for what lies beyond.
    fn at(&self, row: usize, column: usize) -> i32 {
        self.values[row.min(self.height - 1) * self.width + column.min(self.width - 1)]
    }
}

/// The image after compression with this quality, 1 to 49.
pub(super) fn compressed(image: &Image, quality: u32) -> Image {
    let scaled = |divisor: u32| f64::from((divisor * (5000 / quality) + 50).div_euclid(100).clamp(1, 255));
    let luma = LUMA.map(scaled);
    let chroma = std::array::from_fn(|place| {
        let of_row = CHROMA.get(place / SIDE).and_then(|row| row.get(place % SIDE));
        scaled(of_row.copied().unwrap_or(99))
    });
    let components = components(image);
    let [y, colors @ ..] = components.as_slice() else { return image.clone() };
    let y = rounded(y, &luma);
    let colors: Vec<Plane> =
        colors.iter().map(|plane| enlarged(&rounded(&halved(plane), &chroma), image.height, image.width)).collect();
    let mut bytes = Vec::with_capacity(image.bytes.len());
    for row in 0..image.height {
        for column in 0..image.width {
            let y = y.at(row, column);
            match colors.as_slice() {
                [blue, red] => bytes.extend(to_rgb([y, blue.at(row, column), red.at(row, column)])),
                _ => bytes.push(y as u8),
            }
        }
    }
    image.with(bytes)
}

/// Luma and, of three channels, the two colours (JFIF), in 2⁻¹⁶ and rounded.
fn components(image: &Image) -> Vec<Plane> {
    let weights: &[[i32; 4]] = match image.channels {
        3 => &[
            [19_595, 38_470, 7_471, 32_768],
            [-11_059, -21_709, 32_768, (128 << 16) + 32_767],
            [32_768, -27_439, -5_329, (128 << 16) + 32_767],
        ],
        _ => &[[65_536, 0, 0, 0]],
    };
    let plane = |weights: &[i32; 4]| {
        Plane::filled(image.height, image.width, |row, column| {
            let pixel = &image.bytes[(row * image.width + column) * image.channels..][..image.channels];
            let sum: i32 = pixel.iter().zip(weights).map(|(byte, weight)| i32::from(*byte) * weight).sum();
            (sum + weights[3]) >> 16
        })
    };
    weights.iter().map(plane).collect()
}

fn to_rgb([y, blue, red]: [i32; 3]) -> [u8; 3] {
    let (blue, red) = (blue - 128, red - 128);
    let added = [91_881 * red, -22_554 * blue - 46_802 * red, 116_130 * blue];
    added.map(|color| (y + ((color + 32_768) >> 16)).clamp(0, 255) as u8)
}

/// Means of two by two values; halves go down and up in turn.
fn halved(plane: &Plane) -> Plane {
    let (height, width) = (plane.height.div_ceil(2), plane.width.div_ceil(2));
    Plane::filled(height, width.next_multiple_of(SIDE), |row, column| {
        let sum: i32 = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(down, right)| plane.at(2 * row + down, 2 * column + right))
            .iter()
            .sum();
        (sum + 1 + (column % 2) as i32) >> 2
    })
}

/// Twice as many values along each side, cut to the size: each is three quarters of the nearest and a quarter of the next, both ways.
fn enlarged(plane: &Plane, height: usize, width: usize) -> Plane {
    let columns = width.div_ceil(2);
    let rows = height.div_ceil(2);
    // libjpeg does not smooth what is so narrow.
    if columns <= 2 {
        return Plane::filled(height, width, |row, column| plane.at(row / 2, column / 2));
    }
    Plane::filled(height, width, |row, column| {
        let next = |place: usize, count: usize| {
            let half = place / 2;
            if place.is_multiple_of(2) { half.saturating_sub(1) } else { (half + 1).min(count - 1) }
        };
        let (near, far) = (row / 2, next(row, rows));
        let sum = |column: usize| 3 * plane.at(near, column) + plane.at(far, column);
        let rounding = if column.is_multiple_of(2) { 8 } else { 7 };
        (3 * sum(column / 2) + sum(next(column, columns)) + rounding) >> 4
    })
}

/// Cosines of the transform: by frequency, then place; orthonormal.
static COSINES: LazyLock<[[f64; SIDE]; SIDE]> = LazyLock::new(|| {
    std::array::from_fn(|frequency| {
        let scale = if frequency == 0 { (1.0 / 8.0_f64).sqrt() } else { 0.5 };
        std::array::from_fn(|place| scale * ((2 * place + 1) as f64 * frequency as f64 * PI / 16.0).cos())
    })
});

/// Block by block, what is left when the coefficients are rounded to multiples of the divisors.
fn rounded(plane: &Plane, divisors: &[f64; 64]) -> Plane {
    let mut result = plane.clone();
    for top in (0..plane.height).step_by(SIDE) {
        for left in (0..plane.width).step_by(SIDE) {
            let value = |place: usize| f64::from(plane.at(top + place / SIDE, left + place % SIDE) - 128);
            let values = restored(&coefficients(&std::array::from_fn(value)), divisors);
            for row in 0..SIDE.min(plane.height - top) {
                for column in 0..SIDE.min(plane.width - left) {
                    let value = values[column * SIDE + row] as i32 + 128;
                    result.values[(top + row) * plane.width + left + column] = value.clamp(0, 255);
                }
            }
        }
    }
    result
}

/// Coefficients of a block in eighths: libjpeg transforms rows, then columns, and rounds what is between and what comes out.
fn coefficients(block: &[f64; 64]) -> [f64; 64] {
    let forwards = |frequency: usize, place: usize| COSINES[frequency][place];
    let between = transformed(block, forwards).map(|value| whole(value * BETWEEN) / BETWEEN);
    transformed(&between, forwards).map(|value| whole(value * 8.0))
}

/// What the rounded coefficients stand for, column by column: libjpeg goes back along columns first.
fn restored(coefficients: &[f64; 64], divisors: &[f64; 64]) -> [f64; 64] {
    let kept = |place: usize| {
        let place = place % SIDE * SIDE + place / SIDE;
        // A half is met, in whole eighths, and goes away from zero.
        (coefficients[place] / (divisors[place] * 8.0)).round() * divisors[place]
    };
    let backwards = |place: usize, frequency: usize| COSINES[frequency][place];
    let between = transformed(&std::array::from_fn(kept), backwards).map(|value| whole(value * BETWEEN) / BETWEEN);
    transformed(&between, backwards).map(whole)
}

/// Between rows and columns libjpeg keeps so many parts of a number: two bits, of a transform that is √8 times as long.
const BETWEEN: f64 = 4.0 * 2.0 * std::f64::consts::SQRT_2;

/// The nearest whole number, of two the upper. Sums of cosines miss halves by less than what is added.
fn whole(value: f64) -> f64 {
    (value + 0.5 + 1e-9).floor()
}

/// Transforms rows, and gives them as columns.
fn transformed(block: &[f64; 64], weight: impl Fn(usize, usize) -> f64) -> [f64; 64] {
    std::array::from_fn(|place| {
        let (to, row) = (place / SIDE, place % SIDE);
        (0..SIDE).map(|from| weight(to, from) * block[row * SIDE + from]).sum()
    })
}
