//! Drawing a letter: its outline is turned and scaled, filled on a fine canvas, and averaged down.
//!
//! Only the four basic operations, square roots and rounding happen on the way, which IEEE 754 fixes to the last bit, and sine and cosine
//! from the `libm` crate.

use ab_glyph::{GlyphId, Outline, OutlineCurve, OutlinedGlyph, Point, PxScaleFactor, Rect, point};

use super::faces::Letter;

/// Points of the fine canvas along a pixel.
const FINENESS: usize = 4;

/// Size and place of a letter; lengths in pixels of the image.
pub(super) struct Pose {
    /// Font size: the side of the em square.
    pub(super) size: f64,
    /// Counter-clockwise.
    pub(super) degrees: f64,
    /// Of the middle of the letter's bounding box from the middle of the image.
    pub(super) right: f64,
    /// As `right`.
    pub(super) down: f64,
}

/// A square image, row by row: 0 outside the letter, 1 inside.
pub(super) fn draw(letter: &Letter, pose: Pose, side: usize) -> Vec<f64> {
    let fine_side = side * FINENESS;
    let mut fine = vec![0.0; fine_side * fine_side];
    fill(placed(letter, pose, fine_side), &mut fine, fine_side);
    average(&fine, fine_side, side)
}

/// The outline in points of the fine canvas, from its upper left corner; up is still positive, so that the canvas lies below zero.
fn placed(letter: &Letter, pose: Pose, fine_side: usize) -> Outline {
    let fineness = FINENESS as f64;
    let scale = pose.size * fineness / f64::from(letter.units_per_em);
    let (sine, cosine) = libm::sincos(pose.degrees.to_radians());
    let middle = fine_side as f64 / 2.0;
    let (middle_x, middle_y) = (middle + pose.right * fineness, -middle - pose.down * fineness);
    let Rect { min, max } = letter.outline.bounds;
    let (box_x, box_y) = (f64::from(min.x + max.x) / 2.0, f64::from(min.y + max.y) / 2.0);
    let place = |from: Point| {
        let (x, y) = ((f64::from(from.x) - box_x) * scale, (f64::from(from.y) - box_y) * scale);
        point((x * cosine - y * sine + middle_x) as f32, (x * sine + y * cosine + middle_y) as f32)
    };
    let curves: Vec<OutlineCurve> = letter.outline.curves.iter().map(|curve| map(curve, place)).collect();
    Outline { bounds: bounds(&curves), curves }
}

fn map(curve: &OutlineCurve, place: impl Fn(Point) -> Point) -> OutlineCurve {
    match *curve {
        OutlineCurve::Line(a, b) => OutlineCurve::Line(place(a), place(b)),
        OutlineCurve::Quad(a, b, c) => OutlineCurve::Quad(place(a), place(b), place(c)),
        OutlineCurve::Cubic(a, b, c, d) => OutlineCurve::Cubic(place(a), place(b), place(c), place(d)),
    }
}

/// A box around all points, and so around all curves. Its corner `min` is the upper left one, which has the largest y.
fn bounds(curves: &[OutlineCurve]) -> Rect {
    let empty = Rect { min: point(f32::MAX, f32::MIN), max: point(f32::MIN, f32::MAX) };
    let points = curves.iter().flat_map(|curve| match *curve {
        OutlineCurve::Line(a, b) => [a, b, b, b],
        OutlineCurve::Quad(a, b, c) => [a, b, c, c],
        OutlineCurve::Cubic(a, b, c, d) => [a, b, c, d],
    });
    points.fold(empty, |Rect { min, max }, p| Rect {
        min: point(min.x.min(p.x), min.y.max(p.y)),
        max: point(max.x.max(p.x), max.y.min(p.y)),
    })
}

/// Fills the outline; what lies outside the canvas is lost.
fn fill(outline: Outline, fine: &mut [f64], fine_side: usize) {
    let unscaled = PxScaleFactor { horizontal: 1.0, vertical: 1.0 };
    let glyph = OutlinedGlyph::new(GlyphId(0).with_scale(1.0), outline, unscaled);
    let corner = glyph.px_bounds().min;
    let (left, top) = (corner.x as i64, corner.y as i64);
    glyph.draw(|x, y, coverage| {
        let (x, y) = (i64::from(x) + left, i64::from(y) + top);
        let inside = 0..fine_side as i64;
        if inside.contains(&x) && inside.contains(&y) {
            // Where parts of an outline overlap, coverage adds up to more than one.
            fine[y as usize * fine_side + x as usize] = f64::from(coverage.min(1.0));
        }
    });
}

/// The mean of each square of fine points.
fn average(fine: &[f64], fine_side: usize, side: usize) -> Vec<f64> {
    let mut sums = vec![0.0; side * side];
    for (y, row) in fine.chunks_exact(fine_side).enumerate() {
        let sums = &mut sums[y / FINENESS * side..][..side];
        for (sum, points) in sums.iter_mut().zip(row.chunks_exact(FINENESS)) {
            *sum += points.iter().sum::<f64>();
        }
    }
    sums.into_iter().map(|sum| sum / (FINENESS * FINENESS) as f64).collect()
}
