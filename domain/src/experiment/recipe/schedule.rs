//! How the learning rate moves.

use serde::{Deserialize, Serialize};

/// Learning rate over the steps: a linear warm-up from zero, then a decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Share of the steps that warm up, in [0,1); 0 where the decay rises by itself.
    pub warmup: f64,
    /// What follows.
    pub decay: Decay,
}

/// Learning rate after the warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// Half a cosine, per step, down to `final_learning_rate`.
    Cosine {
        /// Learning rate after the last step.
        final_learning_rate: f64,
    },
    /// Multiplied by `gamma` after whole epochs, as PyTorch's `StepLR` and `MultiStepLR`.
    Step {
        /// When.
        drops: Drops,
        /// Above 0, at most 1.
        gamma: f64,
    },
    /// Up half a cosine to the peak and down another, per step, as PyTorch's `OneCycleLR` with cosine annealing (Smith & Topin, arXiv 1708.07120);
    /// the momentum stays as it is.
    OneCycle {
        /// Share of the steps that rise, in [0,1].
        pct_start: f64,
        /// The first rate is the peak divided by this.
        div_factor: f64,
        /// The last rate is the first divided by this.
        final_div_factor: f64,
    },
}

/// Epochs after which a [`Decay::Step`] drops the rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drops {
    /// After every so many.
    Every(u32),
    /// After so many epochs each, ascending.
    Milestones(Vec<u32>),
}

impl Drops {
    /// How often the rate has dropped in the epoch of this number, counted from 0.
    fn before(&self, epoch: u32) -> u32 {
        match self {
            Self::Every(epochs) => epoch / (*epochs).max(1),
            Self::Milestones(epochs) => epochs.iter().map(|milestone| u32::from(*milestone <= epoch)).sum(),
        }
    }
}

/// The length of a training in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// All of them.
    pub total: u32,
    /// Those of a whole epoch.
    pub per_epoch: u32,
}

impl Schedule {
    /// Learning rate of step `step` (counted from 0) for a peak of `peak`.
    pub fn learning_rate(&self, peak: f64, step: u32, steps: Steps) -> f64 {
        let total = f64::from(steps.total);
        let warmup_steps = (total * self.warmup).round();
        let epoch = step / steps.per_epoch.max(1);
        let step = f64::from(step);
        if step < warmup_steps {
            return peak * (step + 1.0) / warmup_steps;
        }
        match &self.decay {
            Decay::Constant => peak,
            Decay::Cosine { final_learning_rate } => {
                cosine(peak, *final_learning_rate, (step - warmup_steps) / (total - warmup_steps).max(1.0))
            }
            Decay::Step { drops, gamma } => peak * gamma.powf(drops.before(epoch).into()),
            Decay::OneCycle { pct_start, div_factor, final_div_factor } => {
                let (first, top, last) = (peak / div_factor, pct_start * total - 1.0, total - 1.0);
                if step <= top && top > 0.0 {
                    cosine(first, peak, step / top)
                } else if last > top {
                    cosine(peak, first / final_div_factor, (step - top) / (last - top))
                } else {
                    peak
                }
            }
        }
    }
}

/// From one value to another along half a cosine; `progress` in [0,1].
fn cosine(from: f64, to: f64, progress: f64) -> f64 {
    to + (from - to) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNDRED: Steps = Steps { total: 100, per_epoch: 10 };

    fn rates(warmup: f64, decay: Decay, steps: &[u32]) -> Vec<f64> {
        let schedule = Schedule { warmup, decay };
        steps.iter().map(|step| schedule.learning_rate(1.0, *step, HUNDRED)).collect()
    }

    #[test]
    fn the_learning_rate_warms_up_to_the_peak_and_falls_along_a_cosine() {
        let rates = rates(0.1, Decay::Cosine { final_learning_rate: 0.0 }, &[0, 9, 10, 55, 99]);
        assert_eq!(rates[..3], [0.1, 1.0, 1.0]);
        assert!((rates[3] - 0.5).abs() < 1e-12 && rates[4] < 1e-3, "{rates:?}");
    }

    #[test]
    fn a_step_schedule_drops_after_whole_epochs_the_warm_up_included() {
        let every = Decay::Step { drops: Drops::Every(3), gamma: 0.5 };
        assert_eq!(rates(0.0, every, &[0, 29, 30, 59, 60, 99]), [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]);
        let milestones = Decay::Step { drops: Drops::Milestones(vec![1, 5]), gamma: 0.5 };
        assert_eq!(rates(0.2, milestones, &[9, 20, 49, 50]), [0.5, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn one_cycle_is_finite_however_short_a_part_of_it_is() {
        for (pct_start, total) in [(0.0, 5), (1.0, 5), (0.3, 1), (0.1, 10), (0.3, 2)] {
            let decay = Decay::OneCycle { pct_start, div_factor: 25.0, final_div_factor: 1e4 };
            let schedule = Schedule { warmup: 0.0, decay };
            for step in 0..total {
                let rate = schedule.learning_rate(1.0, step, Steps { total, per_epoch: 1 });
                assert!((4e-6..=1.0).contains(&rate), "{pct_start} of {total}: {rate} at {step}");
            }
        }
    }
}
