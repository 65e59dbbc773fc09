//! Fourier heat maps, put together from the numbers that analyses stored.

use super::{AnalysisRow, AnalysisSummary, summarize};

/// The method whose numbers make maps, and what it measures.
const METHOD: &str = "heat-map";
const MEASURE: &str = "error";
/// What the layer of a number is called: its row of the map.
const VERTICAL: &str = "vertical=";

/// Which share of the examples one way of training gets wrong at each frequency: means over its seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Name of the analysis.
    pub analysis: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the model.
    pub backbone: String,
    /// Name of the init.
    pub init: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Seeds.
    pub seeds: usize,
    /// Examples per seed.
    pub examples: u32,
    /// In the order of the rows.
    pub cells: Vec<Cell>,
}

/// A number of a heat map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Frequency along the width, in cycles per image.
    pub horizontal: i64,
    /// Frequency along the height, likewise.
    pub vertical: i64,
    /// Share of the examples that is wrong, in [0,1].
    pub error: f64,
}

/// What the layer of a number is called that stands in this row of a map: its vertical frequency.
pub fn row(vertical: i64) -> String {
    format!("{VERTICAL}{vertical}")
}

/// All maps of a sweep.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeatMaps {
    /// In the order in which each first appears.
    pub maps: Vec<HeatMap>,
    /// Numbers of maps that name no frequency.
    pub unplaced: usize,
}

/// Whether a row is a number of a heat map.
pub fn is_of_heat_map(row: &AnalysisRow) -> bool {
    row.method == METHOD
}

/// The maps among the rows of analyses.
pub fn heat_maps(rows: &[AnalysisRow]) -> HeatMaps {
    let rows: Vec<AnalysisRow> = rows.iter().filter(|row| is_of_heat_map(row)).cloned().collect();
    let mut found = HeatMaps::default();
    for summary in summarize(&rows) {
        let Some(cell) = cell(&summary) else {
            found.unplaced += 1;
            continue;
        };
        match found.maps.iter_mut().find(|map| map.is_of(&summary)) {
            Some(map) => map.cells.push(cell),
            None => found.maps.push(HeatMap::new(&summary, cell)),
        }
    }
    found
}

fn cell(summary: &AnalysisSummary) -> Option<Cell> {
    let horizontal = summary.x.filter(|x| x.fract() == 0.0)? as i64;
    let vertical = summary.layer.strip_prefix(VERTICAL)?.parse().ok()?;
    let (_, spread) = summary.values.iter().find(|(measure, _)| measure == MEASURE)?;
    Some(Cell { horizontal, vertical, error: spread.mean })
}

impl HeatMap {
    fn new(summary: &AnalysisSummary, first: Cell) -> Self {
        Self {
            analysis: summary.analysis.clone(),
            dataset: summary.dataset.clone(),
            backbone: summary.backbone.clone(),
            init: summary.init.clone(),
            recipe: summary.recipe.clone(),
            seeds: summary.seeds,
            examples: summary.examples,
            cells: vec![first],
        }
    }

    fn is_of(&self, summary: &AnalysisSummary) -> bool {
        let AnalysisSummary { analysis, dataset, backbone, init, recipe, examples, .. } = summary;
        [&self.analysis, &self.dataset, &self.backbone, &self.init, &self.recipe]
            == [analysis, dataset, backbone, init, recipe]
            && self.examples == *examples
    }

    /// Its horizontal frequencies, rising.
    pub fn horizontal(&self) -> Vec<i64> {
        rising(self.cells.iter().map(|cell| cell.horizontal))
    }

    /// Its vertical frequencies, rising.
    pub fn vertical(&self) -> Vec<i64> {
        rising(self.cells.iter().map(|cell| cell.vertical))
    }

    /// The number at a frequency.
    pub fn error(&self, horizontal: i64, vertical: i64) -> Option<f64> {
        let at = self.cells.iter().find(|cell| (cell.horizontal, cell.vertical) == (horizontal, vertical));
        at.map(|cell| cell.error)
    }
}

impl HeatMaps {
    /// The smallest and the largest number of all maps; none without any.
    pub fn range(&self) -> Option<(f64, f64)> {
        let mut errors = self.maps.iter().flat_map(|map| &map.cells).map(|cell| cell.error);
        let first = errors.next()?;
        Some(errors.fold((first, first), |(low, high), error| (low.min(error), high.max(error))))
    }
}

fn rising(frequencies: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut all: Vec<i64> = frequencies.collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(init: &str, seed: u64, [vertical, horizontal]: [i64; 2], value: f64) -> AnalysisRow {
        AnalysisRow {
            sweep: "s".into(),
            dataset: "glyphs".into(),
            backbone: "resnet18".into(),
            init: init.into(),
            recipe: "standard".into(),
            seed,
            analysis: "waves".into(),
            method: "heat-map".into(),
            against: String::new(),
            examples: 500,
            measure: "error".into(),
            layer: super::row(vertical),
            x: Some(horizontal as f64),
            value,
        }
    }

    #[test]
    fn each_way_of_training_has_one_map_of_the_means_over_its_seeds() {
        let rows = [
            row("scratch", 0, [-1, 0], 0.2),
            row("scratch", 0, [0, 1], 0.5),
            row("scratch", 1, [-1, 0], 0.4),
            row("scratch", 1, [0, 1], 0.5),
            row("pretrained", 0, [-1, 0], 0.9),
        ];
        let found = heat_maps(&rows);
        assert_eq!((found.maps.len(), found.unplaced), (2, 0));
        let map = &found.maps[0];
        assert_eq!((map.init.as_str(), map.seeds, map.examples), ("scratch", 2, 500));
        assert_eq!((map.horizontal(), map.vertical()), (vec![0, 1], vec![-1, 0]));
        assert!((map.error(0, -1).unwrap() - 0.3).abs() < 1e-12, "{map:?}");
        assert_eq!((map.error(1, 0), map.error(1, -1)), (Some(0.5), None));
        let (low, high) = found.range().unwrap();
        assert!((low - 0.3).abs() < 1e-12 && (high - 0.9).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn numbers_without_a_frequency_are_counted_and_other_analyses_left_alone() {
        let mut rows = [row("scratch", 0, [0, 0], 0.2), row("scratch", 0, [0, 1], 0.2), row("scratch", 0, [0, 2], 0.2)];
        rows[1].layer = "layer1".into();
        rows[2].method = "frequency".into();
        let found = heat_maps(&rows);
        assert_eq!((found.maps[0].cells.len(), found.unplaced), (1, 1));
        assert_eq!(heat_maps(&[]).range(), None);
    }
}
