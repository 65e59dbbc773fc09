//! Edges in a layer of bytes, and how far they are.

use super::grid::{Grid, nearest};

/// tan 22.5°, as OpenCV has it: in 2⁻¹⁵.
const TAN_22_5: i64 = 13_573;

/// Edges after Canny (1986) as OpenCV finds them, with a gradient of 3 × 3 pixels and its L1 norm: places where that is above `high`, and those above
/// `low` that hang together with them.
pub(super) fn edges(bytes: &Grid, low: i64, high: i64) -> Vec<Vec<bool>> {
    let gradient = gradients(bytes);
    let (rows, columns) = (bytes.height as i64, bytes.width as i64);
    let candidate = |row: i64, column: i64| is_ridge(&gradient, row, column) && gradient.norm(row, column) > low;
    let mut found = vec![vec![false; bytes.width]; bytes.height];
    let mut waiting: Vec<[i64; 2]> = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column])).collect();
    waiting.retain(|[row, column]| gradient.norm(*row, *column) > high && candidate(*row, *column));
    while let Some([row, column]) = waiting.pop() {
        let place = &mut found[row as usize][column as usize];
        if std::mem::replace(place, true) {
            continue;
        }
        for (row, column) in (row - 1..=row + 1).flat_map(|row| (column - 1..=column + 1).map(move |c| (row, c))) {
            let inside = (0..rows).contains(&row) && (0..columns).contains(&column);
            if inside && !found[row as usize][column as usize] && candidate(row, column) {
                waiting.push([row, column]);
            }
        }
    }
    found
}

/// Gradients of a layer.
struct Gradients {
    rows: i64,
    columns: i64,
    /// Along the width and the height.
    values: Vec<[i64; 2]>,
}

impl Gradients {
    fn at(&self, row: i64, column: i64) -> [i64; 2] {
        self.values[(row * self.columns + column) as usize]
    }

    /// Zero outside.
    fn norm(&self, row: i64, column: i64) -> i64 {
        if !(0..self.rows).contains(&row) || !(0..self.columns).contains(&column) {
            return 0;
        }
        self.at(row, column).into_iter().map(i64::abs).sum()
    }
}

/// Sobel's.
fn gradients(bytes: &Grid) -> Gradients {
    let (smooth, difference) = ([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]);
    let along = bytes.separable([&smooth, &difference], nearest);
    let down = bytes.separable([&difference, &smooth], nearest);
    let values = along.values.iter().zip(&down.values).map(|(x, y)| [*x as i64, *y as i64]).collect();
    Gradients { rows: bytes.height as i64, columns: bytes.width as i64, values }
}

/// Whether no neighbour across the edge has a larger gradient.
fn is_ridge(gradient: &Gradients, row: i64, column: i64) -> bool {
    let [x, y] = gradient.at(row, column);
    let norm = gradient.norm(row, column);
    let (across, down) = (x.abs(), y.abs() << 15);
    let shallow = across * TAN_22_5;
    // tan 67.5° is 2 more.
    let steep = shallow + (across << 16);
    if down < shallow {
        norm > gradient.norm(row, column - 1) && norm >= gradient.norm(row, column + 1)
    } else if down > steep {
        norm > gradient.norm(row - 1, column) && norm >= gradient.norm(row + 1, column)
    } else {
        let side = if (x ^ y) < 0 { -1 } else { 1 };
        norm > gradient.norm(row - 1, column - side) && norm > gradient.norm(row + 1, column + side)
    }
}

/// Steps of a path and their lengths in 2⁻¹⁶ pixels (Borgefors 1986, rounded as OpenCV does): down, right.
const STEPS: [([i64; 2], i64); 8] = [
    ([-2, -1], 143_976),
    ([-2, 1], 143_976),
    ([-1, -2], 143_976),
    ([-1, -1], 91_750),
    ([-1, 0], 65_536),
    ([-1, 1], 91_750),
    ([-1, 2], 143_976),
    ([0, -1], 65_536),
];

/// Length of the shortest path from each place to a marked one, approximately Euclidean; very long where there is none.
pub(super) fn distances(marked: &[Vec<bool>]) -> Grid {
    const FAR: i64 = 1 << 40;
    let (height, width) = (marked.len(), marked.first().map_or(0, Vec::len));
    let mut lengths: Vec<i64> = marked.iter().flatten().map(|marked| if *marked { 0 } else { FAR }).collect();
    // Forwards with the steps that come from places before, then backwards with their opposites.
    for direction in [1, -1] {
        for number in 0..lengths.len() {
            let place = if direction == 1 { number } else { lengths.len() - 1 - number };
            let (row, column) = ((place / width) as i64, (place % width) as i64);
            for ([down, right], length) in STEPS {
                let (row, column) = (row + direction * down, column + direction * right);
                if (0..height as i64).contains(&row) && (0..width as i64).contains(&column) {
                    let before = lengths[row as usize * width + column as usize];
                    lengths[place] = lengths[place].min(before + length);
                }
            }
        }
    }
    let values = lengths.into_iter().map(|length| length as f64 / 65_536.0).collect();
    Grid { height, width, channels: 1, values }
}
