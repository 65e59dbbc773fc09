//! What a claim comes to in the mean over its comparisons.

use super::comparison::{Basis, Comparison, Outcome};
use super::evaluation::Measure;
use super::{LEVEL, Sign};
use crate::statistics::paired::{Difference, over_seeds_within};

/// The mean over the comparisons of a claim, tested once: whether the claim is right on average over the settings of a sweep. Comparisons of one sweep share
/// models and seeds, so each seed's mean over all of them is one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Overall {
    /// How many comparisons.
    pub comparisons: usize,
    /// Seeds that all of them have.
    pub seeds: usize,
    /// First minus second.
    pub difference: Difference,
    /// What its p-value, which needs no adjustment, says of the claim.
    pub outcome: Outcome,
}

/// None for fewer than two comparisons over seeds, or where they have fewer than two seeds in common.
pub(super) fn overall(comparisons: &[Comparison], claimed: Sign) -> Option<Overall> {
    let over_seeds = || comparisons.iter().filter(|comparison| !comparison.by_seed.is_empty());
    let count = over_seeds().count();
    if count < 2 {
        return None;
    }
    let of_seed = |comparison: &Comparison, seed: u64| {
        comparison.by_seed.iter().find(|(other, _)| *other == seed).map(|(_, difference)| *difference)
    };
    let mean_of = |seed: u64| {
        let differences: Option<Vec<f64>> = over_seeds().map(|comparison| of_seed(comparison, seed)).collect();
        Some(differences?.iter().sum::<f64>() / count as f64)
    };
    let means: Vec<f64> = over_seeds().next()?.by_seed.iter().filter_map(|(seed, _)| mean_of(*seed)).collect();
    let examples = |comparison: &Comparison| match comparison.basis {
        Basis::Seeds { examples, .. } => Some(examples),
        Basis::Examples { .. } => None,
    };
    // No finer than what one example changes in the comparison with the fewest.
    let step = 1.0 / f64::from(over_seeds().filter_map(examples).min()?.max(1));
    let bound = if over_seeds().any(|comparison| comparison.measure == Measure::AaiGap) { 2.0 } else { 1.0 };
    let difference = over_seeds_within(&means, step, bound)?;
    let outcome = Outcome::of(&difference, difference.p_value, claimed);
    Some(Overall { comparisons: count, seeds: means.len(), difference, outcome })
}

impl Outcome {
    /// What a difference with this p-value says of a claimed sign.
    pub(super) fn of(difference: &Difference, p_value: f64, claimed: Sign) -> Self {
        let as_claimed = match claimed {
            Sign::Positive => difference.estimate > 0.0,
            Sign::Negative => difference.estimate < 0.0,
        };
        match as_claimed {
            _ if p_value >= LEVEL => Self::Undecided,
            true => Self::Holds,
            false => Self::Fails,
        }
    }
}
