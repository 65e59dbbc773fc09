//! `gauntlet plan`: what a sweep would do.

use std::fmt;
use std::process::ExitCode;

use comfy_table::CellAlignment;
use gauntlet_domain::forecast::{self, Forecast, Rates};
use gauntlet_proto::v1;
use serde::Serialize;

use super::connection::Connection;
use super::run::in_shards;
use crate::args::{Global, ListFormat, PlanArgs};
use crate::client::refused;
use crate::render::tables::{self, align, duration};
use crate::source;

/// Prints the tasks of a sweep and what would become of each.
///
/// # Errors
/// The sweep is bad, or the database does not answer.
pub async fn plan(global: &Global, args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let sweep = source::read(&args.sweep, &global.data_dir())?;
    let known =
        global.endpoint.is_some() || global.database_url.is_some() || global.state_dir.join("postgres").exists();
    let plan = if known { ask(global, sweep.wire()).await? } else { unknown(&sweep.plan) };
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
    shards: u32,
    sharded_attacks: u32,
    estimate: Estimate,
}

/// What the tasks that are not done are expected to take.
#[derive(Serialize)]
struct Estimate {
    secs: f64,
    /// Of these, what nothing was ever learnt for.
    guessed_secs: f64,
    /// Attempts at the same work that it was learnt from.
    attempts: u64,
    devices: Vec<String>,
    slots: u32,
    /// Until the end, on those slots.
    makespan_secs: Option<f64>,
}

impl From<v1::CostEstimate> for Estimate {
    fn from(wire: v1::CostEstimate) -> Self {
        let v1::CostEstimate { secs, guessed_secs, attempts, devices, slots, makespan_secs, .. } = wire;
        Self { secs, guessed_secs, attempts, devices, slots, makespan_secs }
    }
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

async fn ask(global: &Global, source: v1::SweepSource) -> anyhow::Result<Planned> {
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
    let plan = answer.map_err(refused)?.into_inner();
    Ok(Planned {
        sweep: plan.sweep_id,
        cells: plan.cells as usize,
        tasks: plan.tasks.into_iter().map(task).collect(),
        shards: plan.shards,
        sharded_attacks: plan.sharded_attacks,
        estimate: plan.estimate.unwrap_or_default().into(),
    })
}

/// Where no database was ever filled: everything is new, and its time a guess.
fn unknown(plan: &gauntlet_domain::plan::Plan) -> Planned {
    let task = |task: &gauntlet_domain::plan::PlannedTask| Task {
        task: task.id.to_string(),
        kind: task.kind.name().to_owned(),
        label: task.label.clone(),
        inputs: task.inputs.iter().map(ToString::to_string).collect(),
        state: "new".to_owned(),
        cost: task.cost,
    };
    let forecast = Forecast::new(Rates::default(), []);
    let tasks = plan.tasks.iter().map(|task| (task, task.inputs.as_slice()));
    let estimate = forecast::Estimate::of(tasks, |_| false, &forecast, 0);
    Planned {
        sweep: plan.sweep_id.to_string(),
        cells: plan.cells.len(),
        tasks: plan.tasks.iter().map(task).collect(),
        shards: 0,
        sharded_attacks: 0,
        estimate: Estimate {
            secs: estimate.secs,
            guessed_secs: estimate.secs,
            attempts: 0,
            devices: forecast.slots().keys().map(ToString::to_string).collect(),
            slots: 0,
            makespan_secs: None,
        },
    }
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
    if let Some(shards) = in_shards(plan.sharded_attacks, plan.shards) {
        println!("{shards}, so that idle slots take part in them; results are the same");
    }
    println!("{}", plan.estimate);
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secs <= 0.0 {
            return f.write_str("nothing is left to do");
        }
        write!(f, "estimated: {} on one slot ({}), ", duration(self.secs), self.devices.join(", "))?;
        let guessed = (self.guessed_secs / self.secs * 100.0).round();
        match (self.attempts, guessed as u32) {
            (_, 100) => f.write_str("guessed, because nothing like it was run")?,
            (0, guessed) => write!(f, "learnt from other work, {guessed} % guessed")?,
            (attempts, 0) => write!(f, "learnt from {attempts} attempts")?,
            (attempts, guessed) => write!(f, "learnt from {attempts} attempts, {guessed} % guessed")?,
        }
        match self.makespan_secs.filter(|_| self.slots > 0) {
            Some(secs) => write!(f, "; about {} on the {} slots that are here", duration(secs), self.slots),
            None => f.write_str("; no worker is here"),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
