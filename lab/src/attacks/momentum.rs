//! Iterated gradient steps with momentum, and with inputs that are shrunk and padded at random.

use tch::Tensor;

use super::arena::Arena;
use super::ball::per_image;
use super::diversity::Diversity;
use super::gradient::uniform_points;
use super::template::Attack;
use crate::error::LabError;

/// MI-FGSM (Dong et al. 2018, arXiv 1710.06081): steps along an accumulated gradient, whose parts have a mean absolute value of 1. L∞ steps go along its
/// signs, L2 and L1 steps along its direction. With `diversity` DI-FGSM (Xie et al. 2019, arXiv 1803.06978), whose gradients are taken through a random
/// transformation of the input; success is judged on the input itself.
pub(super) struct Momentum {
    pub(super) steps: u32,
    pub(super) step_size: f64,
    pub(super) decay: f64,
    pub(super) diversity: Option<Diversity>,
    pub(super) random_start: bool,
}

impl Attack for Momentum {
    fn tries(&self) -> u32 {
        1
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let ball = arena.ball()?;
        let start =
            if self.random_start { uniform_points(arena, ball, number)? } else { arena.originals().shallow_clone() };
        let mut points = arena.bound(&start)?;
        let mut momentum = points.f_zeros_like()?;
        for step in 0..self.steps {
            let Some(gradient) = self.gradient(arena, step, &mut points, &mut momentum)? else { return Ok(()) };
            let mean = gradient.f_abs()?.f_flatten(1, -1)?.f_mean_dim([1i64].as_slice(), false, None)?;
            let mean = mean.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
            momentum = momentum.f_mul_scalar(self.decay)?.f_add(&gradient.f_div(&per_image(&mean)?)?)?;
            points = arena.bound(&ball.ascend(&points, &momentum, self.step_size)?)?;
        }
        arena.conclude(&points)
    }
}

impl Momentum {
    /// Gradients at the points of those that stay in play; none if nobody does.
    fn gradient(
        &self,
        arena: &mut Arena<'_>,
        step: u32,
        points: &mut Tensor,
        momentum: &mut Tensor,
    ) -> Result<Option<Tensor>, LabError> {
        let Some(diversity) = &self.diversity else {
            let loss = arena.cross_entropy_loss();
            let mut answer = arena.ask_gradient(points, &loss)?;
            let left = arena.retire(&mut answer, &mut [points, momentum])?;
            return Ok(if left { answer.gradient } else { None });
        };
        if arena.rules().early_stop {
            let mut answer = arena.ask(points)?;
            if !arena.retire(&mut answer, &mut [points, momentum])? {
                return Ok(None);
            }
        }
        let view = diversity.draw(arena, step)?;
        let loss = arena.cross_entropy_loss();
        Ok(arena.explore_gradient(points, &|points| view.apply(points), &loss)?.gradient)
    }
}
