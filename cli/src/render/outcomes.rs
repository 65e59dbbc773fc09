//! The outcomes of a sweep: one row per example, run and attack.

use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use gauntlet_domain::results::OUTCOME_COLUMNS;
use gauntlet_proto::v1;
use parquet::arrow::ArrowWriter;
use tonic::Streaming;

use super::columns::real;
use super::sink::Sink;
use crate::args::OutcomeFormat;
use crate::client::refused;

/// Writes outcomes as they come: one run × attack at a time is held in memory.
///
/// # Errors
/// The stream breaks or the sink takes no bytes.
pub async fn write_outcomes(
    mut batches: Streaming<v1::OutcomeBatch>,
    format: OutcomeFormat,
    mut sink: Sink,
) -> anyhow::Result<()> {
    match format {
        OutcomeFormat::Csv => {
            let mut writer = csv::Writer::from_writer(&mut sink);
            writer.write_record(OUTCOME_COLUMNS)?;
            while let Some(batch) = batches.message().await.map_err(refused)? {
                write_rows(&mut writer, &batch)?;
            }
            writer.flush()?;
        }
        OutcomeFormat::Parquet => {
            sink.must_take_bytes()?;
            let mut writer = ArrowWriter::try_new(&mut sink, schema(), None)?;
            while let Some(batch) = batches.message().await.map_err(refused)? {
                writer.write(&record_batch(batch)?)?;
            }
            writer.close()?;
        }
    }
    sink.finish()
}

fn write_rows<W: std::io::Write>(writer: &mut csv::Writer<W>, batch: &v1::OutcomeBatch) -> anyhow::Result<()> {
    let outcomes = batch.outcomes.as_ref().context("the coordinator sent a row of the results without outcomes")?;
    let seed = batch.seed.to_string();
    let columns = (outcomes.clean_prediction.iter().zip(&outcomes.adversarial_prediction))
        .zip(outcomes.clean_loss.iter().zip(&outcomes.adversarial_loss).zip(&outcomes.distance));
    for (index, (label, ((clean, adversarial), ((clean_loss, adversarial_loss), distance)))) in
        outcomes.label.iter().zip(columns).enumerate()
    {
        let names = [
            &batch.sweep,
            &batch.dataset,
            &batch.backbone,
            &batch.init,
            &batch.recipe,
            &seed,
            &batch.attack,
            &batch.norm,
            &batch.eps,
        ];
        for name in names {
            writer.write_field(name)?;
        }
        writer.write_record([
            index.to_string(),
            label.to_string(),
            clean.to_string(),
            adversarial.to_string(),
            real(*clean_loss),
            real(*adversarial_loss),
            real(*distance),
        ])?;
    }
    Ok(())
}

fn schema() -> SchemaRef {
    let kind = |name: &str| match name {
        "seed" => DataType::UInt64,
        "index" | "label" | "clean_prediction" | "adversarial_prediction" => DataType::UInt32,
        "clean_loss" | "adversarial_loss" | "distance" => DataType::Float32,
        _ => DataType::Utf8,
    };
    Arc::new(Schema::new(OUTCOME_COLUMNS.iter().map(|name| Field::new(*name, kind(name), false)).collect::<Vec<_>>()))
}

fn record_batch(batch: v1::OutcomeBatch) -> anyhow::Result<RecordBatch> {
    let outcomes = batch.outcomes.context("the coordinator sent a row of the results without outcomes")?;
    let rows = outcomes.label.len();
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))) };
    let counts = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(values)) };
    let reals = |values: Vec<f32>| -> ArrayRef { Arc::new(Float32Array::from(values)) };
    let columns = vec![
        text(&batch.sweep),
        text(&batch.dataset),
        text(&batch.backbone),
        text(&batch.init),
        text(&batch.recipe),
        Arc::new(UInt64Array::from(vec![batch.seed; rows])),
        text(&batch.attack),
        text(&batch.norm),
        text(&batch.eps),
        counts((0..rows as u32).collect()),
        counts(outcomes.label),
        counts(outcomes.clean_prediction),
        counts(outcomes.adversarial_prediction),
        reals(outcomes.clean_loss),
        reals(outcomes.adversarial_loss),
        reals(outcomes.distance),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}
