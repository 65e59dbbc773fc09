//! Auto-PGD (Croce & Hein 2020, arXiv 2003.01690; L1: 2021, arXiv 2103.01208), as published with AutoAttack.

use gauntlet_domain::experiment::{ApgdLoss, Norm};
use tch::Tensor;

use super::arena::Arena;
use super::ball::{Ball, lengths, per_image, to_tensor};
use super::climb::{Climb, Start};
use super::objective::Objective;
use super::pace::Plan;
use super::template::Attack;
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// Added to a length before dividing by it, as published.
const TINY: f64 = 1e-12;

/// Auto-PGD: gradient ascent with momentum whose step size shrinks, per example, where it stops paying.
///
/// With early stopping an example leaves as soon as a point fools it, which changes nothing for the others; otherwise every step is done and the last
/// point that fooled counts. The output of an example that no point fooled is the point of the highest loss.
pub(super) struct Apgd {
    pub(super) loss: ApgdLoss,
    pub(super) steps: u32,
    pub(super) restarts: u32,
    pub(super) rho: f64,
    /// Classes that the targeted loss leads to, one after the other.
    pub(super) target_classes: u32,
    /// Passes whose gradients are averaged: of use where the model draws at random.
    pub(super) gradient_passes: u32,
    /// In L1, start in balls of 3ε and 2ε, for 30 % of the steps each.
    pub(super) larger_balls: bool,
    /// Number of the first random start: parts of an ensemble have starts of their own.
    pub(super) first_start: u32,
}

/// A part of a climb.
#[derive(Debug, PartialEq)]
struct Phase {
    eps: f64,
    steps: u32,
    /// Whether its points lie in the ball of the threat model.
    counts: bool,
}

impl Attack for Apgd {
    fn tries(&self) -> u32 {
        match self.loss {
            ApgdLoss::Ce | ApgdLoss::Dlr => self.restarts,
            ApgdLoss::DlrTargeted => self.restarts.saturating_mul(self.target_classes),
        }
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let ball = arena.ball()?;
        let phases = self.phases(ball);
        let widest = phases.first().map_or(ball.eps, |phase| phase.eps);
        let start = random_start(arena, Ball { eps: widest, ..ball }, self.first_start + number)?;
        self.climb(arena, number, start)
    }
}

impl Apgd {
    fn phases(&self, ball: Ball) -> Vec<Phase> {
        let (eps, steps) = (ball.eps, self.steps);
        if !(ball.norm == Norm::L1 && self.larger_balls) {
            return vec![Phase { eps, steps, counts: true }];
        }
        let part = ((0.3 * f64::from(steps)).ceil() as u32).min(steps / 2);
        vec![
            Phase { eps: 3.0 * eps, steps: part, counts: false },
            Phase { eps: 2.0 * eps, steps: part, counts: false },
            Phase { eps, steps: steps - 2 * part, counts: true },
        ]
    }

    /// Climbs from the points `start`, f32 \[n,C,H,W\]. Nothing happens if the try's target class is one that the model has not.
    fn climb(&self, arena: &mut Arena<'_>, number: u32, start: Tensor) -> Result<(), LabError> {
        let rank = number / self.restarts.max(1);
        let Some(mut objective) = Objective::new(self.loss, rank, arena)? else { return Ok(()) };
        let ball = arena.ball()?;
        let phases = self.phases(ball);
        let mut points = start;
        for phase in &phases {
            let ball = Ball { eps: phase.eps, ..ball };
            let plan = Plan { ball, steps: phase.steps, rho: self.rho };
            let start = Start { points: ball.bound_for_apgd(&points, arena.originals())?, found: phases.len() > 1 };
            let Some(mut climb) = Climb::new(arena, plan, (phase.counts, self.gradient_passes), objective, start)?
            else {
                return Ok(());
            };
            for step in 0..phase.steps {
                if !climb.step(arena, step)? {
                    return Ok(());
                }
            }
            (points, objective) = climb.end()?;
        }
        arena.conclude(&points)
    }
}

/// Random points, each from its example's own stream, f32 \[n,C,H,W\]: in L∞ uniform in the cube and then stretched to its faces, in L2 uniform on the
/// sphere, in L1 a standard normal change, projected.
fn random_start(arena: &Arena<'_>, ball: Ball, number: u32) -> Result<Tensor, LabError> {
    let originals = arena.originals();
    let per_example = originals.size().iter().skip(1).product::<i64>() as usize;
    let mut values = Vec::with_capacity(per_example * arena.len());
    for example in arena.examples() {
        let mut stream = Stream::new(arena.rules().seed, Purpose::AttackStart { example: *example, number });
        let draw = || match ball.norm {
            Norm::Linf => stream.symmetric(1.0),
            Norm::L2 | Norm::L1 => stream.normal(),
        };
        values.extend(std::iter::repeat_with(draw).take(per_example));
    }
    Ok(stretched(&to_tensor(&values, originals)?, originals, ball)?)
}

/// `originals` moved by these draws, brought to the surface of the ball.
fn stretched(draws: &Tensor, originals: &Tensor, ball: Ball) -> tch::Result<Tensor> {
    let change = match ball.norm {
        Norm::Linf | Norm::L2 => {
            let length = lengths(draws, ball.norm)?.f_add_scalar(TINY)?;
            draws.f_div(&per_image(&length)?)?.f_mul_scalar(ball.eps)?
        }
        Norm::L1 => draws.shallow_clone(),
    };
    ball.bound_for_apgd(&originals.f_add(&change)?, originals)
}

#[cfg(test)]
mod tests;
