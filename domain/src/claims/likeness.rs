//! Whether fine-tuned models stay closer to what they started from than they are to their standard twins.

use std::collections::BTreeMap;

use super::comparison::{Basis, Comparison, Outcome, Side};
use super::evaluation::Measure;
use super::questions::{Arm, models, twins};
use crate::analyses::AnalysisRow;
use crate::statistics::paired::over_seeds;
use crate::sweep::Sweep;

/// The measure that is compared: it needs no threshold, and is defined however few points there are.
const MEASURE: &str = "cka";
/// Heads are as different as the classes they were made for.
const HEAD: &str = "logits";
/// What one comparison of activations leaves open by rounding.
const ROUNDING: f64 = 1e-4;

/// By layer, of one model and one that it is compared with.
type Layers<'a> = BTreeMap<&'a str, f64>;

/// What could be compared, and what the tests say, not yet decided.
pub(super) struct Found {
    pub(super) comparisons: Vec<Comparison>,
    /// Of models of a single seed.
    pub(super) untested: usize,
}

/// One comparison for each data set, model and way of fine-tuning of which both similarities are known: linear CKA, its mean over the stages and the
/// pooled features.
pub(super) fn compare(sweep: &Sweep, rows: &[AnalysisRow]) -> Found {
    let mut found = Found { comparisons: Vec::new(), untested: 0 };
    for [dataset, model] in models(sweep) {
        for way in twins(sweep) {
            let of_seed =
                |seed: &u64| way.against.iter().find_map(|twin| pair(rows, [dataset, model], way.first, *twin, *seed));
            let pairs: Vec<Pair<'_>> = sweep.seeds.iter().filter_map(of_seed).collect();
            match comparison(&pairs, [dataset, model], way.first) {
                Some(comparison) => found.comparisons.push(comparison),
                None if pairs.is_empty() => {}
                None => found.untested += 1,
            }
        }
    }
    found
}

/// Both similarities of a fine-tuned model of one seed.
struct Pair<'a> {
    twin: Arm<'a>,
    examples: u32,
    to_start: f64,
    to_twin: f64,
}

fn pair<'a>(
    rows: &[AnalysisRow],
    place: [&str; 2],
    (init, recipe): Arm<'a>,
    twin: Arm<'a>,
    seed: u64,
) -> Option<Pair<'a>> {
    let against = format!("{} · {} · seed {seed}", twin.0.name, twin.1.name);
    let of = |against: &str| {
        let mut examples = 0;
        let mut layers = Layers::new();
        for row in rows.iter().filter(|row| {
            [row.dataset.as_str(), row.backbone.as_str()] == place
                && (&row.init, &row.recipe, row.seed) == (&init.name, &recipe.name, seed)
                && row.against == against
                && row.measure == MEASURE
                && row.layer != HEAD
        }) {
            examples = row.examples;
            layers.insert(&row.layer, row.value);
        }
        (layers, examples)
    };
    let ((start, examples), (other, _)) = (of("start"), of(&against));
    if start.is_empty() || !start.keys().eq(other.keys()) {
        return None;
    }
    let mean = |layers: &Layers<'_>| layers.values().sum::<f64>() / layers.len() as f64;
    Some(Pair { twin, examples, to_start: mean(&start), to_twin: mean(&other) })
}

fn comparison(pairs: &[Pair<'_>], [dataset, backbone]: [&str; 2], (init, recipe): Arm<'_>) -> Option<Comparison> {
    let differences: Vec<f64> = pairs.iter().map(|pair| pair.to_start - pair.to_twin).collect();
    let difference = over_seeds(&differences, ROUNDING)?;
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
        measure: Measure::Cka,
        basis: Basis::Seeds { seeds: pairs.len(), examples: pairs.iter().map(|pair| pair.examples).min()? },
        shares: [mean(|pair| pair.to_start), mean(|pair| pair.to_twin)],
        difference,
        adjusted_p_value: 1.0,
        outcome: Outcome::Undecided,
    })
}
