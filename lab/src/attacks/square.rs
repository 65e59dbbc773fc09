//! Random search by squares (Andriushchenko et al. 2020, arXiv 1912.00049): a black-box attack.
//!
//! Every example has its own stream for stripes, places and signs; the published code draws one place for a whole batch.

use std::collections::HashMap;

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use super::arena::Arena;
use super::ball::{Ball, lengths, per_image};
use super::oracle::Answer;
use super::template::Attack;
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// After so many queries the share of the pixels that a square covers is halved once more.
const HALVINGS: [u32; 9] = [10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000];

/// Added to a length before dividing by it.
const TINY: f64 = 1e-12;

/// The first perturbation of the L2 attack is a grid of so many tiles along each axis.
const TILES: i64 = 5;

/// The attack on the margin between the right logit and the largest wrong one.
pub(super) struct Square {
    pub(super) queries: u32,
    /// Share of the pixels that the first squares cover.
    pub(super) p_init: f64,
    pub(super) restarts: u32,
}

impl Attack for Square {
    fn tries(&self) -> u32 {
        self.restarts
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let ball = arena.ball()?;
        let mut search = Search::new(arena, ball, number)?;
        let mut best = arena.bound(&search.first(arena)?)?;
        let mut answer = arena.ask(&best)?;
        if !arena.retire(&mut answer, &mut [&mut best])? {
            return Ok(());
        }
        let mut margins = margins(&answer, arena)?;
        let mut fooled = answer.fooled;
        for query in 0..self.queries {
            let side = self.side(query, best.size()[2].min(best.size()[3]));
            let points = search.propose(arena, &best, side)?;
            let mut answer = arena.ask(&points)?;
            let found = self::margins(&answer, arena)?;
            let better = found.f_lt_tensor(&margins)?.f_logical_or(&answer.fooled)?;
            // Without early stopping a point that fools is kept as it is.
            let better = better.f_logical_and(&fooled.f_logical_not()?)?;
            margins = found.f_where_self(&better, &margins)?;
            fooled = fooled.f_logical_or(&answer.fooled)?;
            best = points.f_where_self(&better.f_view([-1, 1, 1, 1])?, &best)?;
            if !arena.retire(&mut answer, &mut [&mut best, &mut margins, &mut fooled])? {
                return Ok(());
            }
        }
        arena.conclude(&best)
    }
}

impl Square {
    /// Side of the square of this query, in pixels.
    fn side(&self, query: u32, image: i64) -> i64 {
        let halvings = HALVINGS.iter().filter(|after| query > **after).count();
        let share = self.p_init / f64::from(1u32 << halvings);
        ((share * (image * image) as f64).sqrt().round() as i64).clamp(1, image)
    }
}

/// Right logit less the largest wrong one, f32 \[n\].
fn margins(answer: &Answer, arena: &Arena<'_>) -> tch::Result<Tensor> {
    let labels = arena.labels().f_view([-1, 1])?;
    let right = answer.logits.f_gather(1, &labels, false)?.f_view([-1])?;
    let wrong = answer.logits.f_scatter_value(1, &labels, f64::NEG_INFINITY)?.f_amax([1i64].as_slice(), false)?;
    right.f_sub(&wrong)
}

/// The random choices of a try.
struct Search {
    ball: Ball,
    /// By index in the split.
    streams: HashMap<u64, Stream>,
}

/// A square of each image.
struct Window {
    /// Rows from its upper edge down, i64 \[n,1,H,1\]; outside the square they are below 0 or beyond its side.
    rows: Tensor,
    /// Columns likewise, i64 \[n,1,1,W\].
    columns: Tensor,
    /// Where the square is, f32 \[n,1,H,W\] of zeros and ones.
    mask: Tensor,
}

impl Search {
    fn new(arena: &Arena<'_>, ball: Ball, number: u32) -> Result<Self, LabError> {
        if !matches!(ball.norm, Norm::Linf | Norm::L2) {
            return Err(LabError::Spec(format!("`square` knows the norms linf and l2, not {}", ball.norm)));
        }
        let seed = arena.rules().seed;
        let stream = |example: &u64| (*example, Stream::new(seed, Purpose::Square { example: *example, number }));
        Ok(Self { ball, streams: arena.examples().iter().map(stream).collect() })
    }

    /// Draws `count` numbers for each example in play, by its own stream; \[n,count\].
    fn draw(&mut self, arena: &Arena<'_>, count: usize, draw: &dyn Fn(&mut Stream) -> f32) -> Result<Tensor, LabError> {
        let mut values = Vec::with_capacity(count * arena.len());
        for example in arena.examples() {
            let stream = self.streams.get_mut(example);
            let stream = stream.ok_or_else(|| LabError::Defect(format!("example {example} has no stream")))?;
            values.extend((0..count).map(|_| draw(stream)));
        }
        let values = Tensor::f_from_slice(&values)?.f_view([-1, count as i64])?;
        Ok(values.f_to_device(arena.originals().device())?)
    }

    /// ±1 for each example and channel, f32 \[n,C,1,1\].
    fn signs(&mut self, arena: &Arena<'_>) -> Result<Tensor, LabError> {
        let channels = arena.originals().size()[1];
        let signs = self.draw(arena, channels as usize, &sign)?;
        Ok(signs.f_view([-1, channels, 1, 1])?)
    }

    /// A square of this side somewhere in each image, never at the last place of a row or column: as in all published code, though the paper's
    /// algorithm would allow it.
    fn window(&mut self, arena: &Arena<'_>, side: i64) -> Result<Window, LabError> {
        let size = arena.originals().size();
        let places = self.draw(arena, 2, &Stream::unit)?;
        let edge = |axis: i64, length: i64| -> tch::Result<Tensor> {
            let offset = places.f_select(1, axis)?.f_mul_scalar((length - side).max(1) as f64)?.f_floor()?;
            let numbers = Tensor::f_arange(length, (Kind::Float, offset.device()))?;
            numbers.f_view([1, -1])?.f_sub(&offset.f_view([-1, 1])?)
        };
        let (rows, columns) =
            (edge(0, size[2])?.f_view([-1, 1, size[2], 1])?, edge(1, size[3])?.f_view([-1, 1, 1, size[3]])?);
        let inside = |offsets: &Tensor| offsets.f_ge(0.0)?.f_logical_and(&offsets.f_lt(side as f64)?);
        let mask = inside(&rows)?.f_logical_and(&inside(&columns)?)?.f_to_kind(Kind::Float)?;
        Ok(Window { rows, columns, mask })
    }

    /// First points: vertical stripes (L∞), tiles (L2).
    fn first(&mut self, arena: &Arena<'_>) -> Result<Tensor, LabError> {
        let size = arena.originals().size();
        let change = match self.ball.norm {
            Norm::Linf => {
                let stripes = self.draw(arena, (size[1] * size[3]) as usize, &sign)?;
                stripes.f_view([-1, size[1], 1, size[3]])?.f_mul_scalar(self.ball.eps)?
            }
            Norm::L2 | Norm::L1 => scaled(&self.tiles(arena)?, self.ball)?,
        };
        Ok(arena.originals().f_add(&change)?)
    }

    /// A grid of two-sided bumps, f32 \[n,C,H,W\].
    fn tiles(&mut self, arena: &Arena<'_>) -> Result<Tensor, LabError> {
        let size = arena.originals().size();
        let side = (size[2].min(size[3]) / TILES).max(1);
        let change = arena.originals().f_zeros_like()?;
        let margin = (size[2].min(size[3]) - side * TILES) / 2;
        let starts = |length: i64| {
            (0..length / side).map(move |tile| margin + tile * side).filter(move |at| at + side <= length)
        };
        let bump = two_sided_bump(side, arena.originals())?;
        for row in starts(size[2]) {
            for column in starts(size[3]) {
                let turned = self.draw(arena, 1, &coin)?.f_view([-1, 1, 1, 1])?;
                let bump = either(&turned, &bump.f_transpose(0, 1)?, &bump)?.f_mul(&self.signs(arena)?)?;
                let mut tile = change.f_narrow(2, row, side)?.f_narrow(3, column, side)?;
                tile.f_copy_(&bump)?;
            }
        }
        Ok(change)
    }

    /// The next points, near the best so far.
    fn propose(&mut self, arena: &Arena<'_>, best: &Tensor, side: i64) -> Result<Tensor, LabError> {
        match self.ball.norm {
            Norm::Linf => {
                let window = self.window(arena, side)?;
                let step = self.signs(arena)?.f_mul_scalar(2.0 * self.ball.eps)?.f_mul(&window.mask)?;
                arena.bound(&best.f_add(&step)?)
            }
            Norm::L2 | Norm::L1 => self.propose_in_l2(arena, best, side),
        }
    }

    /// Moves the perturbation's length from a second window into the first, where a bump is added.
    fn propose_in_l2(&mut self, arena: &Arena<'_>, best: &Tensor, side: i64) -> Result<Tensor, LabError> {
        let (originals, eps) = (arena.originals(), self.ball.eps);
        let size = originals.size();
        let side = (side.max(3) | 1).min(size[2].min(size[3]));
        let (first, second) = (self.window(arena, side)?, self.window(arena, side)?);
        let turned = self.draw(arena, 1, &coin)?.f_view([-1, 1, 1, 1])?;
        let signs = self.signs(arena)?;
        let change = best.f_sub(originals)?;
        let bump = two_sided_bump(side, originals)?;
        let bump = either(&turned, &first.place(&bump.f_transpose(0, 1)?)?, &first.place(&bump)?)?.f_mul(&signs)?;
        let per_channel = |x: &Tensor| -> tch::Result<Tensor> {
            x.f_square()?.f_sum_dim_intlist([2i64, 3].as_slice(), true, Kind::Float)?.f_sqrt()
        };
        let old = change.f_mul(&first.mask)?;
        let old = old.f_div(&per_channel(&old)?.f_add_scalar(TINY)?)?;
        let fresh = bump.f_add(&old)?;
        let both = first.mask.f_maximum(&second.mask)?;
        let unused = lengths(&change, Norm::L2)?.f_square()?.f_neg()?.f_add_scalar(eps * eps)?.f_clamp_min(0.0)?;
        let budget = per_channel(&change.f_mul(&both)?)?.f_square()?;
        let budget = per_image(&unused.f_div_scalar(size[1] as f64)?)?.f_add(&budget)?.f_sqrt()?;
        let fresh = fresh.f_div(&per_channel(&fresh)?.f_add_scalar(TINY)?)?.f_mul(&budget)?;
        let rest = change.f_mul(&both.f_neg()?.f_add_scalar(1.0)?)?;
        let change = scaled(&rest.f_add(&fresh)?, self.ball)?;
        Ok(originals.f_add(&change)?.f_clamp(0.0, 1.0)?)
    }
}

impl Window {
    /// A pattern, f32 \[side,side\], at the place of each image's square, zero around; f32 \[n,1,H,W\].
    fn place(&self, pattern: &Tensor) -> tch::Result<Tensor> {
        let last = (pattern.size()[0] - 1) as f64;
        let index = |offsets: &Tensor| offsets.f_clamp(0.0, last)?.f_to_kind(Kind::Int64);
        pattern.f_index(&[Some(index(&self.rows)?), Some(index(&self.columns)?)])?.f_mul(&self.mask)
    }
}

/// Changes stretched to the length ε.
fn scaled(change: &Tensor, ball: Ball) -> tch::Result<Tensor> {
    change.f_div(&per_image(&lengths(change, ball.norm)?.f_add_scalar(TINY)?)?)?.f_mul_scalar(ball.eps)
}

/// One of two, by a mask of zeros and ones.
fn either(mask: &Tensor, one: &Tensor, other: &Tensor) -> tch::Result<Tensor> {
    one.f_where_self(&mask.f_gt(0.5)?, other)
}

fn sign(stream: &mut Stream) -> f32 {
    if stream.coin() { 1.0 } else { -1.0 }
}

fn coin(stream: &mut Stream) -> f32 {
    if stream.coin() { 1.0 } else { 0.0 }
}

/// A bump in the upper half and its negative in the lower, of length one; f32 \[side,side\].
fn two_sided_bump(side: i64, like: &Tensor) -> tch::Result<Tensor> {
    let upper = side / 2;
    let mut values = bump(upper, side);
    values.extend(bump(side - upper, side).into_iter().map(|value| -value));
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let values: Vec<f32> = values.into_iter().map(|value| (value / length) as f32).collect();
    Tensor::f_from_slice(&values)?.f_view([side, side])?.f_to_device(like.device())
}

/// A sum of squares around a centre, the one of radius k with the weight 1/(k+1)², of length one; row by row.
fn bump(height: i64, width: i64) -> Vec<f64> {
    let (centre_row, centre_column) = (height / 2, width / 2);
    let radii = (height / 2 + 1).max(width / 2 + 1);
    let weight = |row: i64, column: i64| {
        let nearest = (row - centre_row).abs().max((column - centre_column).abs());
        (nearest..radii).map(|radius| 1.0 / ((radius + 1) as f64).powi(2)).sum::<f64>()
    };
    let values: Vec<f64> = (0..height).flat_map(|row| (0..width).map(move |column| weight(row, column))).collect();
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.into_iter().map(|value| value / length.max(TINY)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_shrink_on_the_published_schedule() {
        let square = Square { queries: 5_000, p_init: 0.8, restarts: 1 };
        let sides = [0, 10, 11, 51, 201, 501, 1_001, 2_001, 4_999].map(|query| square.side(query, 32));
        assert_eq!(sides, [29, 29, 20, 14, 10, 7, 5, 4, 3]);
    }

    #[test]
    fn a_bump_has_length_one_and_its_halves_cancel_where_they_are_equal() {
        let like = Tensor::zeros([1], (Kind::Float, tch::Device::Cpu));
        let bump = two_sided_bump(6, &like).unwrap();
        assert!((bump.square().sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-6);
        assert!(bump.sum(Kind::Double).double_value(&[]).abs() < 1e-6);
    }
}
