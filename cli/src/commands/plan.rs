//! `gauntlet plan`: what a sweep would do.

use std::process::ExitCode;

use comfy_table::CellAlignment;
use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use crate::args::{Global, ListFormat, PlanArgs};
use crate::client::refused;
use crate::render::tables::{self, align};
use crate::source;

/// Prints the tasks of a sweep and what would become of each.
///
/// # Errors
/// The sweep is bad, or the database does not answer.
pub async fn plan(global: &Global, args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let sweep = source::read(&args.sweep, &global.data_dir())?;
    let known =
        global.endpoint.is_some() || global.database_url.is_some() || global.state_dir.join("postgres").exists();
    let tasks = if known { ask(global, sweep.wire()).await? } else { unknown(&sweep.plan) };
    let plan = Planned { sweep: sweep.plan.sweep_id.to_string(), cells: sweep.plan.cells.len(), tasks };
    source::print_notes(&sweep.plan);
    match args.format {
        ListFormat::Json => println!("{}", serde_json::to_string_pretty(&plan)?),
        ListFormat::Table => print(&plan),
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Planned {
    sweep: String,
    cells: usize,
    tasks: Vec<Task>,
}

#[derive(Serialize)]
struct Task {
    task: String,
    kind: String,
    label: String,
    inputs: Vec<String>,
    /// `new`, or the state of the same task in the database.
    state: String,
    cost: f64,
}

async fn ask(global: &Global, source: v1::SweepSource) -> anyhow::Result<Vec<Task>> {
    let mut connection = Connection::to_any(global).await?;
    let answer = connection.client.sweeps.plan_sweep(v1::PlanSweepRequest { source: Some(source) }).await;
    connection.close().await;
    let task = |task: v1::PlannedTask| Task {
        task: task.task_id,
        kind: task.kind,
        label: task.label,
        inputs: task.inputs,
        state: if task.state.is_empty() { "new".to_owned() } else { task.state },
        cost: task.cost,
    };
    Ok(answer.map_err(refused)?.into_inner().tasks.into_iter().map(task).collect())
}

fn unknown(plan: &gauntlet_domain::plan::Plan) -> Vec<Task> {
    let task = |task: &gauntlet_domain::plan::PlannedTask| Task {
        task: task.id.to_string(),
        kind: task.kind.name().to_owned(),
        label: task.label.clone(),
        inputs: task.inputs.iter().map(ToString::to_string).collect(),
        state: "new".to_owned(),
        cost: task.cost,
    };
    plan.tasks.iter().map(task).collect()
}

fn print(plan: &Planned) {
    let mut table = tables::new(&["task", "kind", "what", "needs", "state", "cost"]);
    for task in &plan.tasks {
        let needs: Vec<&str> = task.inputs.iter().map(|input| short(input)).collect();
        table.add_row([
            short(&task.task),
            &task.kind,
            &task.label,
            &needs.join(" "),
            &task.state,
            &format!("{:.0}", task.cost),
        ]);
    }
    align(&mut table, CellAlignment::Right, &[5]);
    println!("{table}");
    let total: f64 = plan.tasks.iter().map(|task| task.cost).sum();
    let open: f64 = plan.tasks.iter().filter(|task| task.state != "succeeded").map(|task| task.cost).sum();
    let count = |state: &str| plan.tasks.iter().filter(|task| task.state == state).count();
    println!(
        "sweep {}: {} rows of results from {} tasks, {} new, {} done already; cost {open:.0} of {total:.0} to come (1 = one image forward and backward through 10⁹ multiply-adds)",
        plan.sweep,
        plan.cells,
        plan.tasks.len(),
        count("new"),
        count("succeeded"),
    );
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
