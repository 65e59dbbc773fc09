//! Random points, and ascent along the gradient of the cross-entropy.

use tch::Tensor;

use super::arena::Arena;
use super::ball::{Ball, to_tensor};
use super::template::Attack;
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// Points around the originals, uniform in the ball, each from its example's own stream; f32 \[n,C,H,W\], not yet clipped.
pub(super) fn uniform_points(arena: &Arena<'_>, ball: Ball, number: u32) -> Result<Tensor, LabError> {
    let originals = arena.originals();
    let per_image = originals.size().iter().skip(1).product::<i64>() as usize;
    let mut values = Vec::with_capacity(per_image * arena.len());
    for example in arena.examples() {
        let mut stream = Stream::new(arena.rules().seed, Purpose::AttackStart { example: *example, number });
        values.extend(ball.uniform(&mut stream, per_image));
    }
    Ok(originals.f_add(&to_tensor(&values, originals)?)?)
}

/// Random points of the ball, without looking at the model.
pub(super) struct Noise {
    pub(super) draws: u32,
}

impl Attack for Noise {
    fn tries(&self) -> u32 {
        self.draws
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let points = uniform_points(arena, arena.ball()?, number)?;
        arena.conclude(&arena.bound(&points)?)
    }
}

/// Projected gradient ascent (Madry et al. 2018, arXiv 1706.06083); with one step of length ε from the image itself the fast gradient (sign) method
/// (Goodfellow et al. 2015, arXiv 1412.6572).
pub(super) struct Pgd {
    pub(super) steps: u32,
    pub(super) step_size: f64,
    pub(super) random_start: bool,
    pub(super) restarts: u32,
}

impl Attack for Pgd {
    fn tries(&self) -> u32 {
        self.restarts
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let ball = arena.ball()?;
        let start =
            if self.random_start { uniform_points(arena, ball, number)? } else { arena.originals().shallow_clone() };
        let mut points = arena.bound(&start)?;
        for _ in 0..self.steps {
            let loss = arena.cross_entropy_loss();
            let mut answer = arena.ask_gradient(&points, &loss)?;
            if !arena.retire(&mut answer, &mut [&mut points])? {
                return Ok(());
            }
            points = arena.bound(&ball.ascend(&points, answer.gradient()?, self.step_size)?)?;
        }
        arena.conclude(&points)
    }
}
