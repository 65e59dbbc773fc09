//! Ascent on the distance of penultimate features.

use tch::{Kind, Tensor};

use super::arena::Arena;
use super::gradient::uniform_points;
use super::template::Attack;
use crate::error::LabError;
use crate::models::Output;

/// Projected gradient ascent on the squared distance of the penultimate features from those of the original: what discrepancy mitigation (arXiv
/// 2106.10989) trains against.
pub(super) struct Feature {
    pub(super) steps: u32,
    pub(super) step_size: f64,
    pub(super) restarts: u32,
}

impl Attack for Feature {
    fn tries(&self) -> u32 {
        self.restarts
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let ball = arena.ball()?;
        let mut original_features = arena.original_features()?;
        let mut points = arena.bound(&uniform_points(arena, ball, number)?)?;
        for _ in 0..self.steps {
            let features = original_features.shallow_clone();
            let distance = move |output: &Output| {
                let squares = output.features.f_sub(&features)?.f_square()?;
                squares.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
            };
            let mut answer = arena.ask_gradient(&points, &distance)?;
            if !arena.retire(&mut answer, &mut [&mut points, &mut original_features])? {
                return Ok(());
            }
            let climbed: Tensor = ball.ascend(&points, answer.gradient()?, self.step_size)?;
            points = arena.bound(&climbed)?;
        }
        arena.conclude(&points)
    }
}
