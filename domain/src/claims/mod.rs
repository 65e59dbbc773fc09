//! The study's claims and the controls, each decided for a sweep by a declared test.
//!
//! A comparison holds two ways of training (or two attacks) against each other on one data set and model, under one attack at one ε, paired by seed.
//! With two or more seeds the seed is the unit: the paired t test and its interval speak about other seeds on the same test examples. With one seed the
//! example is the unit: the exact McNemar test and Tango's interval speak about other examples and the same two models. [`RULE`] says how comparisons
//! come to a verdict. Every claim can come out against the study.

mod capacity;
mod comparison;
mod evaluation;
mod kinship;
mod overall;
mod questions;
mod roles;
mod rows;
#[cfg(test)]
mod tests;
mod ways;

use comparison::Found;
use kinship::Bond;

pub use comparison::{Basis, Comparison, Outcome, Side};
pub use evaluation::{Evaluation, Examples, Measure};
pub use overall::Overall;
pub use roles::Start;

use crate::analyses::AnalysisRow;
use crate::results::ResultRow;
use crate::statistics::paired::holm;
use crate::sweep::Sweep;

/// Adjusted p-values below this decide.
pub const LEVEL: f64 = 0.05;

/// How a verdict is found, in words.
pub const RULE: &str = "A comparison is decided where its two-sided p-value, adjusted by Holm for the number of comparisons of its claim, is below \
0.05: it holds where the difference has the claimed sign, and fails where it has the other. A claim holds (fails) for the sweep where at least one \
comparison holds (fails) and none is decided the other way, is mixed where both occur, and is undecided at this sample size where nothing is decided. \
Comparisons over two or more seeds use the paired t test with the seed as the unit, and speak about other seeds on the same test examples; comparisons \
of one seed use the exact McNemar test over its examples with Tango's score interval, and speak about other examples and the same two models. The \
intervals are 95 % each, not adjusted. Beside a verdict stands the mean over the claim's comparisons, a single paired t test over what each seed gives in the \
mean: whether the claim is right on average over the settings of this sweep. It decides no verdict.";

/// What a sweep says about one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its short name.
    pub id: &'static str,
    /// What is claimed.
    pub statement: &'static str,
    /// What a sweep needs for it.
    pub needs: &'static str,
    /// The sign that the differences are claimed to have.
    pub claimed: Sign,
    /// What was compared, in the order of the sweep.
    pub comparisons: Vec<Comparison>,
    /// Comparisons that no test could be made of: without the seeds or the outcomes per example that it takes, or with nothing right before the attack.
    pub untested: usize,
    /// What follows for the sweep.
    pub verdict: Verdict,
}

/// The sign of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The first is higher.
    Positive,
    /// The first is lower.
    Negative,
}

/// What a sweep says about a claim, by [`RULE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Decided for the claim somewhere and nowhere against it.
    Holds,
    /// The other way round.
    Fails,
    /// Decided for the claim somewhere and against it elsewhere.
    Mixed,
    /// Nothing is decided.
    Undecided,
    /// Nothing could be compared.
    NotTested,
}

impl Verdict {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Mixed => "mixed: holds in some comparisons, fails in others",
            Self::Undecided => "undecided at this sample size",
            Self::NotTested => "not tested by this sweep",
        }
    }

    fn of(comparisons: &[Comparison]) -> Self {
        let any = |outcome: Outcome| comparisons.iter().any(|comparison| comparison.outcome == outcome);
        match (any(Outcome::Holds), any(Outcome::Fails)) {
            _ if comparisons.is_empty() => Self::NotTested,
            (true, true) => Self::Mixed,
            (true, false) => Self::Holds,
            (false, true) => Self::Fails,
            (false, false) => Self::Undecided,
        }
    }
}

impl Claim {
    /// The mean over its comparisons, tested once; none for fewer than two over the same seeds.
    pub fn overall(&self) -> Option<Overall> {
        overall::overall(&self.comparisons, self.claimed)
    }

    /// Comparisons that came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.comparisons.iter().filter(|comparison| comparison.outcome == outcome).count()
    }
}

/// What a sweep says about each claim and control, from the evaluations and analyses that are there; in the order of their names, controls last.
pub fn claims(sweep: &Sweep, evaluations: &[Evaluation], analyses: &[AnalysisRow]) -> Vec<Claim> {
    let answered = questions::ask(sweep, evaluations).into_iter().map(decide);
    let mut found: Vec<Claim> =
        answered.chain(kinship(sweep, analyses)).chain([capacity(sweep, evaluations)]).collect();
    found.sort_by_key(|claim| (claim.id.starts_with('C'), claim.id));
    found
}

/// What fine-tuning keeps: its features, and their weakness.
fn kinship(sweep: &Sweep, analyses: &[AnalysisRow]) -> [Claim; 2] {
    let claim = |id, statement, needs, bond| {
        let Found { comparisons, untested } = kinship::compare(sweep, analyses, bond);
        let (claimed, verdict) = (Sign::Positive, Verdict::NotTested);
        decided(Claim { id, statement, needs, claimed, comparisons, untested, verdict })
    };
    [
        claim(
            "P3",
            "The fine-tuned model is closer to what it started from than to its standard twin (linear CKA, mean over layers)",
            "similarity analyses of the fine-tuned model with its start and with its standard twin",
            Bond::Likeness,
        ),
        claim(
            "P4",
            "A universal perturbation crafted on what the fine-tuned model started from fools it more often than one crafted on its standard twin",
            "uap analyses of the fine-tuned model with its start and with its standard twin, at the same ε",
            Bond::UniversalPerturbation,
        ),
    ]
}

/// What larger networks lose to pre-training.
fn capacity(sweep: &Sweep, evaluations: &[Evaluation]) -> Claim {
    let Found { comparisons, untested } = capacity::compare(sweep, evaluations);
    decided(Claim {
        id: "P6a",
        statement: "The larger of two networks loses more AAI to pre-training (the sign is this project's hypothesis, not a finding of the study)",
        needs: "two networks of different size, each fine-tuned and from scratch by the same recipes, at two or more seeds",
        claimed: Sign::Negative,
        comparisons,
        untested,
        verdict: Verdict::NotTested,
    })
}

/// Every evaluation of a fine-tuned model beside that of its standard twin: the same seed under the same attack at the same ε.
pub fn twins<'a>(sweep: &'a Sweep, evaluations: &'a [Evaluation]) -> Vec<[&'a ResultRow; 2]> {
    let cells = questions::of_twins(sweep, evaluations);
    cells.iter().flat_map(|cell| &cell.pairs).map(|pair| [&pair.first.row, &pair.second.row]).collect()
}

fn decide(question: questions::Question<'_>) -> Claim {
    let asked = question.cells.len();
    let comparisons: Vec<Comparison> =
        question.cells.iter().filter_map(|cell| cell.compare(question.measure)).collect();
    decided(Claim {
        id: question.id,
        statement: question.statement,
        needs: question.needs,
        claimed: question.claimed,
        untested: asked - comparisons.len(),
        verdict: Verdict::NotTested,
        comparisons,
    })
}

/// By [`RULE`].
fn decided(mut claim: Claim) -> Claim {
    let p_values: Vec<f64> = claim.comparisons.iter().map(|comparison| comparison.difference.p_value).collect();
    for (comparison, adjusted) in claim.comparisons.iter_mut().zip(holm(&p_values)) {
        comparison.decide(adjusted, claim.claimed);
    }
    claim.verdict = Verdict::of(&claim.comparisons);
    claim
}
