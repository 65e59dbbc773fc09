//! A row of the results together with what happened to its examples.

use crate::results::ResultRow;

const CLEAN: u8 = 1;
const ROBUST: u8 = 2;

/// A row of the results and, where they are at hand, the outcomes it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The row.
    pub row: ResultRow,
    /// What happened to each example; none where only the counts are known.
    pub examples: Option<Examples>,
}

/// Whether each example of a split was classified right, from the first on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examples(Vec<u8>);

impl Examples {
    /// From labels and predictions, of one length.
    pub fn new(labels: &[u32], clean: &[u32], adversarial: &[u32]) -> Self {
        let example = |(label, (clean, adversarial)): (&u32, (&u32, &u32))| match (clean == label, adversarial == label)
        {
            (true, true) => CLEAN | ROBUST,
            (true, false) => CLEAN,
            (false, _) => 0,
        };
        Self(labels.iter().zip(clean.iter().zip(adversarial)).map(example).collect())
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn first(&self, examples: u32) -> &[u8] {
        &self.0[..self.0.len().min(examples as usize)]
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Accuracy on original inputs.
    Aoi,
    /// Accuracy on adversarial inputs.
    Aai,
    /// (AOI − AAI) / AOI.
    DeclineRatio,
    /// Accuracy under attack on the inputs that both of two models get right before it: AAI at an AOI that is the same for both, 1. It is defined for two
    /// models alone, and known where their outcomes per example are.
    MatchedAai,
    /// AAI of a fine-tuned model minus that of its standard twin. No number of an evaluation.
    AaiGap,
    /// Linear CKA with another model, the mean over layers. No number of an evaluation.
    Cka,
    /// Share of the images whose prediction a universal perturbation changes. No number of an evaluation.
    Fooled,
}

impl Measure {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aoi => "AOI",
            Self::Aai => "AAI",
            Self::DeclineRatio => "DR",
            Self::MatchedAai => "AAI on the inputs both get right",
            Self::AaiGap => "ΔAAI",
            Self::Cka => "CKA",
            Self::Fooled => "fooling rate",
        }
    }

    fn of(self, counts: Counts) -> Option<f64> {
        let share = |part: u32, of: u32| (of > 0).then(|| f64::from(part) / f64::from(of));
        match self {
            Self::Aoi => share(counts.clean, counts.examples),
            Self::Aai => share(counts.robust, counts.examples),
            Self::DeclineRatio => share(counts.clean.saturating_sub(counts.robust), counts.clean),
            Self::MatchedAai | Self::AaiGap | Self::Cka | Self::Fooled => None,
        }
    }

    /// Whether its examples, one by one, are those that both models get right before the attack.
    const fn is_of_matched_examples(self) -> bool {
        matches!(self, Self::DeclineRatio | Self::MatchedAai)
    }

    /// What one example more or less changes.
    fn step(self, counts: Counts) -> f64 {
        let of = if self == Self::DeclineRatio { counts.clean } else { counts.examples };
        1.0 / f64::from(of.max(1))
    }
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    examples: u32,
    clean: u32,
    robust: u32,
}

/// Two evaluations of the same examples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) first: &'a Evaluation,
    pub(super) second: &'a Evaluation,
}

impl Pair<'_> {
    /// Examples that both were evaluated on: where one of them stopped early, the first so many.
    pub(super) fn examples(&self) -> u32 {
        self.first.row.examples.min(self.second.row.examples)
    }

    /// The measure of both; none where it is not defined or not known on the same examples.
    pub(super) fn measured(&self, measure: Measure) -> Option<Measured> {
        if measure == Measure::MatchedAai {
            return self.discordant(measure).map(|found| found.measured());
        }
        self.measured_on(measure, self.examples())
    }

    /// A measure of each alone, on the first so many examples.
    pub(super) fn measured_on(&self, measure: Measure, examples: u32) -> Option<Measured> {
        let (first, second) = (counts(self.first, examples)?, counts(self.second, examples)?);
        let step = measure.step(first).max(measure.step(second));
        Some(Measured { shares: [measure.of(first)?, measure.of(second)?], step, examples })
    }

    /// Both shares, the examples that one of the two alone has, and the examples; none without outcomes.
    ///
    /// For the decline ratio and matched AAI the examples are those that both get right before the attack; for the former, an example has what is counted
    /// if it falls.
    pub(super) fn discordant(&self, measure: Measure) -> Option<Discordant> {
        let examples = self.examples();
        let first = self.first.examples.as_ref()?.first(examples);
        let second = self.second.examples.as_ref()?.first(examples);
        let mut found = Discordant::default();
        for (first, second) in first.iter().zip(second) {
            let has = |example: &u8| match measure {
                Measure::Aoi => example & CLEAN != 0,
                Measure::Aai | Measure::MatchedAai => example & ROBUST != 0,
                Measure::DeclineRatio => example & ROBUST == 0,
                Measure::AaiGap | Measure::Cka | Measure::Fooled => false,
            };
            if !measure.is_of_matched_examples() || first & second & CLEAN != 0 {
                found.add(has(first), has(second));
            }
        }
        (found.examples > 0).then_some(found)
    }
}

/// A measure of two evaluations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub(super) shares: [f64; 2],
    /// What one example more or less changes.
    pub(super) step: f64,
    /// Of which it is the measure.
    pub(super) examples: u32,
}

impl Measured {
    pub(super) fn difference(&self) -> f64 {
        self.shares[0] - self.shares[1]
    }
}

/// Examples by which of two evaluations has something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Discordant {
    pub(super) examples: u64,
    pub(super) both: u64,
    pub(super) only_first: u64,
    pub(super) only_second: u64,
}

impl Discordant {
    fn add(&mut self, first: bool, second: bool) {
        self.examples += 1;
        match (first, second) {
            (true, true) => self.both += 1,
            (true, false) => self.only_first += 1,
            (false, true) => self.only_second += 1,
            (false, false) => {}
        }
    }

    pub(super) fn shares(&self) -> [f64; 2] {
        [self.only_first, self.only_second].map(|alone| (self.both + alone) as f64 / self.examples as f64)
    }

    fn measured(&self) -> Measured {
        let examples = u32::try_from(self.examples).unwrap_or(u32::MAX);
        Measured { shares: self.shares(), step: 1.0 / self.examples.max(1) as f64, examples }
    }
}

fn counts(evaluation: &Evaluation, examples: u32) -> Option<Counts> {
    let row = &evaluation.row;
    if examples == row.examples {
        return Some(Counts { examples, clean: row.clean_correct, robust: row.robust_correct });
    }
    let first = evaluation.examples.as_ref()?.first(examples);
    let count = |bit: u8| first.iter().filter(|example| **example & bit != 0).count() as u32;
    Some(Counts { examples, clean: count(CLEAN), robust: count(ROBUST) })
}
