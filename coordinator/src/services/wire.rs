//! Rows as messages.

use gauntlet_domain::forecast::{Basis, Estimate, Forecast};
use gauntlet_domain::task::TaskState;
use gauntlet_proto::v1;

use crate::shared::Shared;
use crate::store::{AttemptRow, EndedRow, InputRow, RunningRow, SweepStatus};

pub fn sweep(shared: &Shared, status: SweepStatus) -> v1::Sweep {
    let state = status.state().to_owned();
    let count = |state| status.count(state);
    let tasks = v1::TaskCounts {
        pending: count(TaskState::Pending),
        ready: count(TaskState::Ready),
        leased: count(TaskState::Leased),
        succeeded: count(TaskState::Succeeded),
        failed: count(TaskState::Failed),
        cancelled: count(TaskState::Cancelled),
        skipped: count(TaskState::Skipped),
        pointless: status.pointless,
    };
    v1::Sweep {
        state,
        tasks: Some(tasks),
        sweep_id: status.id,
        name: status.name,
        submitted_at_micros: status.submitted_at,
        running: status.running.into_iter().map(|running| running_task(shared, running)).collect(),
        unsuccessful: status.unsuccessful.into_iter().map(ended_task).collect(),
        total_cost: status.total_cost,
        done_cost: status.done_cost,
        cells: status.cells,
        seconds_left: None,
        user: status.user,
        weight: status.weight,
        priority: status.priority,
        max_concurrent: status.max_concurrent,
    }
}

pub fn running_task(shared: &Shared, running: RunningRow) -> v1::RunningTask {
    let worker = running.worker.parse().ok();
    let progress = worker.and_then(|worker| shared.sessions.progress(&worker, running.attempt));
    let (done, total, unit) =
        progress.map(|progress| (progress.done, progress.total, progress.unit)).unwrap_or_default();
    v1::RunningTask {
        task_id: running.attempt.task.to_string(),
        attempt: running.attempt.attempt.0,
        kind: running.kind,
        label: running.label,
        worker_id: running.worker,
        done,
        total,
        unit,
        cost: running.cost,
    }
}

fn ended_task(ended: EndedRow) -> v1::EndedTask {
    v1::EndedTask {
        task_id: ended.task.to_string(),
        kind: ended.kind,
        label: ended.label,
        state: ended.state.name().to_owned(),
        reason: ended.reason,
    }
}

pub fn input(input: InputRow) -> v1::EndedTask {
    v1::EndedTask {
        task_id: input.task.to_string(),
        kind: input.kind,
        label: input.label,
        state: input.state.name().to_owned(),
        reason: input.reason.unwrap_or_default(),
    }
}

pub fn attempt(row: AttemptRow) -> v1::Attempt {
    v1::Attempt {
        attempt: row.attempt,
        worker_id: row.worker,
        started_at_micros: row.started_at,
        ended_at_micros: row.ended_at,
        outcome: row.outcome,
        failure_class: row.failure_class.unwrap_or_default(),
        message: row.message.unwrap_or_default(),
        peak_memory_mib: row.peak_memory_mib,
    }
}

pub fn estimate(estimate: &Estimate, forecast: &Forecast, slots: u32) -> v1::CostEstimate {
    let by = |basis| estimate.secs_by_basis.get(&basis).copied().unwrap_or(0.0);
    v1::CostEstimate {
        secs: estimate.secs,
        same_work_secs: by(Basis::SameWork),
        same_method_secs: by(Basis::SameMethod),
        same_device_secs: by(Basis::SameDevice),
        guessed_secs: by(Basis::Guess),
        attempts: estimate.attempts,
        slots,
        makespan_secs: estimate.makespan_secs,
        devices: forecast.slots().keys().map(ToString::to_string).collect(),
    }
}
