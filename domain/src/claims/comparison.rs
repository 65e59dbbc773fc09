//! One comparison and its test.

use super::Sign;
use super::evaluation::{Measure, Measured, Pair};
use crate::experiment::{Epsilon, Norm};
use crate::results::ResultRow;
use crate::statistics::paired::{Difference, over_examples, over_seeds};

/// One of the two that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Name of the attack.
    pub attack: String,
}

impl Side {
    pub(super) fn of(row: &ResultRow) -> Self {
        let ResultRow { backbone, init, recipe, attack, .. } = row;
        Self { backbone: backbone.clone(), init: init.clone(), recipe: recipe.clone(), attack: attack.clone() }
    }
}

/// Two ways of training, two attacks or two networks, held against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Name of the data set.
    pub dataset: String,
    /// Norm of the attack.
    pub norm: String,
    /// Its radius, as written.
    pub eps: String,
    /// What the claim is about.
    pub first: Side,
    /// What it is held against.
    pub second: Side,
    /// What is compared.
    pub measure: Measure,
    /// What the test counts.
    pub basis: Basis,
    /// The measure of both: means over the seeds, or shares of the examples of the test.
    pub shares: [f64; 2],
    /// First minus second.
    pub difference: Difference,
    /// The same by seed, where the seed is the unit; empty where the example is.
    pub by_seed: Vec<(u64, f64)>,
    /// The p-value, adjusted for the number of comparisons of the claim.
    pub adjusted_p_value: f64,
    /// What follows.
    pub outcome: Outcome,
}

/// What a test counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Seeds, each a difference on the same test examples.
    Seeds {
        /// How many.
        seeds: usize,
        /// Examples of each; the fewest, where evaluations stopped early or the inputs are those that both get right.
        examples: u32,
    },
    /// Examples of one seed.
    Examples {
        /// How many; of a decline ratio and of matched AAI, those that both get right before the attack.
        examples: u64,
        /// Of these, the ones that the first alone has: right, or for a decline ratio fallen.
        only_first: u64,
        /// The ones that the second alone has.
        only_second: u64,
    },
}

/// What a comparison says of its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is as claimed.
    Holds,
    /// It is the other way round.
    Fails,
    /// The test decides nothing.
    Undecided,
}

impl Outcome {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Undecided => "undecided",
        }
    }
}

impl Comparison {
    pub(super) fn decide(&mut self, adjusted_p_value: f64, claimed: Sign) {
        self.adjusted_p_value = adjusted_p_value;
        self.outcome = Outcome::of(&self.difference, adjusted_p_value, claimed);
    }
}

/// What could be compared, and what the tests say, not yet decided.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) comparisons: Vec<Comparison>,
    /// How many more could not be tested.
    pub(super) untested: usize,
}

/// What can be compared: the same seeds on either side.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    /// One per seed; at least one.
    pub(super) pairs: Vec<Pair<'a>>,
}

impl Cell<'_> {
    /// Examples per seed; the fewest, where evaluations stopped early.
    pub(super) fn examples(&self) -> u32 {
        self.pairs.iter().map(Pair::examples).min().unwrap_or_default()
    }

    /// Whether its attack moves pixels by more than this, in [0,1].
    pub(super) fn reaches_beyond(&self, amplitude: f64) -> bool {
        let beyond = |row: &ResultRow| {
            row.norm == Norm::Linf.name() && row.eps.parse().is_ok_and(|eps: Epsilon| eps.value() > amplitude)
        };
        self.pairs.iter().all(|pair| beyond(&pair.first.row))
    }

    /// The comparison, not yet decided; none where no test can be made.
    pub(super) fn compare(&self, measure: Measure) -> Option<Comparison> {
        let (basis, shares, difference) = self.over_seeds(measure).or_else(|| self.over_examples(measure))?;
        let by_seed = match basis {
            Basis::Seeds { .. } => {
                self.by_seed(measure).map(|(seed, measured)| (seed, measured.difference())).collect()
            }
            Basis::Examples { .. } => Vec::new(),
        };
        let Pair { first, second } = self.pairs.first()?;
        Some(Comparison {
            dataset: first.row.dataset.clone(),
            norm: first.row.norm.clone(),
            eps: first.row.eps.clone(),
            first: Side::of(&first.row),
            second: Side::of(&second.row),
            measure,
            basis,
            shares,
            difference,
            by_seed,
            adjusted_p_value: 1.0,
            outcome: Outcome::Undecided,
        })
    }

    /// The measure of both, of each seed that has it.
    fn by_seed(&self, measure: Measure) -> impl Iterator<Item = (u64, Measured)> + '_ {
        self.pairs.iter().filter_map(move |pair| Some((pair.first.row.seed, pair.measured(measure)?)))
    }

    fn over_seeds(&self, measure: Measure) -> Option<(Basis, [f64; 2], Difference)> {
        let measured: Vec<Measured> = self.by_seed(measure).map(|(_, measured)| measured).collect();
        let differences: Vec<f64> = measured.iter().map(Measured::difference).collect();
        let step = measured.iter().map(|measured| measured.step).fold(0.0, f64::max);
        let difference = over_seeds(&differences, step)?;
        let mean = |side: usize| measured.iter().map(|of| of.shares[side]).sum::<f64>() / measured.len() as f64;
        let examples = measured.iter().map(|measured| measured.examples).min()?;
        Some((Basis::Seeds { seeds: measured.len(), examples }, [mean(0), mean(1)], difference))
    }

    fn over_examples(&self, measure: Measure) -> Option<(Basis, [f64; 2], Difference)> {
        let found = self.pairs.iter().find_map(|pair| pair.discordant(measure))?;
        let difference = over_examples(found.only_first, found.only_second, found.examples)?;
        let (examples, only_first, only_second) = (found.examples, found.only_first, found.only_second);
        Some((Basis::Examples { examples, only_first, only_second }, found.shares(), difference))
    }
}
