//! `gauntlet submit`, `watch`, `cancel`, `delete`, `pause`, `resume`, `prioritize`, `retry` and `sweeps`.

use std::process::ExitCode;

use comfy_table::Table;
use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use super::run::{paused, submission};
use super::watching::{follow, verdict};
use crate::args::{DeleteArgs, Global, ListArgs, ListFormat, PauseArgs, PrioritizeArgs, SubmitArgs, SweepArgs};
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
    match args.quiet {
        true => {
            println!("{}", submitted.sweep_id);
            if submitted.paused {
                eprintln!("warning: the sweep {}", paused(&submitted.sweep_id));
            }
        }
        false => println!("{}", submission(&submitted)),
    }
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

/// Deletes a sweep.
///
/// # Errors
/// The sweep is unknown, or has not ended.
pub async fn delete(global: &Global, args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let request = v1::DeleteSweepRequest { sweep_id: args.sweep.id.clone(), cancel: args.cancel };
    let answer = connection.client.sweeps.delete_sweep(request).await;
    connection.close().await;
    let sweep = answer.map_err(refused)?.into_inner().sweep_id;
    match args.sweep.format {
        ListFormat::Json => println!("{}", serde_json::json!({ "sweep": sweep })),
        ListFormat::Table => {
            println!("sweep {sweep} is deleted; what no other sweep wants is removed in the background")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts nothing more of a sweep.
///
/// # Errors
/// The sweep is unknown.
pub async fn pause(global: &Global, args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let request = v1::PauseSweepRequest { sweep_id: args.sweep.id.clone(), hand_back: args.now };
    let answer = connection.client.sweeps.pause_sweep(request).await;
    connection.close().await;
    print_sweeps(&[answer.map_err(refused)?.into_inner()], args.sweep.format)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets a sweep go on.
///
/// # Errors
/// The sweep is unknown.
pub async fn resume(global: &Global, args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.resume_sweep(v1::ResumeSweepRequest { sweep_id: args.id.clone() }).await;
    connection.close().await;
    print_sweeps(&[answer.map_err(refused)?.into_inner()], args.format)?;
    Ok(ExitCode::SUCCESS)
}

/// Changes on what terms a sweep shares the workers.
///
/// # Errors
/// The sweep is unknown, or the terms make no sense.
pub async fn prioritize(global: &Global, args: &PrioritizeArgs) -> anyhow::Result<ExitCode> {
    let PrioritizeArgs { sweep, priority, weight, quota } = args;
    let mut connection = Connection::to_any(global).await?;
    let request = v1::PrioritizeSweepRequest {
        sweep_id: sweep.id.clone(),
        weight: *weight,
        priority: *priority,
        max_concurrent: quota.max_concurrent,
        no_max_concurrent: quota.no_max_concurrent,
    };
    let answer = connection.client.sweeps.prioritize_sweep(request).await;
    connection.close().await;
    print_sweeps(&[answer.map_err(refused)?.into_inner()], sweep.format)?;
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
    let v1::RetrySweepResponse { retried_tasks: retried, paused } = answer.map_err(refused)?.into_inner();
    match args.format {
        ListFormat::Json => println!("{}", serde_json::json!({ "retried_tasks": retried, "paused": paused })),
        ListFormat::Table if paused => {
            println!(
                "{retried} tasks get another try when the sweep goes on: it is paused, `gauntlet resume {}`",
                args.id
            )
        }
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
    user: &'a str,
    priority: i32,
    weight: u32,
    max_concurrent: Option<u32>,
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
        user: &sweep.user,
        priority: sweep.priority,
        weight: sweep.weight,
        max_concurrent: sweep.max_concurrent,
    }
}

fn print_sweeps(sweeps: &[v1::Sweep], format: ListFormat) -> anyhow::Result<()> {
    let rows: Vec<Listed<'_>> = sweeps.iter().map(listed).collect();
    if format == ListFormat::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!("{}", table(rows));
    Ok(())
}

fn table(rows: Vec<Listed<'_>>) -> Table {
    let mut table = tables::new(&[
        "sweep",
        "user",
        "state",
        "priority",
        "weight",
        "at once",
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
            row.user.to_owned(),
            row.state.to_owned(),
            row.priority.to_string(),
            row.weight.to_string(),
            row.max_concurrent.map_or_else(|| "any".to_owned(), |most| most.to_string()),
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
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_sweeps_shows_whose_they_are_on_what_terms_and_which_are_paused() {
        let tasks = v1::TaskCounts { ready: 3, leased: 2, succeeded: 5, ..Default::default() };
        let sweep = |id: &str, state: &str, max_concurrent| v1::Sweep {
            sweep_id: id.to_owned(),
            state: state.to_owned(),
            tasks: Some(tasks),
            user: "ada".to_owned(),
            weight: 1,
            priority: -1,
            max_concurrent,
            cells: 6,
            submitted_at_micros: i64::MAX,
            ..Default::default()
        };
        let sweeps = [sweep("big-1a2b3c4d", "paused", None), sweep("small-5e6f7a8b", "running", Some(2))];
        insta::assert_snapshot!(table(sweeps.iter().map(listed).collect()));
    }
}
