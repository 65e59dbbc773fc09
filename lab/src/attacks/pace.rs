//! Where APGD's steps go and how long they are, per example.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use super::ball::{Ball, lengths, per_image};

/// Steps of L1 shrink by this factor …
const L1_SHRINKING: f64 = 1.5;
/// … until they are this much shorter than the first.
const L1_SHORTEST: f64 = 10.0;
/// In L1 a step moves so many times fewer values than the best point changes …
const L1_THINNING: f64 = 1.5;
/// … or, where the start is a mere random point, this share of all values.
const L1_FIRST_SHARE: f64 = 0.2;
/// In L1, the share of the changed values below which the perturbation counts as having become sparser.
const L1_SPARSER: f64 = 0.95;

/// Added to the length of a gradient before dividing by it, as published.
const TINY: f64 = 1e-12;

/// What a climb is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) ball: Ball,
    pub(super) steps: u32,
    /// Share of the steps that must have raised the loss for the step size to stay.
    pub(super) rho: f64,
}

/// Lengths of steps, and what decides on them at the checkpoints.
pub(super) struct Pace {
    /// f32 \[n\].
    pub(super) step_size: Tensor,
    rule: Rule,
    schedule: Schedule,
}

enum Rule {
    /// L∞ and L2: halved where the loss rises too rarely or the best did not change (Croce & Hein 2020, arXiv 2003.01690).
    Halving {
        norm: Norm,
        /// Share of the steps that must raise the loss.
        rho: f64,
        /// Loss after the last step, f32 \[n\]. The first is compared with 0, as in the published code.
        last_loss: Tensor,
        /// Steps since the checkpoint that raised the loss, f32 \[n\].
        rises: Tensor,
        /// Best loss at the last checkpoint, f32 \[n\].
        checked_loss: Tensor,
        /// Whether the last checkpoint halved, bool \[n\].
        halved: Tensor,
    },
    /// L1: as sparse as the best point found (Croce & Hein 2021, arXiv 2103.01208).
    Sparse {
        /// Length of the first step.
        longest: f64,
        /// Values that the best point of the last checkpoint changes, f32 \[n\].
        support: Tensor,
        /// Share of the values that a step moves, f32 \[n\].
        share: Tensor,
    },
}

/// When the checkpoints are.
#[derive(Debug, Clone, PartialEq)]
struct Schedule {
    until_next: u32,
    window: u32,
    shrinking: u32,
    smallest: u32,
}

impl Schedule {
    /// In L∞ and L2 the first window is 22 % of the steps, each later one 3 % shorter, down to 6 %; in L1 all are 4 %.
    fn new(norm: Norm, steps: u32) -> Self {
        let share = |share: f64| ((share * f64::from(steps)) as u32).max(1);
        let (window, shrinking, smallest) = match norm {
            Norm::Linf | Norm::L2 => (share(0.22), share(0.03), share(0.06)),
            Norm::L1 => (share(0.04), 0, share(0.04)),
        };
        Self { until_next: window, window, shrinking, smallest }
    }

    /// Counts a step; the length of the window if it ends.
    fn tick(&mut self) -> Option<u32> {
        self.until_next -= 1;
        (self.until_next == 0).then(|| {
            let ended = self.window;
            self.window = ended.saturating_sub(self.shrinking).max(self.smallest);
            self.until_next = self.window;
            ended
        })
    }
}

impl Pace {
    /// The pace of a climb of so many steps in `ball` from a start with these `losses`, f32 \[n\]. `change`, f32 \[n,C,H,W\], is the start's
    /// perturbation; in L1 its sparsity is a guide only where it is `found` by an earlier climb.
    pub(super) fn new(plan: Plan, losses: &Tensor, change: &Tensor, found: bool) -> tch::Result<Self> {
        let Plan { ball: Ball { norm, eps }, steps, rho } = plan;
        let (rule, longest) = match norm {
            Norm::Linf | Norm::L2 => {
                let rule = Rule::Halving {
                    norm,
                    rho,
                    last_loss: losses.f_zeros_like()?,
                    rises: losses.f_zeros_like()?,
                    checked_loss: losses.shallow_clone(),
                    halved: losses.f_ones_like()?.f_to_kind(Kind::Bool)?,
                };
                (rule, 2.0 * eps)
            }
            Norm::L1 => {
                let values = values_per_image(change);
                let (support, share) = if found {
                    let support = changed_values(change)?;
                    let share = support.f_div_scalar(values * L1_THINNING)?;
                    (support, share)
                } else {
                    (losses.f_full_like(values)?, losses.f_full_like(L1_FIRST_SHARE)?)
                };
                (Rule::Sparse { longest: eps, support, share }, eps)
            }
        };
        Ok(Self { step_size: losses.f_full_like(longest)?, rule, schedule: Schedule::new(norm, steps) })
    }

    /// What it keeps per example.
    pub(super) fn state(&mut self) -> Vec<&mut Tensor> {
        let mut state = vec![&mut self.step_size];
        match &mut self.rule {
            Rule::Halving { last_loss, rises, checked_loss, halved, .. } => {
                state.extend([last_loss, rises, checked_loss, halved]);
            }
            Rule::Sparse { support, share, .. } => state.extend([support, share]),
        }
        state
    }

    /// Directions of length 1 in the ball's norm, f32 \[n,C,H,W\], that follow these gradients.
    pub(super) fn direction(&self, gradient: &Tensor) -> tch::Result<Tensor> {
        match &self.rule {
            Rule::Halving { norm: Norm::Linf, .. } => gradient.f_sign(),
            Rule::Halving { .. } => gradient.f_div(&per_image(&lengths(gradient, Norm::L2)?.f_add_scalar(TINY)?)?),
            // The signs of the largest gradients.
            Rule::Sparse { share, .. } => {
                let sizes = gradient.f_abs()?;
                let values = values_per_image(gradient);
                let (sorted, _) = sizes.f_flatten(1, -1)?.f_sort(1, false)?;
                let rank = share.f_neg()?.f_add_scalar(1.0)?.f_mul_scalar(values)?.f_clamp(0.0, values - 1.0)?;
                let smallest = sorted.f_gather(1, &rank.f_to_kind(Kind::Int64)?.f_view([-1, 1])?, false)?;
                let signs = gradient.f_sign()?.f_mul(&sizes.f_ge_tensor(&per_image(&smallest)?)?)?;
                signs.f_div(&per_image(&lengths(&signs, Norm::L1)?.f_clamp_min(1.0)?)?)
            }
        }
    }

    /// Learns the losses after a step, the best ones so far (f32 \[n\]) and the change of the best points (f32 \[n,C,H,W\]). At a checkpoint it may set
    /// lengths anew; the answer, bool \[n\], says for whom the climb goes on from the best point.
    pub(super) fn learn(
        &mut self,
        losses: &Tensor,
        best_loss: &Tensor,
        best_change: impl Fn() -> tch::Result<Tensor>,
    ) -> tch::Result<Option<Tensor>> {
        if let Rule::Halving { last_loss, rises, .. } = &mut self.rule {
            *rises = rises.f_add(&losses.f_gt_tensor(last_loss)?)?;
            *last_loss = losses.shallow_clone();
        }
        let Some(window) = self.schedule.tick() else { return Ok(None) };
        let restart = match &mut self.rule {
            Rule::Halving { rho, rises, checked_loss, halved, .. } => {
                let rare = rises.f_le(*rho * f64::from(window))?;
                let stuck = checked_loss.f_ge_tensor(best_loss)?.f_logical_and(&halved.f_logical_not()?)?;
                *halved = rare.f_logical_or(&stuck)?;
                *rises = rises.f_zeros_like()?;
                *checked_loss = best_loss.shallow_clone();
                self.step_size = self.step_size.f_mul_scalar(0.5)?.f_where_self(halved, &self.step_size)?;
                halved.shallow_clone()
            }
            Rule::Sparse { longest, support, share } => {
                let best_change = best_change()?;
                let support_before = std::mem::replace(support, changed_values(&best_change)?);
                *share = support.f_div_scalar(values_per_image(&best_change) * L1_THINNING)?;
                let sparser = support.f_div(&support_before)?.f_lt(L1_SPARSER)?;
                let shorter = self.step_size.f_div_scalar(L1_SHRINKING)?.f_clamp_min(*longest / L1_SHORTEST)?;
                self.step_size = shorter.f_full_like(*longest)?.f_where_self(&sparser, &shorter)?;
                sparser
            }
        };
        Ok(Some(restart))
    }
}

/// How many values are not 0 in each image of f32 \[n,…\]; f32 \[n\].
fn changed_values(change: &Tensor) -> tch::Result<Tensor> {
    change.f_flatten(1, -1)?.f_ne(0.0)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
}

/// Values of one image of f32 \[n,…\].
fn values_per_image(images: &Tensor) -> f64 {
    images.size().iter().skip(1).product::<i64>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(norm: Norm, steps: u32) -> Vec<u32> {
        let mut schedule = Schedule::new(norm, steps);
        (1..=steps).filter_map(|step| schedule.tick().map(|_| step)).collect()
    }

    #[test]
    fn checkpoints_are_those_of_the_papers() {
        assert_eq!(windows(Norm::Linf, 100), [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(windows(Norm::L2, 100), windows(Norm::Linf, 100));
        assert_eq!(windows(Norm::Linf, 4), [1, 2, 3, 4]);
        assert_eq!(windows(Norm::L1, 30), (1..=30).collect::<Vec<_>>());
        assert_eq!(windows(Norm::L1, 100), (1..=25).map(|window| 4 * window).collect::<Vec<_>>());
    }
}
