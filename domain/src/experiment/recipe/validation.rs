//! Choosing the best epoch.

use serde::{Deserialize, Serialize};

/// Examples of the train split that are kept from training; the weights of the epoch that does best on them are the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// How many.
    pub held_out: HeldOut,
    /// Which: drawn from this seed, class by class in proportion. Runs of all seeds share them.
    pub seed: u64,
    /// What the best epoch is best in; of equals the earliest.
    pub select_by: Criterion,
}

/// Number of examples kept from training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOut {
    /// This share of the split, in (0,1).
    Share(f64),
    /// So many.
    Examples(u32),
}

/// What is measured on the examples kept from training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Accuracy on the images as they are: the highest.
    Accuracy,
    /// Share of images classified right before and after the recipe's inner attack, which climbs the cross-entropy: the highest.
    RobustAccuracy,
    /// Cross-entropy on the images as they are: the lowest.
    Loss,
}

impl Validation {
    /// Examples kept from training, of a split of so many.
    pub fn examples(&self, split: u32) -> u32 {
        match self.held_out {
            HeldOut::Share(share) => (f64::from(split) * share).round() as u32,
            HeldOut::Examples(examples) => examples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_whole_examples() {
        let of = |held_out, split| Validation { held_out, seed: 0, select_by: Criterion::Accuracy }.examples(split);
        assert_eq!((of(HeldOut::Share(0.1), 96), of(HeldOut::Examples(7), 96)), (10, 7));
    }
}
