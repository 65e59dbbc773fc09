//! What analyses came to, as people read it, and its summary over seeds.

pub mod heat_map;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::results::Spread;

/// A number that an analysis came to. The fields are the columns of the view `analyses`, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisRow {
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
    /// Name of the analysis.
    pub analysis: String,
    /// Its method.
    pub method: String,
    /// What the run was compared with: `start`, or another run; empty where nothing was.
    pub against: String,
    /// Examples on which it was asked: the first so many of the test split.
    pub examples: u32,
    /// What was measured.
    pub measure: String,
    /// The layer of the network; empty where it is about none.
    pub layer: String,
    /// Where along the axis of the analysis; none where it has none.
    pub x: Option<f64>,
    /// The number.
    pub value: f64,
}

/// An image that an analysis left. The fields are the columns of the view `images`, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
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
    /// Name of the analysis.
    pub analysis: String,
    /// What the run was compared with: `start`, or another run; empty where nothing was.
    pub against: String,
    /// What it shows.
    pub image: String,
    /// A PNG file.
    pub png: Vec<u8>,
}

/// Names of the columns of the view `analyses`, in order.
pub const ANALYSIS_COLUMNS: [&str; 14] = [
    "sweep", "dataset", "backbone", "init", "recipe", "seed", "analysis", "method", "against", "examples", "measure",
    "layer", "x", "value",
];

/// The rows that differ in seed and measure alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnalysisSummary {
    /// Name of the analysis.
    pub analysis: String,
    /// Its method.
    pub method: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// What the runs were compared with; seeds are left out where each was compared with its own.
    pub against: String,
    /// The layer.
    pub layer: String,
    /// Where along the axis.
    pub x: Option<f64>,
    /// Examples per seed.
    pub examples: u32,
    /// Seeds.
    pub seeds: usize,
    /// By measure, in the order in which they first appear.
    pub values: Vec<(String, Spread)>,
}

/// Rows of one group, by measure.
type Group<'a> = Vec<(&'a str, Vec<&'a AnalysisRow>)>;

/// Summarises rows over their seeds, in the order in which each group first appears.
pub fn summarize(rows: &[AnalysisRow]) -> Vec<AnalysisSummary> {
    let mut numbers: BTreeMap<_, usize> = BTreeMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        let names = [&row.analysis, &row.dataset, &row.backbone, &row.init, &row.recipe, &row.layer];
        let key = (names, against(row), row.x.map(f64::to_bits), row.examples);
        let number = *numbers.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        let group = &mut groups[number];
        match group.iter_mut().find(|(measure, _)| *measure == row.measure) {
            Some((_, of_measure)) => of_measure.push(row),
            None => group.push((&row.measure, vec![row])),
        }
    }
    groups.iter().filter_map(|group| summary(group)).collect()
}

fn summary(group: &Group<'_>) -> Option<AnalysisSummary> {
    let first = *group.first()?.1.first()?;
    let spread = |(measure, rows): &(&str, Vec<&AnalysisRow>)| {
        let values: Vec<f64> = rows.iter().map(|row| row.value).collect();
        Spread::of(&values).map(|spread| ((*measure).to_owned(), spread))
    };
    Some(AnalysisSummary {
        analysis: first.analysis.clone(),
        method: first.method.clone(),
        dataset: first.dataset.clone(),
        backbone: first.backbone.clone(),
        init: first.init.clone(),
        recipe: first.recipe.clone(),
        against: against(first),
        layer: first.layer.clone(),
        x: first.x,
        examples: first.examples,
        seeds: group.iter().map(|(_, rows)| rows.len()).max().unwrap_or_default(),
        values: group.iter().filter_map(spread).collect(),
    })
}

/// A place along the axis of an analysis, for people: a radius in pixel space as it is written in a sweep file, `4/255`. Two places are never written alike.
pub fn place(x: f64) -> String {
    const SHORT: usize = 6;
    // What is short was written so. Thousandths of a grey level are finer than anybody asks for.
    let (decimal, levels) = (x.to_string(), (x * 255e3).round() / 1e3);
    if decimal.len() > SHORT && levels / 255.0 == x { format!("{levels}/255") } else { decimal }
}

/// What a run was compared with, without the seed where that is its own.
fn against(row: &AnalysisRow) -> String {
    let own = format!(" · seed {}", row.seed);
    row.against.strip_suffix(&own).unwrap_or(&row.against).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: u64, against: &str, measure: &str, layer: &str, value: f64) -> AnalysisRow {
        AnalysisRow {
            sweep: "s".into(),
            dataset: "glyphs".into(),
            backbone: "resnet18".into(),
            init: "pretrained".into(),
            recipe: "standard".into(),
            seed,
            analysis: "likeness".into(),
            method: "similarity".into(),
            against: against.into(),
            examples: 500,
            measure: measure.into(),
            layer: layer.into(),
            x: None,
            value,
        }
    }

    #[test]
    fn lengths_are_written_in_grey_levels_where_they_are_some_and_no_two_alike() {
        let written = [4.0 / 255.0, 0.5 / 255.0, 0.5, 0.1, 1.0, 0.123_456_789, 1.0 / 3.0].map(place);
        assert_eq!(written, ["4/255", "0.5/255", "0.5", "0.1", "1", "0.123456789", "85/255"]);
        let beside = f64::from_bits((4.0_f64 / 255.0).to_bits() + 1);
        assert_ne!(place(beside), "4/255");
    }

    #[test]
    fn seeds_are_summarised_by_layer_with_a_column_for_each_measure() {
        let rows = [
            row(0, "scratch · standard · seed 0", "cka", "layer1", 0.2),
            row(0, "scratch · standard · seed 0", "svcca", "layer1", 0.4),
            row(1, "scratch · standard · seed 1", "cka", "layer1", 0.6),
            row(1, "scratch · standard · seed 1", "svcca", "layer1", 0.8),
            row(1, "scratch · standard · seed 1", "cka", "layer2", 0.9),
        ];
        let summary = summarize(&rows);
        assert_eq!(summary.len(), 2);
        assert_eq!((summary[0].seeds, summary[1].seeds), (2, 1));
        assert_eq!(summary[0].against, "scratch · standard");
        let means: Vec<(&str, f64)> = summary[0]
            .values
            .iter()
            .map(|(measure, spread)| (measure.as_str(), (spread.mean * 1e9).round() / 1e9))
            .collect();
        assert_eq!(means, [("cka", 0.4), ("svcca", 0.6)]);
    }

    #[test]
    fn a_radius_is_written_as_in_a_sweep_file_and_other_places_as_numbers() {
        let written = [4.0 / 255.0, 0.25 / 255.0, 16.0 / 255.0, 0.5, 2.0, 0.0, -3.0, 0.1].map(place);
        assert_eq!(written, ["4/255", "0.25/255", "16/255", "0.5", "2", "0", "-3", "0.1"]);
    }

    #[test]
    fn runs_that_were_compared_with_one_seed_keep_its_name() {
        let rows = [
            row(1, "scratch · standard · seed 0", "cka", "layer1", 0.2),
            row(2, "scratch · standard · seed 0", "cka", "layer1", 0.4),
        ];
        let summary = summarize(&rows);
        assert_eq!((summary.len(), summary[0].against.as_str()), (1, "scratch · standard · seed 0"));
    }
}
