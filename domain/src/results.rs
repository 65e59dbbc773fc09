//! Rows of the results as people read them, and their summary over seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::mean_and_deviation;

/// One run under one attack. The fields are the columns of the view `results`, in their order; those of CSV and Parquet are the first of them, the
/// [`RESULT_COLUMNS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Identity of the sweep.
    pub sweep: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the attack.
    pub attack: String,
    /// Its norm.
    pub norm: String,
    /// Its radius, as written.
    pub eps: String,
    /// Examples evaluated.
    pub examples: u32,
    /// Of these, right before the attack.
    pub clean_correct: u32,
    /// Of these, right before and after.
    pub robust_correct: u32,
    /// Accuracy on original inputs, in [0,1].
    pub aoi: f64,
    /// Accuracy on adversarial inputs, in [0,1].
    pub aai: f64,
    /// (AOI − AAI) / AOI; none where AOI is 0.
    pub decline_ratio: Option<f64>,
    /// Lower end of the 95 % Wilson interval of AAI.
    pub aai_low: f64,
    /// Upper end.
    pub aai_high: f64,
    /// Width of that interval at which the evaluation was to stop; none if it was to go through all examples.
    pub stop_at_interval: Option<f64>,
    /// Examples that it had to evaluate at most.
    pub examples_asked: u32,
}

impl ResultRow {
    /// Whether it stopped before its last example.
    pub const fn stopped_early(&self) -> bool {
        self.examples < self.examples_asked
    }
}

/// One run under one attack that was not evaluated: an earlier attack of its cascade made it pointless. The fields are the columns of the view
/// `skipped_evaluations`, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// Identity of the sweep.
    pub sweep: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the attack.
    pub attack: String,
    /// Its norm.
    pub norm: String,
    /// Its radius, as written.
    pub eps: String,
    /// Which attack left what.
    pub reason: String,
}

/// Names of the columns of CSV and Parquet, in order.
pub const RESULT_COLUMNS: [&str; 17] = [
    "sweep",
    "dataset",
    "backbone",
    "init",
    "recipe",
    "seed",
    "attack",
    "norm",
    "eps",
    "examples",
    "clean_correct",
    "robust_correct",
    "aoi",
    "aai",
    "decline_ratio",
    "aai_low",
    "aai_high",
];

/// Names of the columns of the view `outcomes`, in order.
pub const OUTCOME_COLUMNS: [&str; 16] = [
    "sweep",
    "dataset",
    "backbone",
    "init",
    "recipe",
    "seed",
    "attack",
    "norm",
    "eps",
    "index",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "clean_loss",
    "adversarial_loss",
    "distance",
];

/// Mean and sample standard deviation over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; none for a single seed.
    pub deviation: Option<f64>,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        mean_and_deviation(values).map(|(mean, deviation)| Self { mean, deviation })
    }
}

/// The rows of the results that differ in their seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SummaryRow {
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Name of the attack.
    pub attack: String,
    /// Its norm.
    pub norm: String,
    /// Its radius, as written.
    pub eps: String,
    /// Seeds, in the order of the rows.
    pub seeds: Vec<u64>,
    /// Examples per seed; the fewest, where evaluations stopped early.
    pub examples: u32,
    /// The most examples of a seed.
    pub most_examples: u32,
    /// Whether the evaluation of any seed stopped before its last example.
    pub stopped_early: bool,
    /// AOI.
    pub aoi: Spread,
    /// AAI.
    pub aai: Spread,
    /// Decline ratio, over the seeds where it is defined.
    pub decline_ratio: Option<Spread>,
}

/// Summarises rows over their seeds, in the order in which each group first appears.
pub fn summarize(rows: &[ResultRow]) -> Vec<SummaryRow> {
    let mut order: BTreeMap<[&str; 7], usize> = BTreeMap::new();
    let mut groups: Vec<Vec<&ResultRow>> = Vec::new();
    for row in rows {
        let key =
            [&row.dataset, &row.backbone, &row.init, &row.recipe, &row.attack, &row.norm, &row.eps].map(String::as_str);
        let index = *order.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[index].push(row);
    }
    groups.iter().filter_map(|group| summary_row(group)).collect()
}

fn summary_row(group: &[&ResultRow]) -> Option<SummaryRow> {
    let values = |of: fn(&ResultRow) -> Option<f64>| group.iter().filter_map(|row| of(row)).collect::<Vec<f64>>();
    let first = *group.first()?;
    Some(SummaryRow {
        dataset: first.dataset.clone(),
        backbone: first.backbone.clone(),
        init: first.init.clone(),
        recipe: first.recipe.clone(),
        attack: first.attack.clone(),
        norm: first.norm.clone(),
        eps: first.eps.clone(),
        seeds: group.iter().map(|row| row.seed).collect(),
        examples: group.iter().map(|row| row.examples).min()?,
        most_examples: group.iter().map(|row| row.examples).max()?,
        stopped_early: group.iter().any(|row| row.stopped_early()),
        aoi: Spread::of(&values(|row| Some(row.aoi)))?,
        aai: Spread::of(&values(|row| Some(row.aai)))?,
        decline_ratio: Spread::of(&values(|row| row.decline_ratio)),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(init: &str, recipe: &str, seed: u64, eps: &str, clean: u32, robust: u32) -> ResultRow {
        let share = |count: u32| f64::from(count) / 100.0;
        ResultRow {
            sweep: "s-00000000".into(),
            dataset: "glyphs".into(),
            backbone: "resnet18-w16".into(),
            init: init.into(),
            recipe: recipe.into(),
            seed,
            attack: "pgd10".into(),
            norm: "linf".into(),
            eps: eps.into(),
            examples: 100,
            clean_correct: clean,
            robust_correct: robust,
            aoi: share(clean),
            aai: share(robust),
            decline_ratio: (clean > 0).then(|| f64::from(clean - robust) / f64::from(clean)),
            aai_low: 0.0,
            aai_high: 1.0,
            stop_at_interval: None,
            examples_asked: 100,
        }
    }

    #[test]
    fn seeds_are_gathered_and_the_order_of_the_sweep_is_kept() {
        let rows = [
            row("scratch", "standard", 0, "8/255", 80, 20),
            row("scratch", "standard", 0, "2/255", 80, 60),
            row("scratch", "standard", 1, "8/255", 90, 30),
            row("scratch", "standard", 1, "2/255", 0, 0),
        ];
        let summary = summarize(&rows);
        assert_eq!(summary.iter().map(|row| row.eps.as_str()).collect::<Vec<_>>(), ["8/255", "2/255"]);
        assert_eq!((summary[0].seeds.as_slice(), summary[0].aai.mean), ([0, 1].as_slice(), 0.25));
        assert_eq!(
            summary[1].decline_ratio,
            Some(Spread { mean: 0.25, deviation: None }),
            "a seed without AOI has no decline ratio"
        );
    }

    #[test]
    fn evaluations_that_stopped_early_are_summarized_with_the_numbers_of_their_examples() {
        let stopped = |seed, examples| ResultRow {
            examples,
            stop_at_interval: Some(0.05),
            examples_asked: 1000,
            ..row("scratch", "standard", seed, "8/255", 80, 20)
        };
        let summary = summarize(&[stopped(0, 512), stopped(1, 256)]);
        assert_eq!((summary[0].examples, summary[0].most_examples, summary[0].stopped_early), (256, 512, true));
        let whole = summarize(&[stopped(0, 1000)]);
        assert_eq!((whole[0].examples, whole[0].stopped_early), (1000, false), "it went through all of them");
    }
}
