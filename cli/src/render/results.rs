//! The results of a sweep.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use comfy_table::{CellAlignment, Table};
use gauntlet_domain::results::{RESULT_COLUMNS, ResultRow, SkippedRow, Spread, SummaryRow};
use parquet::arrow::ArrowWriter;

use super::columns::double;
use super::footnotes::{SKIPPED_MARK, early_mark, footnotes};
use super::sink::Sink;
use super::tables::{self, align};
use crate::args::ResultFormat;

/// Writes rows in the asked format. Only a table shows the rows that were skipped: there is no number to write of them.
///
/// # Errors
/// The sink takes no bytes.
pub fn write_results(
    rows: &[ResultRow],
    skipped: &[SkippedRow],
    format: ResultFormat,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    match format {
        ResultFormat::Table => {
            writeln!(sink, "{}", table(rows, skipped))?;
            for note in footnotes(rows, skipped) {
                writeln!(sink, "{note}")?;
            }
        }
        ResultFormat::Csv => write_csv(rows, sink)?,
        ResultFormat::Json => {
            serde_json::to_writer_pretty(&mut *sink, rows)?;
            writeln!(sink)?;
        }
        ResultFormat::Parquet => {
            sink.must_take_bytes()?;
            write_parquet(rows, sink)?;
        }
    }
    Ok(())
}

fn fields(row: &ResultRow) -> [String; 17] {
    [
        row.sweep.clone(),
        row.dataset.clone(),
        row.backbone.clone(),
        row.init.clone(),
        row.recipe.clone(),
        row.seed.to_string(),
        row.attack.clone(),
        row.norm.clone(),
        row.eps.clone(),
        row.examples.to_string(),
        row.clean_correct.to_string(),
        row.robust_correct.to_string(),
        double(row.aoi),
        double(row.aai),
        row.decline_ratio.map(double).unwrap_or_default(),
        double(row.aai_low),
        double(row.aai_high),
    ]
}

fn write_csv(rows: &[ResultRow], sink: &mut Sink) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(sink);
    writer.write_record(RESULT_COLUMNS)?;
    for row in rows {
        writer.write_record(fields(row))?;
    }
    writer.flush()?;
    Ok(())
}

fn write_parquet(rows: &[ResultRow], sink: &mut Sink) -> anyhow::Result<()> {
    fn text(rows: &[ResultRow], of: impl Fn(&ResultRow) -> &str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    }
    fn count(rows: &[ResultRow], of: impl Fn(&ResultRow) -> u32) -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)))
    }
    fn number(rows: &[ResultRow], of: impl Fn(&ResultRow) -> Option<f64>) -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    }
    let columns: [ArrayRef; 17] = [
        text(rows, |row| &row.sweep),
        text(rows, |row| &row.dataset),
        text(rows, |row| &row.backbone),
        text(rows, |row| &row.init),
        text(rows, |row| &row.recipe),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.seed))),
        text(rows, |row| &row.attack),
        text(rows, |row| &row.norm),
        text(rows, |row| &row.eps),
        count(rows, |row| row.examples),
        count(rows, |row| row.clean_correct),
        count(rows, |row| row.robust_correct),
        number(rows, |row| Some(row.aoi)),
        number(rows, |row| Some(row.aai)),
        number(rows, |row| row.decline_ratio),
        number(rows, |row| Some(row.aai_low)),
        number(rows, |row| Some(row.aai_high)),
    ];
    let batch = RecordBatch::try_from_iter(RESULT_COLUMNS.into_iter().zip(columns))?;
    let mut writer = ArrowWriter::try_new(sink, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn table(rows: &[ResultRow], skipped: &[SkippedRow]) -> Table {
    let header = [
        "dataset",
        "backbone",
        "init",
        "recipe",
        "seed",
        "attack",
        "norm",
        "ε",
        "examples",
        "AOI %",
        "AAI %",
        "95 % interval",
        "DR %",
    ];
    let mut table = tables::new(&header);
    for row in rows {
        table.add_row([
            row.dataset.clone(),
            row.backbone.clone(),
            row.init.clone(),
            row.recipe.clone(),
            row.seed.to_string(),
            row.attack.clone(),
            row.norm.clone(),
            radius(&row.eps),
            format!("{}{}", row.examples, early_mark(row.stopped_early())),
            percent(row.aoi),
            percent(row.aai),
            format!("{} – {}", percent(row.aai_low), percent(row.aai_high)),
            row.decline_ratio.map(percent).unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    for row in skipped {
        let [dataset, backbone, init, recipe, attack, norm, eps] = of_attack(row);
        let none = || "–".to_owned();
        let seed = row.seed.to_string();
        table.add_row([
            dataset,
            backbone,
            init,
            recipe,
            seed,
            attack,
            norm,
            radius(&eps),
            SKIPPED_MARK.to_owned(),
            none(),
            none(),
            none(),
            none(),
        ]);
    }
    align(&mut table, CellAlignment::Right, &[4, 8, 9, 10, 12]);
    table
}

fn of_attack(row: &SkippedRow) -> [String; 7] {
    [&row.dataset, &row.backbone, &row.init, &row.recipe, &row.attack, &row.norm, &row.eps].map(String::clone)
}

/// Mean ± sample standard deviation over seeds, in percent. Seeds that were skipped are told apart.
pub fn summary_table(rows: &[SummaryRow], skipped: &[SkippedRow]) -> Table {
    let header =
        ["dataset", "backbone", "init", "recipe", "attack", "norm", "ε", "seeds × examples", "AOI %", "AAI %", "DR %"];
    let mut without_result: BTreeMap<[String; 7], usize> = BTreeMap::new();
    for row in skipped {
        *without_result.entry(of_attack(row)).or_default() += 1;
    }
    let mut table = tables::new(&header);
    for row in rows {
        let key = [&row.dataset, &row.backbone, &row.init, &row.recipe, &row.attack, &row.norm, &row.eps];
        let others = without_result.remove(&key.map(String::clone));
        let others = others.map(|seeds| format!(", {seeds} {SKIPPED_MARK}")).unwrap_or_default();
        table.add_row([
            row.dataset.clone(),
            row.backbone.clone(),
            row.init.clone(),
            row.recipe.clone(),
            row.attack.clone(),
            row.norm.clone(),
            radius(&row.eps),
            format!("{} × {}{}{others}", row.seeds.len(), examples(row), early_mark(row.stopped_early)),
            spread(row.aoi),
            spread(row.aai),
            row.decline_ratio.map(spread).unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    for ([dataset, backbone, init, recipe, attack, norm, eps], seeds) in without_result {
        let none = || "–".to_owned();
        let seeds = format!("{seeds} {SKIPPED_MARK}");
        table.add_row([dataset, backbone, init, recipe, attack, norm, radius(&eps), seeds, none(), none(), none()]);
    }
    align(&mut table, CellAlignment::Right, &[7, 8, 9, 10]);
    table
}

/// Examples of each seed.
fn examples(row: &SummaryRow) -> String {
    match (row.examples, row.most_examples) {
        (fewest, most) if fewest < most => format!("{fewest}–{most}"),
        (all, _) => all.to_string(),
    }
}

/// A radius for people; a minimum-norm attack may have none.
fn radius(eps: &str) -> String {
    if eps.is_empty() { "any".to_owned() } else { eps.to_owned() }
}

fn spread(spread: Spread) -> String {
    match spread.deviation {
        Some(deviation) => format!("{} ± {}", percent(spread.mean), percent(deviation)),
        None => percent(spread.mean),
    }
}
