//! `gauntlet submit`, `watch`, `cancel`, `retry` and `sweeps`.

use std::process::ExitCode;

use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use super::run::submission;
use super::watching::{follow, verdict};
use crate::args::{Global, ListArgs, ListFormat, SubmitArgs, SweepArgs};
use crate::client::refused;
use crate::render::tables;
use crate::source;

/// Submits a sweep.
///
/// # Errors
/// The sweep is bad, or no coordinator takes it.
pub async fn submit(global: &Global, args: &SubmitArgs) -> anyhow::Result<ExitCode> {
    let sweep = source::read(&args.sweep, &global.data_dir())?;
    source::print_notes(&sweep.plan);
    let mut client = Connection::to_running(global).await?.client;
    let submitted = client.sweeps.submit_sweep(args.charge.request(sweep.wire())).await.map_err(refused)?.into_inner();
    println!("{}", if args.quiet { submitted.sweep_id.clone() } else { submission(&submitted) });
    if args.watch {
        return Ok(verdict(&follow(&mut client, &submitted.sweep_id).await?));
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows a sweep.
///
/// # Errors
/// The sweep is unknown, or the coordinator stays away.
pub async fn watch(global: &Global, args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let mut client = Connection::to_running(global).await?.client;
    let sweep = follow(&mut client, &args.id).await?;
    print_sweeps(std::slice::from_ref(&sweep), args.format)?;
    Ok(verdict(&sweep))
}

/// Stops a sweep.
///
/// # Errors
/// The sweep is unknown.
pub async fn cancel(global: &Global, args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.cancel_sweep(v1::CancelSweepRequest { sweep_id: args.id.clone() }).await;
    connection.close().await;
    print_sweeps(&[answer.map_err(refused)?.into_inner()], args.format)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives what ended without a result another try.
///
/// # Errors
/// The sweep is unknown.
pub async fn retry(global: &Global, args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.retry_sweep(v1::RetrySweepRequest { sweep_id: args.id.clone() }).await;
    connection.close().await;
    let retried = answer.map_err(refused)?.into_inner().retried_tasks;
    match args.format {
        ListFormat::Json => println!("{}", serde_json::json!({ "retried_tasks": retried })),
        ListFormat::Table => println!("{retried} tasks get another try"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists sweeps.
///
/// # Errors
/// The coordinator does not answer.
pub async fn list(global: &Global, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.list_sweeps(v1::ListSweepsRequest { limit: 0 }).await;
    connection.close().await;
    print_sweeps(&answer.map_err(refused)?.into_inner().sweeps, args.format)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed<'a> {
    sweep: &'a str,
    name: &'a str,
    state: &'a str,
    submitted_at_micros: i64,
    tasks: u32,
    succeeded: u32,
    running: u32,
    failed: u32,
    cancelled: u32,
    skipped: u32,
    /// Skipped because an earlier attack left nothing to find: no failures.
    pointless: u32,
    cells: u32,
}

fn listed(sweep: &v1::Sweep) -> Listed<'_> {
    let counts = sweep.tasks.unwrap_or_default();
    let ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped + counts.pointless;
    Listed {
        sweep: &sweep.sweep_id,
        name: &sweep.name,
        state: &sweep.state,
        submitted_at_micros: sweep.submitted_at_micros,
        tasks: ended + counts.pending + counts.ready + counts.leased,
        succeeded: counts.succeeded,
        running: counts.leased,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
        pointless: counts.pointless,
        cells: sweep.cells,
    }
}

fn print_sweeps(sweeps: &[v1::Sweep], format: ListFormat) -> anyhow::Result<()> {
    let rows: Vec<Listed<'_>> = sweeps.iter().map(listed).collect();
    if format == ListFormat::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = tables::new(&[
        "sweep",
        "state",
        "submitted",
        "tasks",
        "succeeded",
        "running",
        "failed",
        "cancelled",
        "skipped",
        "pointless",
        "rows",
    ]);
    for row in rows {
        table.add_row([
            row.sweep.to_owned(),
            row.state.to_owned(),
            tables::since(row.submitted_at_micros),
            row.tasks.to_string(),
            row.succeeded.to_string(),
            row.running.to_string(),
            row.failed.to_string(),
            row.cancelled.to_string(),
            row.skipped.to_string(),
            row.pointless.to_string(),
            row.cells.to_string(),
        ]);
    }
    println!("{table}");
    Ok(())
}
