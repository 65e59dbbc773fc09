//! `gauntlet explain`: why a task waits, where it runs, what it tried.

use std::process::ExitCode;

use gauntlet_proto::v1;
use serde_json::json;

use super::connection::Connection;
use crate::args::{ExplainArgs, Global, ListFormat};
use crate::client::refused;
use crate::render::tables::{self, duration};

/// Explains a task.
///
/// # Errors
/// The task is unknown.
pub async fn explain(global: &Global, args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.explain_task(v1::ExplainTaskRequest { task_id: args.task.clone() }).await;
    connection.close().await;
    let task = answer.map_err(refused)?.into_inner();
    match args.format {
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&as_json(&task)?)?),
        ListFormat::Table => print(&task),
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(task: &v1::ExplainTaskResponse) -> anyhow::Result<serde_json::Value> {
    let spec: serde_json::Value = serde_json::from_str(&task.spec_json)?;
    let attempts: Vec<_> = task
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "attempt": attempt.attempt,
                "worker": attempt.worker_id,
                "started_at_micros": attempt.started_at_micros,
                "ended_at_micros": attempt.ended_at_micros,
                "outcome": attempt.outcome,
                "failure_class": attempt.failure_class,
                "message": attempt.message,
                "peak_memory_mib": attempt.peak_memory_mib,
            })
        })
        .collect();
    let inputs: Vec<_> = task
        .inputs
        .iter()
        .map(|input| json!({ "task": input.task_id, "label": input.label, "state": input.state }))
        .collect();
    Ok(json!({
        "task": task.task_id,
        "kind": task.kind,
        "label": task.label,
        "state": task.state,
        "explanation": task.explanation,
        "min_memory_mib": task.min_memory_mib,
        "inputs": inputs,
        "attempts": attempts,
        "sweeps": task.sweeps,
        "spec": spec,
    }))
}

fn print(task: &v1::ExplainTaskResponse) {
    println!("{} {} ({})", task.kind, task.label, task.task_id);
    println!("{}: {}", task.state, task.explanation);
    println!("wanted by {}", task.sweeps.join(", "));
    for input in &task.inputs {
        println!(
            "needs {} {} ({}): {}",
            input.kind,
            input.label,
            input.task_id.get(..8).unwrap_or_default(),
            input.state
        );
    }
    if task.attempts.is_empty() {
        return;
    }
    let mut table = tables::new(&["attempt", "worker", "started", "took", "memory", "outcome", "message"]);
    for attempt in &task.attempts {
        let took = attempt
            .ended_at_micros
            .map_or_else(String::new, |ended| duration((ended - attempt.started_at_micros) as f64 / 1e6));
        let outcome = format!("{} {}", attempt.outcome, attempt.failure_class);
        table.add_row([
            attempt.attempt.to_string(),
            attempt.worker_id.clone(),
            tables::since(attempt.started_at_micros),
            took,
            attempt.peak_memory_mib.map_or_else(String::new, |mib| format!("{mib} MiB")),
            outcome.trim().to_owned(),
            attempt.message.clone(),
        ]);
    }
    println!("{table}");
}
