//! `gauntlet workers` and `gauntlet drain`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use crate::args::{DrainArgs, Global, ListArgs, ListFormat};
use crate::client::refused;
use crate::render::tables;

/// Lists the workers.
///
/// # Errors
/// The coordinator does not answer.
pub async fn workers(global: &Global, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.fleet.list_workers(v1::ListWorkersRequest {}).await;
    connection.close().await;
    print_workers(&answer.map_err(refused)?.into_inner().workers, args.format)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives a worker no new work.
///
/// # Errors
/// The worker is unknown.
pub async fn drain(global: &Global, args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let mut client = Connection::to_running(global).await?.client;
    let request = v1::DrainWorkerRequest { worker_id: args.worker.clone(), hand_back: args.now };
    let worker = client.fleet.drain_worker(request).await.map_err(refused)?.into_inner();
    print_workers(&[worker], args.format)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed<'a> {
    worker: &'a str,
    hostname: &'a str,
    state: &'a str,
    devices: Vec<String>,
    slots: u32,
    labels: BTreeMap<&'a str, &'a str>,
    last_heard_at_micros: i64,
    remaining_secs: Option<f64>,
    running: Vec<Running<'a>>,
}

#[derive(Serialize)]
struct Running<'a> {
    task: &'a str,
    attempt: u32,
    label: &'a str,
}

fn listed(worker: &v1::Worker) -> Listed<'_> {
    let device = |device: &v1::Device| {
        // 0 where libtorch does not tell.
        let memory = if device.memory_mib > 0 { format!(", {} MiB", device.memory_mib) } else { String::new() };
        format!("{}{memory}, threads: {}, libtorch {}", device.name, device.threads, device.libtorch)
    };
    Listed {
        worker: &worker.worker_id,
        hostname: &worker.hostname,
        state: &worker.state,
        devices: worker.devices.iter().map(device).collect(),
        slots: worker.slots,
        labels: worker.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        last_heard_at_micros: worker.last_heard_at_micros,
        remaining_secs: worker.remaining_secs,
        running: worker
            .running
            .iter()
            .map(|task| Running { task: &task.task_id, attempt: task.attempt, label: &task.label })
            .collect(),
    }
}

fn print_workers(workers: &[v1::Worker], format: ListFormat) -> anyhow::Result<()> {
    let rows: Vec<Listed<'_>> = workers.iter().map(listed).collect();
    if format == ListFormat::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut table = tables::new(&["worker", "host", "state", "devices", "slots", "last heard", "time left", "running"]);
    for row in rows {
        let running: Vec<String> =
            row.running.iter().map(|task| format!("{} (attempt {})", task.label, task.attempt)).collect();
        table.add_row([
            row.worker.to_owned(),
            row.hostname.to_owned(),
            row.state.to_owned(),
            row.devices.join("\n"),
            row.slots.to_string(),
            tables::since(row.last_heard_at_micros),
            row.remaining_secs.map_or_else(String::new, tables::duration),
            running.join("\n"),
        ]);
    }
    println!("{table}");
    Ok(())
}
