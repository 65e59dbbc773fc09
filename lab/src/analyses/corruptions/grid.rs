//! Images and layers of numbers, and the filters that several corruptions share.

/// A byte image. The fields agree: `bytes` holds `height` · `width` · `channels` of them, pixel by pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values of a pixel: 1 or 3 (red, green, blue).
    pub channels: usize,
    /// The values.
    pub bytes: Vec<u8>,
}

impl Image {
    /// The image with other bytes.
    pub(super) fn with(&self, bytes: Vec<u8>) -> Self {
        Self { bytes, ..*self }
    }

    /// The image of numbers in [0,1]; what lies outside is clipped. 255 times the number is cut off to a whole one, as ImageNet-C does.
    pub(super) fn of(grid: &Grid) -> Self {
        let bytes = grid.values.iter().map(|value| (value.clamp(0.0, 1.0) * 255.0) as u8).collect();
        Self { height: grid.height, width: grid.width, channels: grid.channels, bytes }
    }

    /// The same where ImageNet-C computes in single precision, with which values that come close to a whole number are cut off to another.
    pub(super) fn of_singles(grid: &Grid) -> Self {
        let byte = |value: &f64| ((*value as f32).clamp(0.0, 1.0) * 255.0) as u8;
        let bytes = grid.values.iter().map(byte).collect();
        Self { height: grid.height, width: grid.width, channels: grid.channels, bytes }
    }

    /// Its values in [0,1].
    pub(super) fn grid(&self) -> Grid {
        let values = self.bytes.iter().map(|byte| f64::from(*byte) / 255.0).collect();
        Grid { height: self.height, width: self.width, channels: self.channels, values }
    }
}

/// Numbers in rows and columns, with one or more in each place.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Place by place, row by row.
    pub values: Vec<f64>,
}

/// What stands beyond the border of so many values: a place, which may be outside, and the one inside whose value it has.
pub(super) type Border = fn(i64, usize) -> usize;

/// The value at the border.
pub(super) fn nearest(place: i64, length: usize) -> usize {
    place.clamp(0, length as i64 - 1) as usize
}

/// The values in reverse, the one at the border twice.
pub(super) fn reflected(place: i64, length: usize) -> usize {
    let place = place.rem_euclid(2 * length as i64);
    place.min(2 * length as i64 - 1 - place) as usize
}

/// The values in reverse, the one at the border once.
pub(super) fn mirrored(place: i64, length: usize) -> usize {
    let period = (2 * (length as i64 - 1)).max(1);
    let place = place.rem_euclid(period);
    place.min(period - place).min(length as i64 - 1) as usize
}

/// Values of a Gaussian from −radius to radius, with sum one.
pub(super) fn gaussian_weights(radius: i64, sigma: f64) -> Vec<f64> {
    let weights: Vec<f64> = (-radius..=radius).map(|x| (-0.5 * (x * x) as f64 / (sigma * sigma)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Adds a multiple of the first of these values.
fn add(sums: &mut [f64], weight: f64, values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

impl Grid {
    /// One number in each place.
    pub fn layer(height: usize, width: usize, value: impl FnMut() -> f64) -> Self {
        let values = std::iter::repeat_with(value).take(height * width).collect();
        Self { height, width, channels: 1, values }
    }

    /// The value in a place.
    pub fn at(&self, row: usize, column: usize, channel: usize) -> f64 {
        self.values[(row * self.width + column) * self.channels + channel]
    }

    /// Each value changed.
    pub fn map(mut self, change: impl FnMut(f64) -> f64) -> Self {
        self.values = self.values.into_iter().map(change).collect();
        self
    }

    /// The grid of the same places whose numbers a function of row, column and channel gives.
    pub fn refilled(&self, mut value: impl FnMut(usize, usize, usize) -> f64) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for row in 0..self.height {
            for column in 0..self.width {
                values.extend((0..self.channels).map(|channel| value(row, column, channel)));
            }
        }
        Self { values, ..*self }
    }

    /// The values of each place changed together; `change` gets the place's number.
    pub fn for_each_place(&mut self, mut change: impl FnMut(usize, &mut [f64])) {
        for (place, values) in self.values.chunks_exact_mut(self.channels).enumerate() {
            change(place, values);
        }
    }

    /// Correlated with weights along the height, then along the width.
    pub fn separable(&self, [vertical, horizontal]: [&[f64]; 2], border: Border) -> Self {
        self.correlated(vertical, 1, border).correlated(horizontal, horizontal.len(), border)
    }

    /// Correlated with a rectangle of weights, so many in a row; its sides are odd.
    pub fn correlated(&self, weights: &[f64], in_a_row: usize, border: Border) -> Self {
        let rows = self.extended(in_a_row / 2, border);
        let reach = (weights.len() / in_a_row / 2) as i64;
        let mut sums = self.clone().map(|_| 0.0);
        for (row, sums) in sums.values.chunks_exact_mut(self.width * self.channels).enumerate() {
            for (place, weights) in (row as i64 - reach..).zip(weights.chunks_exact(in_a_row)) {
                let values = &rows[border(place, self.height)];
                for (shift, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                    add(sums, *weight, &values[shift * self.channels..]);
                }
            }
        }
        sums
    }

    /// The rows, each with so many more places at both ends.
    fn extended(&self, reach: usize, border: Border) -> Vec<Vec<f64>> {
        let reach = reach as i64;
        let columns: Vec<usize> =
            (-reach..self.width as i64 + reach).map(|column| border(column, self.width)).collect();
        let extended = |row: &[f64]| {
            let place = |column: &usize| &row[column * self.channels..][..self.channels];
            columns.iter().flat_map(place).copied().collect()
        };
        self.values.chunks_exact(self.width * self.channels).map(extended).collect()
    }

    /// Blurred with a Gaussian of these standard deviations along height and width, cut off at so many of them.
    pub fn gaussian(&self, sigmas: [f64; 2], truncate: f64, border: Border) -> Self {
        let [vertical, horizontal] = sigmas.map(|sigma| gaussian_weights((truncate * sigma + 0.5) as i64, sigma));
        self.separable([&vertical, &horizontal], border)
    }

    /// Blurred as scikit-image's `gaussian` does by default.
    pub fn blurred(&self, sigma: f64) -> Self {
        self.gaussian([sigma; 2], 4.0, nearest)
    }

    /// Its middle enlarged to the size of the whole, or a little more, by linear interpolation.
    pub fn zoomed(&self, factor: f64) -> Self {
        let cut = |length: usize| {
            let kept = (length as f64 / factor).ceil() as usize;
            // The first and the last place stand for themselves.
            let enlarged = (kept as f64 * factor).round_ties_even() as usize;
            let step = if enlarged > 1 { (kept as f64 - 1.0) / (enlarged as f64 - 1.0) } else { 1.0 };
            ((length - kept) / 2, kept, enlarged, step)
        };
        let (top, rows, height, down) = cut(self.height);
        let (left, columns, width, right) = cut(self.width);
        let split = |place: usize, step: f64, count: usize| {
            let at = (place as f64 * step).min(count as f64 - 1.0);
            (at as usize, (at as usize + 1).min(count - 1), at.fract())
        };
        let empty = Self { height, width, channels: self.channels, values: vec![0.0; height * width * self.channels] };
        empty.refilled(|row, column, channel| {
            let (upper, lower, below) = split(row, down, rows);
            let (before, after, beyond) = split(column, right, columns);
            let value = |row: usize, column: usize| self.at(top + row, left + column, channel);
            let between = |row: usize| value(row, before) * (1.0 - beyond) + value(row, after) * beyond;
            between(upper) * (1.0 - below) + between(lower) * below
        })
    }

    /// Moved along a line while the light falls: `radius` and `sigma` say how far, `degrees` where to.
    ///
    /// What would have come from beyond the image's size is lost, and the image is darker by it, as in ImageNet-C.
    pub fn in_motion(&self, radius: usize, sigma: f64, degrees: f64) -> Self {
        let width = 2 * radius + 1;
        let weights: Vec<f64> = (0..width).map(|x| (-((x * x) as f64) / (2.0 * sigma * sigma)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let radians = degrees.to_radians();
        let (down, right) = (width as f64 * radians.sin(), width as f64 * radians.cos());
        let length = down.hypot(right);
        let rows = self.extended(width, nearest);
        let mut blurred = self.clone().map(|_| 0.0);
        for (step, weight) in weights.iter().enumerate() {
            let [dy, dx] = [down, right].map(|part| -((step as f64 * part / length - 0.5).ceil() as i64));
            if dy.unsigned_abs() as usize >= self.height || dx.unsigned_abs() as usize >= self.width {
                break;
            }
            let shift = (width as i64 - dx) as usize * self.channels;
            for (row, blurred) in blurred.values.chunks_exact_mut(self.width * self.channels).enumerate() {
                add(blurred, weight / sum, &rows[nearest(row as i64 - dy, self.height)][shift..]);
            }
        }
        blurred
    }
}
