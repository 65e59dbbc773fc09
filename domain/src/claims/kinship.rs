//! Whether fine-tuned models have more in common with what they started from than with their standard twins.

use std::collections::BTreeMap;

use super::comparison::{Basis, Comparison, Outcome, Side};
use super::evaluation::Measure;
use super::questions::{Arm, models, twins};
use crate::analyses::AnalysisRow;
use crate::statistics::paired::over_seeds;
use crate::sweep::Sweep;

/// Heads are as different as the classes they were made for.
const HEAD: &str = "logits";
/// What an analysis of two models tells of what they have in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bond {
    /// Linear CKA of their layers: it needs no threshold, and is defined however few points there are.
    Likeness,
    /// How often one perturbation of all images, crafted on the other model, changes what the fine-tuned one predicts.
    UniversalPerturbation,
}

impl Bond {
    /// Method and measure of the rows that tell it.
    const fn of_rows(self) -> (&'static str, &'static str) {
        match self {
            Self::Likeness => ("similarity", "cka"),
            Self::UniversalPerturbation => ("uap", "received"),
        }
    }

    const fn measure(self) -> Measure {
        match self {
            Self::Likeness => Measure::Cka,
            Self::UniversalPerturbation => Measure::Fooled,
        }
    }

    /// What one pair of models leaves open: rounding of activations, or one example more or less.
    fn step(self, examples: u32) -> f64 {
        match self {
            Self::Likeness => 1e-4,
            Self::UniversalPerturbation => 1.0 / f64::from(examples.max(1)),
        }
    }
}

/// By layer and place, of one model and one that it is compared with.
type Values<'a> = BTreeMap<(&'a str, Option<u64>), f64>;

/// What could be compared, and what the tests say, not yet decided.
pub(super) struct Found {
    pub(super) comparisons: Vec<Comparison>,
    /// Of models of a single seed.
    pub(super) untested: usize,
}

/// One comparison for each data set, model and way of fine-tuning of which both bonds are known: the mean over the layers but the logits, and over
/// places.
pub(super) fn compare(sweep: &Sweep, rows: &[AnalysisRow], bond: Bond) -> Found {
    let (method, measure) = bond.of_rows();
    let rows: Vec<&AnalysisRow> =
        rows.iter().filter(|row| row.method == method && row.measure == measure && row.layer != HEAD).collect();
    let mut found = Found { comparisons: Vec::new(), untested: 0 };
    for [dataset, model] in models(sweep) {
        for way in twins(sweep) {
            let of_seed =
                |seed: &u64| way.against.iter().find_map(|twin| pair(&rows, [dataset, model], way.first, *twin, *seed));
            let pairs: Vec<Pair<'_>> = sweep.seeds.iter().filter_map(of_seed).collect();
            match comparison(&pairs, [dataset, model], way.first, bond) {
                Some(comparison) => found.comparisons.push(comparison),
                None if pairs.is_empty() => {}
                None => found.untested += 1,
            }
        }
    }
    found
}

/// Both bonds of a fine-tuned model of one seed.
struct Pair<'a> {
    twin: Arm<'a>,
    examples: u32,
    to_start: f64,
    to_twin: f64,
}

fn pair<'a>(
    rows: &[&AnalysisRow],
    place: [&str; 2],
    (init, recipe): Arm<'a>,
    twin: Arm<'a>,
    seed: u64,
) -> Option<Pair<'a>> {
    let against = format!("{} · {} · seed {seed}", twin.0.name, twin.1.name);
    let of = |against: &str| {
        let mut examples = 0;
        let mut values = Values::new();
        for row in rows.iter().filter(|row| {
            [row.dataset.as_str(), row.backbone.as_str()] == place
                && (&row.init, &row.recipe, row.seed) == (&init.name, &recipe.name, seed)
                && row.against == against
        }) {
            examples = row.examples;
            values.insert((&row.layer, row.x.map(f64::to_bits)), row.value);
        }
        (values, examples)
    };
    let ((start, examples), (other, _)) = (of("start"), of(&against));
    if start.is_empty() || !start.keys().eq(other.keys()) {
        return None;
    }
    let mean = |values: &Values<'_>| values.values().sum::<f64>() / values.len() as f64;
    Some(Pair { twin, examples, to_start: mean(&start), to_twin: mean(&other) })
}

fn comparison(
    pairs: &[Pair<'_>],
    [dataset, backbone]: [&str; 2],
    (init, recipe): Arm<'_>,
    bond: Bond,
) -> Option<Comparison> {
    let examples = pairs.iter().map(|pair| pair.examples).min()?;
    let differences: Vec<f64> = pairs.iter().map(|pair| pair.to_start - pair.to_twin).collect();
    let difference = over_seeds(&differences, bond.step(examples))?;
    let twin = pairs.first()?.twin;
    let mean = |of: fn(&Pair<'_>) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let side = |to: String| Side { init: init.name.clone(), recipe: recipe.name.clone(), attack: to };
    Some(Comparison {
        dataset: dataset.to_owned(),
        backbone: backbone.to_owned(),
        norm: String::new(),
        eps: String::new(),
        first: side("its start".to_owned()),
        second: side(format!("{} · {}", twin.0.name, twin.1.name)),
        measure: bond.measure(),
        basis: Basis::Seeds { seeds: pairs.len(), examples },
        shares: [mean(|pair| pair.to_start), mean(|pair| pair.to_twin)],
        difference,
        adjusted_p_value: 1.0,
        outcome: Outcome::Undecided,
    })
}
