//! `gauntlet results`, `analyses` and `outcomes`.

use std::process::ExitCode;

use gauntlet_domain::analyses::{AnalysisRow, ImageRow};
use gauntlet_domain::masking::MaskingWarning;
use gauntlet_domain::results::{ResultRow, SkippedRow};
use gauntlet_proto::v1;
use tonic::{Code, Response, Status, Streaming};

use super::catalogues;
use super::connection::Connection;
use crate::args::{AnalysesArgs, Global, ListFormat, OutcomesArgs, ResultFormat, ResultsArgs, SweepArgs};
use crate::client::{Client, refused};
use crate::render::{Sink, write_analyses, write_analysis_tables, write_images, write_outcomes, write_results};

/// Prints the results of a sweep.
///
/// # Errors
/// The sweep is unknown, or the answer cannot be written.
pub async fn results(global: &Global, args: &ResultsArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = async {
        let rows = fetch_results(&mut connection.client, &args.id).await?;
        let skipped = fetch_skipped(&mut connection.client, &args.id).await?;
        let analyses = fetch_analyses(&mut connection.client, &args.id).await?;
        let warnings = fetch_warnings(&mut connection.client, &args.id).await?;
        let request = v1::GetSweepRequest { sweep_id: args.id.clone() };
        let sweep = connection.client.sweeps.get_sweep(request).await.map_err(refused)?.into_inner();
        Ok::<_, anyhow::Error>((rows, skipped, analyses, warnings, sweep))
    }
    .await;
    connection.close().await;
    let (rows, skipped, analyses, warnings, sweep) = answer?;
    if rows.len() + skipped.len() < sweep.cells as usize {
        eprintln!(
            "note: {} of {} rows are there; sweep {} is {}",
            rows.len(),
            sweep.cells,
            sweep.sweep_id,
            sweep.state
        );
    }
    let mut sink = Sink::open(args.out.as_deref())?;
    write_results(&rows, &skipped, args.format, &mut sink)?;
    if args.format == ResultFormat::Table {
        write_analysis_tables(&analyses, &mut sink)?;
    }
    sink.finish()?;
    say_warnings(&warnings);
    Ok(ExitCode::SUCCESS)
}

/// Prints what speaks for masked gradients in the results of a sweep.
///
/// # Errors
/// The sweep is unknown, or the answer cannot be written.
pub async fn warnings(global: &Global, args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let warnings = fetch_warnings(&mut connection.client, &args.id).await;
    connection.close().await;
    let warnings = warnings?;
    match args.format {
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&warnings)?),
        ListFormat::Table => warnings.iter().for_each(|warning| println!("{}", warning.sentence())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr what speaks for masked gradients.
pub fn say_warnings(warnings: &[MaskingWarning]) {
    const SAID: usize = 10;
    for warning in warnings.iter().take(SAID) {
        eprintln!("warning: {}", warning.sentence());
    }
    if let [_, ..] = warnings.get(SAID..).unwrap_or_default() {
        eprintln!("and {} more: see `gauntlet warnings {}`", warnings.len() - SAID, warnings[0].sweep);
    }
}

/// What speaks for masked gradients in the results of a sweep.
///
/// # Errors
/// The sweep is unknown, or the coordinator is of another version.
pub async fn fetch_warnings(client: &mut Client, sweep_id: &str) -> anyhow::Result<Vec<MaskingWarning>> {
    let request = v1::ListMaskingWarningsRequest { sweep_id: sweep_id.to_owned() };
    let answer = client.sweeps.list_masking_warnings(request).await.map_err(refused)?.into_inner();
    answer.warnings.into_iter().map(|warning| Ok(warning.try_into()?)).collect()
}

/// Prints what the analyses of a sweep came to, or lists the methods there are.
///
/// # Errors
/// The sweep is unknown, or the answer cannot be written.
pub async fn analyses(global: &Global, args: &AnalysesArgs) -> anyhow::Result<ExitCode> {
    let Some(id) = &args.id else { return catalogues::analyses(args.format) };
    let mut connection = Connection::to_any(global).await?;
    let answer = async {
        let rows = fetch_analyses(&mut connection.client, id).await?;
        let images = match args.images {
            Some(_) => fetch_images(&mut connection.client, id).await?,
            None => Vec::new(),
        };
        Ok::<_, anyhow::Error>((rows, images))
    }
    .await;
    connection.close().await;
    let (rows, images) = answer?;
    write_analyses(&rows, args.format, Sink::open(args.out.as_deref())?)?;
    if let Some(folder) = &args.images {
        write_images(&images, folder)?;
        eprintln!("{} images: {}", images.len(), folder.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the outcomes of a sweep.
///
/// # Errors
/// The sweep is unknown, or the answer cannot be written.
pub async fn outcomes(global: &Global, args: &OutcomesArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let written = async {
        let batches = outcomes_stream(&mut connection.client, &args.id).await?;
        write_outcomes(batches, args.format, Sink::open(args.out.as_deref())?).await
    }
    .await;
    connection.close().await;
    written?;
    Ok(ExitCode::SUCCESS)
}

/// All rows of a sweep.
///
/// # Errors
/// The sweep is unknown, or the stream breaks.
pub async fn fetch_results(client: &mut Client, sweep_id: &str) -> anyhow::Result<Vec<ResultRow>> {
    let request = v1::StreamResultsRequest { sweep_id: sweep_id.to_owned() };
    let mut stream = client.sweeps.stream_results(request).await.map_err(refused)?.into_inner();
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await.map_err(refused)? {
        rows.push(row.into());
    }
    Ok(rows)
}

/// What the analyses of a sweep came to.
///
/// # Errors
/// The sweep is unknown, or the stream breaks.
pub async fn fetch_analyses(client: &mut Client, sweep_id: &str) -> anyhow::Result<Vec<AnalysisRow>> {
    let request = v1::StreamAnalysesRequest { sweep_id: sweep_id.to_owned() };
    all(client.sweeps.stream_analyses(request).await).await
}

/// The images that the analyses of a sweep left.
///
/// # Errors
/// The sweep is unknown, or the stream breaks.
pub async fn fetch_images(client: &mut Client, sweep_id: &str) -> anyhow::Result<Vec<ImageRow>> {
    let request = v1::StreamAnalysisImagesRequest { sweep_id: sweep_id.to_owned() };
    all(client.sweeps.stream_analysis_images(request).await).await
}

/// All that a stream sends. A coordinator from before there was such a call has none of it.
async fn all<Wire, Row: From<Wire>>(answer: Result<Response<Streaming<Wire>>, Status>) -> anyhow::Result<Vec<Row>> {
    let mut stream = match answer {
        Ok(stream) => stream.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => return Ok(Vec::new()),
        Err(status) => return Err(refused(status)),
    };
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await.map_err(refused)? {
        rows.push(row.into());
    }
    Ok(rows)
}

/// The cells of a sweep that an earlier attack made pointless.
///
/// # Errors
/// The sweep is unknown.
pub async fn fetch_skipped(client: &mut Client, sweep_id: &str) -> anyhow::Result<Vec<SkippedRow>> {
    let request = v1::ListSkippedEvaluationsRequest { sweep_id: sweep_id.to_owned() };
    match client.sweeps.list_skipped_evaluations(request).await {
        Ok(answer) => Ok(answer.into_inner().evaluations.into_iter().map(Into::into).collect()),
        // A coordinator from before there were cascades has skipped nothing.
        Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        Err(status) => Err(refused(status)),
    }
}

/// The outcomes of a sweep, a batch per row of its results.
///
/// # Errors
/// The sweep is unknown.
pub async fn outcomes_stream(client: &mut Client, sweep_id: &str) -> anyhow::Result<Streaming<v1::OutcomeBatch>> {
    let request = v1::StreamOutcomesRequest { sweep_id: sweep_id.to_owned() };
    Ok(client.sweeps.stream_outcomes(request).await.map_err(refused)?.into_inner())
}
