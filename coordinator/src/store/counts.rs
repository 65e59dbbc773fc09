//! How many tasks of each sweep stand where. The numbers are kept by the transactions that move the tasks, so that nobody ever counts them.
//!
//! A transaction adds its changes as the last thing before it commits, to sweeps in the order of their ids. Transactions of different connections
//! mostly add to different rows (parts) of a sweep; its numbers are the sums. Claims and what is handed back move tasks between ready and leased,
//! which are counted together.

use std::collections::BTreeMap;

use gauntlet_domain::task::{Task, TaskState};
use sqlx::{Postgres, Transaction as DatabaseTransaction};

use super::rows::{column, task_ids, unsigned};
use super::work::Transition;
use super::{Error, Store};

/// Numbers of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// Tasks that wait for inputs.
    pub pending: u64,
    /// Tasks that are ready or leased.
    pub open: u64,
    /// Tasks with a result.
    pub succeeded: u64,
    /// Tasks that gave up.
    pub failed: u64,
    /// Tasks that a user stopped.
    pub cancelled: u64,
    /// Tasks one of whose inputs will never come.
    pub skipped: u64,
    /// Tasks that an earlier attack made pointless.
    pub pointless: u64,
    /// Sum of the costs of all tasks.
    pub total_cost: f64,
    /// Sum of the costs of those that succeeded or are pointless.
    pub done_cost: f64,
    /// Rows of the results when all is done.
    pub cells: u64,
}

impl Counts {
    /// Counts one more task.
    pub(super) fn add(&mut self, Standing { state, pointless, cost }: Standing) {
        let count = match state {
            TaskState::Pending => &mut self.pending,
            TaskState::Ready | TaskState::Leased => &mut self.open,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Cancelled => &mut self.cancelled,
            TaskState::Skipped if pointless => &mut self.pointless,
            TaskState::Skipped => &mut self.skipped,
        };
        *count += 1;
        self.total_cost += cost;
        if state == TaskState::Succeeded || pointless {
            self.done_cost += cost;
        }
    }
}

/// What is counted of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    pub state: TaskState,
    pub pointless: bool,
    pub cost: f64,
}

/// The name under which a task is counted.
const fn counted_as(task: &Task) -> &'static str {
    match task.state {
        TaskState::Ready | TaskState::Leased => "open",
        TaskState::Skipped if task.pointless => "pointless",
        other => other.name(),
    }
}

/// Moves tasks from one number to another in all sweeps that want them.
pub(super) async fn follow(
    transitions: &[Transition],
    tx: &mut DatabaseTransaction<'static, Postgres>,
) -> Result<(), Error> {
    let moved = |it: &&Transition| counted_as(&it.before) != counted_as(&it.after);
    let moved: Vec<&Transition> = transitions.iter().filter(moved).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let query = sqlx::query!(
        "insert into sweep_counts as c (sweep_id, part, pending, open, succeeded, failed, cancelled, skipped, pointless, done_cost)
        select sweep_id, 1 + pg_backend_pid() % 8, sum(pending), sum(open), sum(succeeded), sum(failed), sum(cancelled), sum(skipped),
            sum(pointless), sum(done)
        from (
            select st.sweep_id,
                (n.after = 'pending')::integer - (n.before = 'pending')::integer as pending,
                (n.after = 'open')::integer - (n.before = 'open')::integer as open,
                (n.after = 'succeeded')::integer - (n.before = 'succeeded')::integer as succeeded,
                (n.after = 'failed')::integer - (n.before = 'failed')::integer as failed,
                (n.after = 'cancelled')::integer - (n.before = 'cancelled')::integer as cancelled,
                (n.after = 'skipped')::integer - (n.before = 'skipped')::integer as skipped,
                (n.after = 'pointless')::integer - (n.before = 'pointless')::integer as pointless,
                n.cost * ((n.after in ('succeeded', 'pointless'))::integer - (n.before in ('succeeded', 'pointless'))::integer) as done
            from unnest($1::bytea[], $2::text[], $3::text[], $4::double precision[]) as n (task_id, before, after, cost)
            join sweep_tasks st using (task_id)
        ) as change
        group by sweep_id
        order by sweep_id
        on conflict (sweep_id, part) do update set
            pending = c.pending + excluded.pending, open = c.open + excluded.open, succeeded = c.succeeded + excluded.succeeded,
            failed = c.failed + excluded.failed, cancelled = c.cancelled + excluded.cancelled, skipped = c.skipped + excluded.skipped,
            pointless = c.pointless + excluded.pointless, done_cost = c.done_cost + excluded.done_cost",
        &task_ids(moved.iter().map(|it| &it.task)),
        &moved.iter().map(|it| counted_as(&it.before)).collect::<Vec<_>>() as _,
        &moved.iter().map(|it| counted_as(&it.after)).collect::<Vec<_>>() as _,
        &moved.iter().map(|it| it.cost).collect::<Vec<_>>()
    );
    query.execute(&mut **tx).await?;
    Ok(())
}

/// Counts what a submission has added to its sweep, whose row it holds.
pub(super) async fn add(
    sweep: &str,
    added: &Counts,
    tx: &mut DatabaseTransaction<'static, Postgres>,
) -> Result<(), Error> {
    let number = |count: u64| column::<i64, _>(count, "the number of tasks");
    let query = sqlx::query!(
        "insert into sweep_counts as c
            (sweep_id, part, pending, open, succeeded, failed, cancelled, skipped, pointless, total_cost, done_cost, cells)
        values ($1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (sweep_id, part) do update set
            pending = c.pending + excluded.pending, open = c.open + excluded.open, succeeded = c.succeeded + excluded.succeeded,
            failed = c.failed + excluded.failed, cancelled = c.cancelled + excluded.cancelled, skipped = c.skipped + excluded.skipped,
            pointless = c.pointless + excluded.pointless, total_cost = c.total_cost + excluded.total_cost,
            done_cost = c.done_cost + excluded.done_cost, cells = c.cells + excluded.cells",
        sweep,
        number(added.pending)?,
        number(added.open)?,
        number(added.succeeded)?,
        number(added.failed)?,
        number(added.cancelled)?,
        number(added.skipped)?,
        number(added.pointless)?,
        added.total_cost,
        added.done_cost,
        number(added.cells)?
    );
    query.execute(&mut **tx).await?;
    Ok(())
}

impl Store {
    /// The numbers of these sweeps, and how many of their open tasks are leased.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sweep_counts(&self, sweeps: &[String]) -> Result<BTreeMap<String, (Counts, u64)>, Error> {
        let rows = sqlx::query!(
            r#"select c.sweep_id as "sweep_id!", c.pending as "pending!", c.open as "open!", c.succeeded as "succeeded!",
                c.failed as "failed!", c.cancelled as "cancelled!", c.skipped as "skipped!", c.pointless as "pointless!", c.total_cost as "total_cost!",
                c.done_cost as "done_cost!", c.cells as "cells!", coalesce(l.leased, 0) as "leased!"
            from (
                select sweep_id, sum(pending)::bigint as pending, sum(open)::bigint as open, sum(succeeded)::bigint as succeeded,
                    sum(failed)::bigint as failed, sum(cancelled)::bigint as cancelled, sum(skipped)::bigint as skipped,
                    sum(pointless)::bigint as pointless, sum(total_cost) as total_cost, sum(done_cost) as done_cost, sum(cells)::bigint as cells
                from sweep_counts where sweep_id = any($1::text[]) group by sweep_id
            ) as c
            left join (
                select st.sweep_id, count(*) as leased from tasks t join sweep_tasks st using (task_id)
                where t.state = 'leased' and st.sweep_id = any($1::text[]) group by st.sweep_id
            ) as l using (sweep_id)"#,
            sweeps
        );
        let mut counts = BTreeMap::new();
        for row in rows.fetch_all(&self.pool).await? {
            let sums = Counts {
                pending: unsigned(row.pending)?,
                open: unsigned(row.open)?,
                succeeded: unsigned(row.succeeded)?,
                failed: unsigned(row.failed)?,
                cancelled: unsigned(row.cancelled)?,
                skipped: unsigned(row.skipped)?,
                pointless: unsigned(row.pointless)?,
                total_cost: row.total_cost,
                done_cost: row.done_cost,
                cells: unsigned(row.cells)?,
            };
            counts.insert(row.sweep_id, (sums, unsigned(row.leased)?));
        }
        Ok(counts)
    }
}
