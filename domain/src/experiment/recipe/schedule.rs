//! How the learning rate moves.

use serde::{Deserialize, Serialize};

/// Learning rate over the steps: a linear warm-up from zero, then a decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Share of the steps that warm up, in [0,1).
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
}

impl Schedule {
    /// Learning rate of step `step` of `steps` (counted from 0) for a peak of `peak`.
    pub fn learning_rate(&self, peak: f64, step: u32, steps: u32) -> f64 {
        let warmup_steps = (f64::from(steps) * self.warmup).round();
        let step = f64::from(step);
        if step < warmup_steps {
            return peak * (step + 1.0) / warmup_steps;
        }
        match self.decay {
            Decay::Constant => peak,
            Decay::Cosine { final_learning_rate } => {
                let progress = (step - warmup_steps) / (f64::from(steps) - warmup_steps).max(1.0);
                final_learning_rate
                    + (peak - final_learning_rate) * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_to_the_peak_and_falls_along_a_cosine() {
        let schedule = Schedule { warmup: 0.1, decay: Decay::Cosine { final_learning_rate: 0.0 } };
        let rates: Vec<f64> = [0, 9, 10, 55, 99].map(|step| schedule.learning_rate(1.0, step, 100)).to_vec();
        assert_eq!(rates[..3], [0.1, 1.0, 1.0]);
        assert!((rates[3] - 0.5).abs() < 1e-12 && rates[4] < 1e-3, "{rates:?}");
    }
}
