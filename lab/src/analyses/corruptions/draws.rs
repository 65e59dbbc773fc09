//! Where the random numbers of a corruption come from.

use crate::random::Stream;

/// Random numbers, in the order in which a corruption asks for them: row by row, and within a pixel channel by channel.
pub trait Draws {
    /// Uniform in [0,1).
    fn unit(&mut self) -> f64;

    /// Standard normal.
    fn normal(&mut self) -> f64;
}

impl Draws for Stream {
    fn unit(&mut self) -> f64 {
        Self::unit(self).into()
    }

    fn normal(&mut self) -> f64 {
        Self::normal(self).into()
    }
}

/// Uniform in [low, high).
pub(super) fn between(draws: &mut dyn Draws, low: f64, high: f64) -> f64 {
    low + (high - low) * draws.unit()
}

/// Uniform in low … high − 1.
pub(super) fn whole_between(draws: &mut dyn Draws, low: i64, high: i64) -> i64 {
    low + ((high - low) as f64 * draws.unit()) as i64
}

/// Poisson with this mean, which is at most about a hundred: the quantile of a uniform number, by adding up probabilities.
pub(super) fn poisson(draws: &mut dyn Draws, mean: f64) -> f64 {
    let uniform = draws.unit();
    let mut probability = (-mean).exp();
    let mut below = probability;
    let mut count = 0.0;
    // The sum stops growing just below one: the bound is beyond every count that a multiple of 2⁻²⁴ can have.
    while below <= uniform && count < 1000.0 {
        count += 1.0;
        probability *= mean / count;
        below += probability;
    }
    count
}
