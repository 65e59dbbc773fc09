//! Whether fine-tuned models have more in common with what they started from than with their standard twins.

use std::collections::BTreeMap;

use super::comparison::{Basis, Comparison, Found, Outcome, Side};
use super::evaluation::Measure;
use super::rows::models;
use super::ways::{Arm, twins};
use crate::analyses::AnalysisRow;
use crate::experiment::AnalysisMethod;
use crate::statistics::paired::over_seeds;
use crate::sweep::{Against, AnalysisSection, Sweep};

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
    /// The measure of the rows that tell it; none where a method tells something else.
    const fn told_by(self, method: &AnalysisMethod) -> Option<&'static str> {
        match (self, method) {
            (Self::Likeness, AnalysisMethod::Similarity { .. }) => Some("cka"),
            (Self::UniversalPerturbation, AnalysisMethod::Uap { .. }) => Some("received"),
            _ => None,
        }
    }

    const fn measure(self) -> Measure {
        match self {
            Self::Likeness => Measure::Cka,
            Self::UniversalPerturbation => Measure::Fooled,
        }
    }
}

/// By layer and place, of one model and one that it is compared with.
type Values<'a> = BTreeMap<(&'a str, Option<u64>), f64>;

/// The same question, asked of models and their starts and of models and their twins.
#[derive(Clone, Copy)]
struct Asked<'a> {
    start: &'a AnalysisSection,
    twin: &'a AnalysisSection,
    measure: &'static str,
    bond: Bond,
}

/// Sections that differ in what runs are compared with and nothing else that a number depends on.
fn asked(sweep: &Sweep, bond: Bond) -> Vec<Asked<'_>> {
    let against_start = |section: &AnalysisSection| section.against.as_ref().map(|of| of.value == Against::Start);
    let examples = |section: &AnalysisSection| section.examples.as_ref().map(|examples| examples.value);
    let mut found = Vec::new();
    for start in sweep.analyses.iter().filter(|section| against_start(section) == Some(true)) {
        let Some(measure) = bond.told_by(&start.method) else { continue };
        let alike = |twin: &&AnalysisSection| {
            against_start(twin) == Some(false) && twin.method == start.method && examples(twin) == examples(start)
        };
        found.extend(sweep.analyses.iter().filter(alike).map(|twin| Asked { start, twin, measure, bond }));
    }
    found
}

/// One comparison for each data set, model and way of fine-tuning of which both bonds are known, and each pair of sections that ask for them: the mean
/// over the layers but the logits.
pub(super) fn compare(sweep: &Sweep, rows: &[AnalysisRow], bond: Bond) -> Found {
    let mut found = Found::default();
    for asked in asked(sweep, bond) {
        for [dataset, model] in models(sweep) {
            for way in twins(sweep) {
                let run = Run { place: [dataset, model], arm: way.first };
                let of_seed = |seed: &u64| way.against.iter().find_map(|twin| asked.pair(rows, run, *twin, *seed));
                let pairs: Vec<Pair<'_>> = sweep.seeds.iter().filter_map(of_seed).collect();
                match asked.comparison(&pairs, run) {
                    Some(comparison) => found.comparisons.push(comparison),
                    None if pairs.is_empty() => {}
                    None => found.untested += 1,
                }
            }
        }
    }
    found
}

/// A fine-tuned model of any seed.
#[derive(Clone, Copy)]
struct Run<'a> {
    /// Data set and model.
    place: [&'a str; 2],
    arm: Arm<'a>,
}

/// Both bonds of a fine-tuned model of one seed.
struct Pair<'a> {
    seed: u64,
    twin: Arm<'a>,
    /// Of each of the two.
    examples: u32,
    to_start: f64,
    to_twin: f64,
}

impl Asked<'_> {
    fn pair<'a>(&self, rows: &[AnalysisRow], run: Run<'_>, twin: Arm<'a>, seed: u64) -> Option<Pair<'a>> {
        let against = format!("{} · {} · seed {seed}", twin.0.name, twin.1.name);
        let of = |section: &AnalysisSection, against: &str| {
            let wanted = rows.iter().filter(|row| {
                row.analysis == section.name
                    && [row.dataset.as_str(), row.backbone.as_str()] == run.place
                    && (&row.init, &row.recipe, row.seed) == (&run.arm.0.name, &run.arm.1.name, seed)
                    && row.against == against
                    && row.measure == self.measure
                    && row.layer != HEAD
            });
            let (mut values, mut examples) = (Values::new(), 0);
            for row in wanted {
                examples = row.examples;
                values.insert((row.layer.as_str(), row.x.map(f64::to_bits)), row.value);
            }
            (values, examples)
        };
        let ((start, examples), (other, _)) = (of(self.start, "start"), of(self.twin, &against));
        if start.is_empty() || !start.keys().eq(other.keys()) {
            return None;
        }
        let mean = |values: &Values<'_>| values.values().sum::<f64>() / values.len() as f64;
        Some(Pair { seed, twin, examples: self.shown(examples), to_start: mean(&start), to_twin: mean(&other) })
    }

    /// Of so many examples, those that a number is about: nothing is said of those that a perturbation was crafted on.
    fn shown(&self, examples: u32) -> u32 {
        match &self.start.method {
            AnalysisMethod::Uap { craft_examples, .. } => {
                examples.saturating_sub(craft_examples.unwrap_or(examples / 2))
            }
            _ => examples,
        }
    }

    /// What one pair of models leaves open: rounding of activations, or one example more or less.
    fn step(&self, examples: u32) -> f64 {
        match self.bond {
            Bond::Likeness => 1e-4,
            Bond::UniversalPerturbation => 1.0 / f64::from(examples.max(1)),
        }
    }

    fn comparison(&self, pairs: &[Pair<'_>], run: Run<'_>) -> Option<Comparison> {
        let examples = pairs.iter().map(|pair| pair.examples).min()?;
        let differences: Vec<f64> = pairs.iter().map(|pair| pair.to_start - pair.to_twin).collect();
        let difference = over_seeds(&differences, self.step(examples))?;
        let twin = pairs.first()?.twin;
        let mean = |of: fn(&Pair<'_>) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let (init, recipe) = run.arm;
        let side = |to: String| Side {
            backbone: run.place[1].to_owned(),
            init: init.name.clone(),
            recipe: recipe.name.clone(),
            attack: to,
        };
        Some(Comparison {
            dataset: run.place[0].to_owned(),
            norm: String::new(),
            eps: String::new(),
            first: side("its start".to_owned()),
            second: side(format!("{} · {}", twin.0.name, twin.1.name)),
            measure: self.bond.measure(),
            basis: Basis::Seeds { seeds: pairs.len(), examples },
            shares: [mean(|pair| pair.to_start), mean(|pair| pair.to_twin)],
            difference,
            by_seed: pairs.iter().map(|pair| pair.seed).zip(differences).collect(),
            adjusted_p_value: 1.0,
            outcome: Outcome::Undecided,
        })
    }
}
