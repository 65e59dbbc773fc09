//! One task and what it tried.

use gauntlet_domain::schedule::{DemandKey, QueueKey, Requirements};
use gauntlet_domain::task::{Task, TaskState};
use gauntlet_domain::{Digest, TaskId};

use super::queues::requirements;
use super::rows::{LockedTask, TaskRow, bytes, micros, task_id, task_state, unsigned};
use super::sweeps::{Resolved, resolved};
use super::{Error, Store};

/// All there is to know of a task.
#[derive(Debug, Clone)]
pub struct TaskDetails {
    /// Which.
    pub id: TaskId,
    /// Its kind.
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// Where it stands.
    pub task: Task,
    /// When that changed last, in microseconds since 1970.
    pub changed_at: i64,
    /// Now, by the same clock.
    pub now: i64,
    /// Memory it is known to need at least, in MiB.
    pub min_memory_mib: Option<u32>,
    /// What it needs of a worker.
    pub demand: DemandKey,
    /// Its expected cost.
    pub cost: f64,
    /// What the sweep asks of workers that is charged for it.
    pub requires: Requirements,
    /// What it computes.
    pub spec_json: String,
    /// What it tried; the latest 100.
    pub attempts: Vec<AttemptRow>,
    /// Sweeps that want it; at most 100.
    pub sweeps: Vec<String>,
    /// The sweep in whose queue it is.
    pub charged: Option<ChargedSweep>,
    /// What it needs.
    pub inputs: Vec<InputRow>,
}

/// The sweep that is charged for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargedSweep {
    /// Which.
    pub id: String,
    /// Its queue.
    pub queue: QueueKey,
    /// Whether nothing more of it is started.
    pub paused: bool,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its number.
    pub attempt: u32,
    /// Who ran it.
    pub worker: String,
    /// In microseconds since 1970.
    pub started_at: i64,
    /// In microseconds since 1970; none while it runs.
    pub ended_at: Option<i64>,
    /// How it ended.
    pub outcome: String,
    /// Kind of the failure.
    pub failure_class: Option<String>,
    /// What was said of it.
    pub message: Option<String>,
    /// The most memory its executor took, in MiB.
    pub peak_memory_mib: Option<u32>,
}

/// A task that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRow {
    /// Which.
    pub task: TaskId,
    /// Its kind.
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// Where it stands.
    pub state: TaskState,
    /// Why.
    pub reason: Option<String>,
}

impl Store {
    /// The task whose id begins with these hexadecimal digits.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn resolve_task(&self, beginning: &str) -> Result<Resolved<TaskId>, Error> {
        let bound = |filler: &str| hex_bytes(beginning, filler);
        let (Some(low), Some(high)) = (bound("0"), bound("f")) else { return Ok(Resolved::Nothing) };
        let rows = sqlx::query_scalar!(
            r#"select task_id as "task_id!: Vec<u8>" from task_specs where task_id between $1::bytea and $2::bytea order by task_id limit 11"#,
            low,
            high
        );
        let ids = rows.fetch_all(&self.pool).await?.into_iter().map(task_id).collect::<Result<Vec<_>, _>>()?;
        Ok(resolved(ids))
    }

    /// All there is to know of a task; none if there is no such task.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn task_details(&self, id: TaskId) -> Result<Option<TaskDetails>, Error> {
        let row = sqlx::query!(
            r#"select t.state::text as "state!", t.attempt, t.worker_id, t.pending_inputs, t.merges, t.pointless, t.not_before, t.lost_leases,
                t.transient_failures, t.crashes, t.resource_failures, t.crash_evidence, t.min_memory_mib, t.reason, t.changed_at,
                now() as "now!", s.label, s.cost, s.kind::text as "kind!", s.spec::text as "spec!", t.demand_key, t.queue_key,
                q.sweep_id as "charged?", q.paused_at is not null as "paused!", q.required_labels as "required_labels?",
                q.memory_mib as "memory_mib?"
            from tasks t join task_specs s using (task_id) left join sweeps q using (queue_key) where t.task_id = $1"#,
            bytes(id)
        );
        let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
        let LockedTask { label, task, .. } = LockedTask::try_from(TaskRow {
            task_id: bytes(id),
            state: row.state,
            attempt: row.attempt,
            worker_id: row.worker_id,
            pending_inputs: row.pending_inputs,
            merges: row.merges,
            pointless: row.pointless,
            not_before: row.not_before,
            lost_leases: row.lost_leases,
            transient_failures: row.transient_failures,
            crashes: row.crashes,
            resource_failures: row.resource_failures,
            crash_evidence: row.crash_evidence,
            reason: row.reason,
            changed_at: row.changed_at,
            label: row.label,
            cost: row.cost,
        })?;
        let mut attempts = self.attempts_of(id).await?;
        attempts.extend(running_attempt(&task, row.changed_at));
        Ok(Some(TaskDetails {
            id,
            kind: row.kind,
            label,
            task,
            changed_at: micros(row.changed_at),
            now: micros(row.now),
            min_memory_mib: row.min_memory_mib.map(unsigned).transpose()?,
            demand: DemandKey(row.demand_key),
            cost: row.cost,
            requires: requirements(row.required_labels, row.memory_mib)?,
            spec_json: row.spec,
            attempts,
            sweeps: self.sweeps_of(id).await?,
            charged: row.charged.map(|id| ChargedSweep { id, queue: QueueKey(row.queue_key), paused: row.paused }),
            inputs: self.inputs_of(id).await?,
        }))
    }

    /// The place of a ready task in the queue of its sweep: how many go before it, counted up to `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn ahead_of(&self, id: TaskId, limit: i64) -> Result<u64, Error> {
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from (
                select from tasks t, (select queue_key, critical_path_cost, task_id from tasks where task_id = $1) as me
                where t.state = 'ready' and t.queue_key = me.queue_key
                    and (-t.critical_path_cost, t.task_id) < (-me.critical_path_cost, me.task_id)
                limit $2
            ) as before"#,
            bytes(id),
            limit
        );
        unsigned(count.fetch_one(&self.pool).await?)
    }

    /// Those that are over.
    async fn attempts_of(&self, id: TaskId) -> Result<Vec<AttemptRow>, Error> {
        let rows = sqlx::query!(
            r#"select attempt, worker_id, started_at, ended_at, outcome::text as "outcome!", failure_class::text, message,
                peak_memory_mib
            from attempts where task_id = $1 order by attempt desc limit 100"#,
            bytes(id)
        );
        let mut attempts = Vec::new();
        for row in rows.fetch_all(&self.pool).await?.into_iter().rev() {
            attempts.push(AttemptRow {
                attempt: unsigned(row.attempt)?,
                worker: row.worker_id,
                started_at: micros(row.started_at),
                ended_at: Some(micros(row.ended_at)),
                outcome: row.outcome,
                failure_class: row.failure_class,
                message: row.message,
                peak_memory_mib: row.peak_memory_mib.map(unsigned).transpose()?,
            });
        }
        Ok(attempts)
    }

    async fn sweeps_of(&self, id: TaskId) -> Result<Vec<String>, Error> {
        let rows = sqlx::query_scalar!(
            "select sweep_id from sweep_tasks join sweeps using (sweep_id) where task_id = $1 and deleted_at is null
            order by sweep_id limit 100",
            bytes(id)
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    async fn inputs_of(&self, id: TaskId) -> Result<Vec<InputRow>, Error> {
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", s.kind::text as "kind!", s.label, t.state::text as "state!", t.reason
            from task_inputs i join tasks t on t.task_id = i.input_task_id join task_specs s on s.task_id = i.input_task_id
            where i.task_id = $1 order by s.label, t.task_id"#,
            bytes(id)
        );
        let mut inputs = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            let state = task_state(&row.state)?;
            inputs.push(InputRow {
                task: task_id(row.task_id)?,
                kind: row.kind,
                label: row.label,
                state,
                reason: row.reason,
            });
        }
        Ok(inputs)
    }
}

/// The attempt that runs stands with the task until it is over.
fn running_attempt(task: &Task, began: time::OffsetDateTime) -> Option<AttemptRow> {
    task.lease.as_ref().map(|lease| AttemptRow {
        attempt: task.attempt.0,
        worker: lease.worker.to_string(),
        started_at: micros(began),
        ended_at: None,
        outcome: "running".to_owned(),
        failure_class: None,
        message: None,
        peak_memory_mib: None,
    })
}

/// 32 bytes from hexadecimal digits, filled up with one digit.
fn hex_bytes(beginning: &str, filler: &str) -> Option<Vec<u8>> {
    let missing = 64usize.checked_sub(beginning.len())?;
    let text = format!("{beginning}{}", filler.repeat(missing));
    text.parse::<Digest>().ok().map(|digest| digest.as_bytes().to_vec())
}
