//! How far sweeps are.

use std::collections::BTreeMap;

use gauntlet_domain::task::TaskState;
use gauntlet_domain::{AttemptRef, TaskId};

use super::rows::{attempt, micros, task_id, task_ids, task_state, unsigned};
use super::{Error, Store};

/// Most candidates that are named where an id is ambiguous.
const CANDIDATES: i64 = 11;

/// What an id or its beginning stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved<T> {
    /// Exactly this.
    One(T),
    /// Nothing.
    Nothing,
    /// Any of these, or more.
    Several(Vec<T>),
}

/// A sweep and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepStatus {
    /// Which.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was submitted first, in microseconds since 1970.
    pub submitted_at: i64,
    /// Whether a user stopped it.
    pub cancelled: bool,
    /// Whether nothing more of it is started.
    pub paused: bool,
    /// Whose it is.
    pub user: String,
    /// Share beside sweeps of the same user and priority.
    pub weight: u32,
    /// Higher goes first, among the sweeps of the user.
    pub priority: i32,
    /// Tasks that may run at once, where that is bounded.
    pub max_concurrent: Option<u32>,
    /// Tasks by state, but for those that are pointless.
    pub counts: BTreeMap<TaskState, u32>,
    /// Tasks that an earlier attack made pointless.
    pub pointless: u32,
    /// Sum of the costs of all tasks.
    pub total_cost: f64,
    /// Sum of the costs of those that succeeded or are pointless.
    pub done_cost: f64,
    /// Rows of the results when all is done.
    pub cells: u32,
    /// What runs.
    pub running: Vec<RunningRow>,
    /// Some of what ended without a result, failures first.
    pub unsuccessful: Vec<EndedRow>,
}

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningRow {
    /// Which.
    pub attempt: AttemptRef,
    /// Kind of the task.
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// Who runs it.
    pub worker: String,
    /// Expected cost of the whole task.
    pub cost: f64,
}

/// A task that ended without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRow {
    /// Which.
    pub task: TaskId,
    /// Its kind.
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// How it ended.
    pub state: TaskState,
    /// Why.
    pub reason: String,
}

impl SweepStatus {
    /// Tasks in this state.
    pub fn count(&self, state: TaskState) -> u32 {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    fn any(&self, of: fn(TaskState) -> bool) -> bool {
        self.counts.iter().any(|(state, count)| *count > 0 && of(*state))
    }

    /// Whether it has ended: neither running nor paused.
    pub fn is_over(&self) -> bool {
        self.cancelled || !self.any(|state| !state.is_final())
    }

    /// running, paused, succeeded, failed or cancelled.
    pub fn state(&self) -> &'static str {
        if self.cancelled {
            "cancelled"
        } else if !self.is_over() {
            if self.paused { "paused" } else { "running" }
        } else if self.any(TaskState::ended_without_result) {
            "failed"
        } else {
            "succeeded"
        }
    }
}

impl Store {
    /// The sweep of this id, the latest of this name, or the one whose id begins so.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn resolve_sweep(&self, text: &str) -> Result<Resolved<String>, Error> {
        let exact = sqlx::query_scalar!(
            "select sweep_id from sweeps where (sweep_id = $1 or name = $1) and deleted_at is null
            order by sweep_id = $1 desc, submitted_at desc limit 1",
            text
        );
        if let Some(id) = exact.fetch_optional(&self.pool).await? {
            return Ok(Resolved::One(id));
        }
        let beginning = sqlx::query_scalar!(
            "select sweep_id from sweeps where starts_with(sweep_id, $1) and deleted_at is null order by submitted_at desc limit $2",
            text,
            CANDIDATES
        );
        Ok(resolved(beginning.fetch_all(&self.pool).await?))
    }

    /// The sweep file, as it was submitted first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sweep_source(&self, sweep: &str) -> Result<Option<String>, Error> {
        let source = sqlx::query_scalar!("select source from sweeps where sweep_id = $1 and deleted_at is null", sweep);
        Ok(source.fetch_optional(&self.pool).await?)
    }

    /// The latest sweeps, the latest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn latest_sweeps(&self, limit: u32) -> Result<Vec<SweepStatus>, Error> {
        let ids = sqlx::query_scalar!(
            "select sweep_id from sweeps where deleted_at is null order by submitted_at desc, sweep_id limit $1",
            i64::from(limit)
        );
        let ids = ids.fetch_all(&self.pool).await?;
        self.sweep_statuses(&ids).await
    }

    /// How far a sweep is; none if there is no such sweep.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sweep_status(&self, id: &str) -> Result<Option<SweepStatus>, Error> {
        Ok(self.sweep_statuses(&[id.to_owned()]).await?.pop())
    }

    async fn sweep_statuses(&self, ids: &[String]) -> Result<Vec<SweepStatus>, Error> {
        let mut statuses: BTreeMap<String, SweepStatus> = BTreeMap::new();
        let rows = sqlx::query!(
            r#"select sweep_id, name, submitted_at, cancelled_at is not null as "cancelled!", paused_at is not null as "paused!",
                user_name, weight, priority, max_concurrent
            from sweeps s where sweep_id = any($1::text[]) and deleted_at is null"#,
            ids
        );
        for row in rows.fetch_all(&self.pool).await? {
            let status = SweepStatus {
                id: row.sweep_id.clone(),
                name: row.name,
                submitted_at: micros(row.submitted_at),
                cancelled: row.cancelled,
                paused: row.paused,
                user: row.user_name,
                weight: unsigned(row.weight)?,
                priority: row.priority,
                max_concurrent: row.max_concurrent.map(unsigned).transpose()?,
                counts: BTreeMap::new(),
                pointless: 0,
                total_cost: 0.0,
                done_cost: 0.0,
                cells: 0,
                running: Vec::new(),
                unsuccessful: Vec::new(),
            };
            statuses.insert(row.sweep_id, status);
        }
        self.add_counts(&mut statuses).await?;
        self.add_running(&mut statuses).await?;
        self.add_unsuccessful(&mut statuses).await?;
        Ok(ids.iter().filter_map(|id| statuses.remove(id)).collect())
    }

    async fn add_counts(&self, statuses: &mut BTreeMap<String, SweepStatus>) -> Result<(), Error> {
        let ids: Vec<String> = statuses.keys().cloned().collect();
        for (sweep, (counts, leased)) in self.sweep_counts(&ids).await? {
            let Some(status) = statuses.get_mut(&sweep) else { continue };
            let by_state = [
                (TaskState::Pending, counts.pending),
                (TaskState::Ready, counts.open.saturating_sub(leased)),
                (TaskState::Leased, leased),
                (TaskState::Succeeded, counts.succeeded),
                (TaskState::Failed, counts.failed),
                (TaskState::Cancelled, counts.cancelled),
                (TaskState::Skipped, counts.skipped),
            ];
            for (state, count) in by_state.into_iter().filter(|(_, count)| *count > 0) {
                status.counts.insert(state, unsigned(count)?);
            }
            (status.total_cost, status.done_cost) = (counts.total_cost, counts.done_cost);
            status.cells = unsigned(counts.cells)?;
            status.pointless = unsigned(counts.pointless)?;
        }
        Ok(())
    }

    async fn add_running(&self, statuses: &mut BTreeMap<String, SweepStatus>) -> Result<(), Error> {
        let rows = sqlx::query!(
            r#"select st.sweep_id, t.task_id as "task_id!: Vec<u8>", t.attempt, t.worker_id as "worker_id!",
                s.kind::text as "kind!", s.label, s.cost
            from tasks t join task_specs s using (task_id) join sweep_tasks st using (task_id)
            where t.state = 'leased' and st.sweep_id = any($1::text[])
            order by s.label, t.task_id
            limit 1000"#,
            &statuses.keys().cloned().collect::<Vec<_>>()
        );
        for row in rows.fetch_all(&self.pool).await? {
            let attempt = AttemptRef { task: task_id(row.task_id)?, attempt: attempt(row.attempt)? };
            let running =
                RunningRow { attempt, kind: row.kind, label: row.label, worker: row.worker_id, cost: row.cost };
            if let Some(status) = statuses.get_mut(&row.sweep_id) {
                status.running.push(running);
            }
        }
        Ok(())
    }

    async fn add_unsuccessful(&self, statuses: &mut BTreeMap<String, SweepStatus>) -> Result<(), Error> {
        let some = |status: &&SweepStatus| status.counts.keys().any(|state| state.ended_without_result());
        let ids: Vec<String> = statuses.values().filter(some).map(|status| status.id.clone()).collect();
        let rows = sqlx::query!(
            r#"select n.sweep_id as "sweep_id!", e.task_id as "task_id!: Vec<u8>", e.kind as "kind!", e.label as "label!",
                e.state as "state!", e.reason as "reason!"
            from unnest($1::text[]) as n (sweep_id)
            cross join lateral (
                select t.task_id::bytea as task_id, s.kind::text as kind, s.label, t.state::text as state, coalesce(t.reason, '') as reason
                from sweep_tasks st join tasks t using (task_id) join task_specs s using (task_id)
                where st.sweep_id = n.sweep_id and t.state in ('failed', 'cancelled', 'skipped') and not t.pointless
                order by t.state, t.changed_at desc, t.task_id
                limit 20
            ) as e"#,
            &ids
        );
        for row in rows.fetch_all(&self.pool).await? {
            let state = task_state(&row.state)?;
            let ended =
                EndedRow { task: task_id(row.task_id)?, kind: row.kind, label: row.label, state, reason: row.reason };
            if let Some(status) = statuses.get_mut(&row.sweep_id) {
                status.unsuccessful.push(ended);
            }
        }
        Ok(())
    }

    /// States of those of these tasks that exist, and whether they are pointless.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn task_states(&self, tasks: &[TaskId]) -> Result<BTreeMap<TaskId, (TaskState, bool)>, Error> {
        let rows = sqlx::query!(
            r#"select task_id as "task_id!: Vec<u8>", state::text as "state!", pointless from tasks where task_id = any($1::bytea[])"#,
            &task_ids(tasks)
        );
        rows.fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(|row| Ok((task_id(row.task_id)?, (task_state(&row.state)?, row.pointless))))
            .collect()
    }
}

pub(super) fn resolved<T>(mut candidates: Vec<T>) -> Resolved<T> {
    match (candidates.len(), candidates.pop()) {
        (1, Some(only)) => Resolved::One(only),
        (_, Some(last)) => {
            candidates.push(last);
            Resolved::Several(candidates)
        }
        (_, None) => Resolved::Nothing,
    }
}
