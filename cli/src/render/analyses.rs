//! What the analyses of a sweep came to.

use std::io::Write as _;

use comfy_table::{CellAlignment, Table};
use gauntlet_domain::analyses::{ANALYSIS_COLUMNS, AnalysisRow, AnalysisSummary, place, summarize};
use gauntlet_domain::results::Spread;

use super::columns::double;
use super::sink::Sink;
use super::tables::{self, align};
use crate::args::AnalysisFormat;

/// Writes rows in the asked format; a table summarises over seeds.
///
/// # Errors
/// The sink takes no bytes.
pub fn write_analyses(rows: &[AnalysisRow], format: AnalysisFormat, mut sink: Sink) -> anyhow::Result<()> {
    match format {
        AnalysisFormat::Table => write_analysis_tables(rows, &mut sink)?,
        AnalysisFormat::Csv => {
            let mut writer = csv::Writer::from_writer(&mut sink);
            writer.write_record(ANALYSIS_COLUMNS)?;
            for row in rows {
                writer.write_record(fields(row))?;
            }
            writer.flush()?;
        }
        AnalysisFormat::Json => {
            serde_json::to_writer_pretty(&mut sink, rows)?;
            writeln!(sink)?;
        }
    }
    sink.finish()
}

/// Writes a table for each analysis, mean ± sample standard deviation over seeds; nothing where there is none.
///
/// # Errors
/// The sink takes no bytes.
pub fn write_analysis_tables(rows: &[AnalysisRow], sink: &mut Sink) -> anyhow::Result<()> {
    let mut analyses: Vec<(String, Vec<AnalysisSummary>)> = Vec::new();
    for row in summarize(rows) {
        match analyses.iter_mut().find(|(name, _)| *name == row.analysis) {
            Some((_, rows)) => rows.push(row),
            None => analyses.push((row.analysis.clone(), vec![row])),
        }
    }
    for (_, rows) in &analyses {
        writeln!(sink, "{}", table(rows))?;
    }
    Ok(())
}

fn fields(row: &AnalysisRow) -> [String; 14] {
    [
        row.sweep.clone(),
        row.dataset.clone(),
        row.backbone.clone(),
        row.init.clone(),
        row.recipe.clone(),
        row.seed.to_string(),
        row.analysis.clone(),
        row.method.clone(),
        row.against.clone(),
        row.examples.to_string(),
        row.measure.clone(),
        row.layer.clone(),
        row.x.map(double).unwrap_or_default(),
        double(row.value),
    ]
}

/// Most measures that have a column each.
const MOST_COLUMNS: usize = 6;

/// The table of one analysis: a column for each measure, or, of many measures along an axis, a row for each and a column for each place.
fn table(rows: &[AnalysisSummary]) -> Table {
    let mut measures: Vec<&str> = Vec::new();
    for (measure, _) in rows.iter().flat_map(|row| &row.values) {
        if !measures.contains(&measure.as_str()) {
            measures.push(measure);
        }
    }
    let has_x = rows.iter().any(|row| row.x.is_some());
    if has_x && measures.len() > MOST_COLUMNS { by_measure(rows, &measures) } else { by_place(rows, &measures, has_x) }
}

const RUN: [&str; 7] = ["analysis", "dataset", "backbone", "init", "recipe", "against", "seeds × examples"];

/// The cells below [`RUN`].
fn run(row: &AnalysisSummary) -> Vec<String> {
    let [analysis, dataset, backbone, init, recipe] =
        [&row.analysis, &row.dataset, &row.backbone, &row.init, &row.recipe].map(String::clone);
    let against = if row.against.is_empty() { "–".to_owned() } else { row.against.clone() };
    vec![analysis, dataset, backbone, init, recipe, against, format!("{} × {}", row.seeds, row.examples)]
}

fn by_place(rows: &[AnalysisSummary], measures: &[&str], has_x: bool) -> Table {
    let has_layer = rows.iter().any(|row| !row.layer.is_empty());
    let mut header = RUN.to_vec();
    header.extend(has_layer.then_some("layer"));
    header.extend(has_x.then_some("at"));
    let numbers: Vec<usize> = (header.len()..header.len() + measures.len()).collect();
    header.extend(measures);
    let mut table = tables::new(&header);
    for row in rows {
        let mut cells = run(row);
        cells.extend(has_layer.then(|| row.layer.clone()));
        cells.extend(has_x.then(|| row.x.map(place).unwrap_or_default()));
        cells.extend(measures.iter().map(|measure| value(row, measure)));
        table.add_row(cells);
    }
    align(&mut table, CellAlignment::Right, &numbers);
    table
}

fn by_measure(rows: &[AnalysisSummary], measures: &[&str]) -> Table {
    let mut places: Vec<Option<f64>> = Vec::new();
    let mut runs: Vec<(Vec<String>, Vec<&AnalysisSummary>)> = Vec::new();
    for row in rows {
        if !places.contains(&row.x) {
            places.push(row.x);
        }
        let cells = [run(row), vec![row.layer.clone()]].concat();
        match runs.iter_mut().find(|(of, _)| *of == cells) {
            Some((_, of_run)) => of_run.push(row),
            None => runs.push((cells, vec![row])),
        }
    }
    let names: Vec<String> =
        places.iter().map(|x| x.map_or("at –".to_owned(), |x| format!("at {}", place(x)))).collect();
    let mut header = [RUN.as_slice(), &["layer", "measure"]].concat();
    let numbers: Vec<usize> = (header.len()..header.len() + names.len()).collect();
    header.extend(names.iter().map(String::as_str));
    let mut table = tables::new(&header);
    for (cells, of_run) in &runs {
        for measure in measures {
            let at = |x: &Option<f64>| {
                of_run.iter().find(|row| row.x == *x).map_or("–".to_owned(), |row| value(row, measure))
            };
            let values: Vec<String> = places.iter().map(at).collect();
            if values.iter().any(|value| value != "–") {
                table.add_row([cells.as_slice(), &[(*measure).to_owned()], &values].concat());
            }
        }
    }
    align(&mut table, CellAlignment::Right, &numbers);
    table
}

fn value(row: &AnalysisSummary, measure: &str) -> String {
    row.values.iter().find(|(name, _)| name == measure).map_or("–".to_owned(), |(_, spread)| number(*spread))
}

fn number(spread: Spread) -> String {
    match spread.deviation {
        Some(deviation) => format!("{:.3} ± {deviation:.3}", spread.mean),
        None => format!("{:.3}", spread.mean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(init: &str, seed: u64, measure: &str, layer: &str, value: f64) -> AnalysisRow {
        AnalysisRow {
            sweep: "likeness-1a2b3c4d".to_owned(),
            dataset: "glyphs".to_owned(),
            backbone: "resnet18-w16".to_owned(),
            init: init.to_owned(),
            recipe: "standard".to_owned(),
            seed,
            analysis: "to-the-start".to_owned(),
            method: "similarity".to_owned(),
            against: "start".to_owned(),
            examples: 500,
            measure: measure.to_owned(),
            layer: layer.to_owned(),
            x: None,
            value,
        }
    }

    #[test]
    fn an_analysis_is_a_table_with_a_column_for_each_measure() {
        let rows = [
            row("scratch", 0, "cka", "layer1", 0.25),
            row("scratch", 1, "cka", "layer1", 0.35),
            row("scratch", 0, "svcca", "layer1", 0.5),
            row("pretrained", 0, "cka", "layer1", 0.75),
        ];
        insta::assert_snapshot!(table(&summarize(&rows)));
    }

    #[test]
    fn many_measures_along_an_axis_have_a_row_each_and_a_column_for_each_place() {
        let kinds = ["fog", "snow", "frost", "contrast", "pixelate", "motion_blur"];
        let corrupted = |measure: &str, x: Option<f64>, seed: u64, value: f64| AnalysisRow {
            analysis: "weather".to_owned(),
            method: "corruptions".to_owned(),
            against: String::new(),
            x,
            ..row("scratch", seed, measure, "", value)
        };
        let mut rows = Vec::new();
        for seed in [0, 1] {
            let lost = 0.125 * seed as f64;
            rows.push(corrupted("clean", None, seed, 0.875 - lost));
            for (measure, severity) in ["mean"].iter().chain(&kinds).flat_map(|kind| [(kind, 1.0), (kind, 5.0)]) {
                rows.push(corrupted(measure, Some(severity), seed, 0.75 - 0.1 * severity - lost));
            }
        }
        insta::assert_snapshot!(table(&summarize(&rows)));
    }
}
