//! The attack inside an adversarial training step.

use serde::{Deserialize, Serialize};

use crate::experiment::Norm;

/// The attack inside an adversarial training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerAttack {
    /// Norm of the ball.
    pub norm: Norm,
    /// Radius, in pixel space.
    pub eps: f64,
    /// Steps of ascent.
    pub steps: u32,
    /// Length of a step, in pixel space.
    pub step_size: f64,
    /// First point.
    pub start: Start,
}

/// Where an inner attack starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the image.
    Clean,
    /// Uniformly in the ball.
    Uniform,
    /// At 0.001 · N(0,1) around the image, as in the study's code.
    Gaussian,
}

impl InnerAttack {
    /// The same attack in a ball of so many times the radius, with steps of so many times the length.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        Self { eps: self.eps * share, step_size: self.step_size * share, ..self.clone() }
    }
}

/// Share of its ε that an inner attack has at a step of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EpsilonSchedule {
    /// All of it, from the first step on.
    Constant,
    /// Nothing, then a linear ramp, then all of it (Ngnawé et al., arXiv 2509.23325). While it is nothing, the step is one of standard training.
    Ramp {
        /// Share of the steps without perturbation, in [0,1].
        zero: f64,
        /// Share of the steps that the ramp takes; `zero` + `ramp` ≤ 1.
        ramp: f64,
    },
}

impl EpsilonSchedule {
    /// The share in [0,1] at step `step` of `steps` (counted from 0).
    pub fn share(&self, step: u32, steps: u32) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Ramp { zero, ramp } => {
                let (first, length) = (zero * f64::from(steps), ramp * f64::from(steps));
                let done = f64::from(step) - first;
                if done < 0.0 {
                    0.0
                } else if done < length {
                    done / length
                } else {
                    1.0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_is_zero_for_a_share_of_the_steps_then_grows_evenly_then_stays() {
        let schedule = EpsilonSchedule::Ramp { zero: 0.25, ramp: 0.5 };
        let shares = [0, 24, 25, 50, 74, 75, 99].map(|step| schedule.share(step, 100));
        assert_eq!(shares, [0.0, 0.0, 0.0, 0.5, 0.98, 1.0, 1.0]);
        assert_eq!(EpsilonSchedule::Constant.share(0, 100), 1.0);
    }

    #[test]
    fn a_ramp_may_be_a_jump_and_may_begin_at_once() {
        let jump = EpsilonSchedule::Ramp { zero: 0.5, ramp: 0.0 };
        assert_eq!([4, 5].map(|step| jump.share(step, 10)), [0.0, 1.0]);
        let warmup = EpsilonSchedule::Ramp { zero: 0.0, ramp: 0.5 };
        assert_eq!([0, 1, 5].map(|step| warmup.share(step, 10)), [0.0, 0.2, 1.0]);
    }
}
