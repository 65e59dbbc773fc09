//! Random views of the inputs: shrunk and padded.

use tch::Tensor;

use super::arena::Arena;
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// The transformation of DI-FGSM (Xie et al. 2019, arXiv 1803.06978): bilinear shrinking to a random size, then zeros around to the old size at a random
/// place. The height is drawn from the shares of the whole that are at least `resize_rate` and less than 1; the width has the same share.
///
/// torchattacks draws once for a whole batch. Here each example has its own draw, so that outcomes do not depend on batches.
pub(super) struct Diversity {
    pub(super) resize_rate: f64,
    pub(super) probability: f64,
}

/// A transformation for each example: bilinear shrinking and padding are linear in the rows and in the columns of an image.
pub(super) struct View {
    /// What each row of the output takes from each row of the input, f32 \[n,1,H,H\].
    rows: Tensor,
    /// What each column of the output takes from each column of the input, transposed, f32 \[n,1,W,W\].
    columns: Tensor,
}

impl Diversity {
    /// The views of a step (counted from 0) for the examples in play.
    pub(super) fn draw(&self, arena: &Arena<'_>, step: u32) -> Result<View, LabError> {
        let (count, _, height, width) = arena.originals().size4()?;
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for example in arena.examples() {
            let purpose = Purpose::InputDiversity { example: *example, step };
            let mut stream = Stream::new(arena.rules().seed, purpose);
            let shrunk = f64::from(stream.unit()) < self.probability;
            let smallest = ((height as f64 * self.resize_rate) as i64).clamp(1, (height - 1).max(1));
            let side = draw(&mut stream, smallest, height);
            let other = (side * width / height).max(1);
            let (top, left) = (draw(&mut stream, 0, height - side), draw(&mut stream, 0, width - other));
            let (vertical, horizontal) = if shrunk { ((side, top), (other, left)) } else { ((height, 0), (width, 0)) };
            shrink(&mut rows, height, vertical, false);
            shrink(&mut columns, width, horizontal, true);
        }
        let device = arena.originals().device();
        let to_tensor = |values: &[f32], length| {
            Tensor::f_from_slice(values)?.f_view([count, 1, length, length])?.f_to_device(device)
        };
        Ok(View { rows: to_tensor(&rows, height)?, columns: to_tensor(&columns, width)? })
    }
}

impl View {
    /// What the model sees of the points, f32 \[n,C,H,W\].
    pub(super) fn apply(&self, points: &Tensor) -> tch::Result<Tensor> {
        self.rows.f_matmul(points)?.f_matmul(&self.columns)
    }
}

/// Uniform in `low` … `high` − 1; `low` if that is nothing.
fn draw(stream: &mut Stream, low: i64, high: i64) -> i64 {
    low + (f64::from(stream.unit()) * (high - low).max(0) as f64) as i64
}

/// Appends the matrix \[length,length\] that interpolates `length` values to `(side, offset)`'s number at its place.
fn shrink(matrix: &mut Vec<f32>, length: i64, (side, offset): (i64, i64), transposed: bool) {
    let (length, first) = (length as usize, matrix.len());
    matrix.resize(first + length * length, 0.0);
    let scale = length as f32 / side as f32;
    for output in 0..side as usize {
        // Centres of pixels meet centres (PyTorch's align_corners = False).
        let at = (scale * (output as f32 + 0.5) - 0.5).max(0.0);
        let near = (at as usize).min(length - 1);
        let far = (near + 1).min(length - 1);
        let share = at - near as f32;
        let row = output + offset as usize;
        let mut put = |column: usize, weight: f32| {
            let cell = if transposed { column * length + row } else { row * length + column };
            matrix[first + cell] += weight;
        };
        put(near, 1.0 - share);
        put(far, share);
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_view_is_bilinear_shrinking_with_zeros_around() {
        let points = Tensor::arange(2 * 3 * 12 * 10, (Kind::Float, Device::Cpu)).sin().view([2, 3, 12, 10]);
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for (vertical, horizontal) in [((9, 2), (7, 3)), ((12, 0), (10, 0))] {
            shrink(&mut rows, 12, vertical, false);
            shrink(&mut columns, 10, horizontal, true);
        }
        let rows = Tensor::from_slice(&rows).view([2, 1, 12, 12]);
        let view = View { rows, columns: Tensor::from_slice(&columns).view([2, 1, 10, 10]) };
        let seen = view.apply(&points).unwrap();
        let shrunk = points.narrow(0, 0, 1).upsample_bilinear2d([9, 7], false, None, None);
        let padded = shrunk.constant_pad_nd([3, 0, 2, 1]);
        let apart = (seen.narrow(0, 0, 1) - padded).abs().max().double_value(&[]);
        assert!(apart < 1e-6, "{apart}");
        assert_eq!(seen.narrow(0, 1, 1), points.narrow(0, 1, 1));
    }

    #[test]
    fn draws_lie_in_their_range() {
        let mut stream = Stream::new(0, Purpose::InputDiversity { example: 0, step: 0 });
        let mut draws: Vec<i64> = (0..200).map(|_| draw(&mut stream, 28, 32)).collect();
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws, [28, 29, 30, 31]);
        assert_eq!(draw(&mut stream, 5, 5), 5);
    }
}
