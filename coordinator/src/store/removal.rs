//! What deleted sweeps leave goes bit by bit, in transactions of bounded size; whoever is stopped in the middle leaves nothing that another
//! coordinator could not go on with.
//!
//! First a sweep lets go of its cells and tasks, then it is gone itself. Tasks that no sweep wants any more go consumers first, an attack together with
//! its shards: shards that were merged have no results of their own, so nobody may find them without their attack. A submission must find a task
//! whole or not at all, so tasks are removed only while none is under way: each holds [`SUBMISSIONS`] shared, and a removal takes it alone, or
//! comes back later.

use std::collections::BTreeSet;

use gauntlet_domain::TaskId;
use gauntlet_domain::task::Event;

use super::rows::{LockedTask, task_id, task_ids};
use super::work::Work;
use super::{Error, Store};

/// Name of the lock that submissions hold shared.
const SUBMISSIONS: i64 = 0x6761_756e_0001;
/// Cells and memberships removed at once.
const ROWS: i64 = 2000;
/// Tasks removed at once, beside the shards of attacks.
const TASKS: i64 = 200;

/// What a step of the removal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Something was removed; there may be more.
    Some,
    /// There is nothing to remove.
    Nothing,
    /// A submission is under way, or another coordinator removes.
    Busy,
}

impl Store {
    /// Removes some of what deleted sweeps left.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remove_some(&self) -> Result<Removal, Error> {
        if self.empty_a_sweep().await? {
            return Ok(Removal::Some);
        }
        self.remove_tasks().await
    }

    /// Takes some cells and tasks away from a deleted sweep, at last itself. False if there is none that nobody else holds.
    async fn empty_a_sweep(&self) -> Result<bool, Error> {
        let mut work = self.begin().await?;
        let sweep = sqlx::query_scalar!(
            "select sweep_id from sweeps where deleted_at is not null order by deleted_at limit 1 for update skip locked"
        );
        let Some(sweep) = sweep.fetch_optional(&mut *work.tx).await? else { return Ok(false) };
        let cells = sqlx::query!(
            "delete from sweep_cells where sweep_id = $1
                and position in (select position from sweep_cells where sweep_id = $1 limit $2)",
            sweep,
            ROWS
        );
        let cells = cells.execute(&mut *work.tx).await?.rows_affected();
        let tasks = sqlx::query!(
            "with released as (
                delete from sweep_tasks where sweep_id = $1
                    and task_id in (select task_id from sweep_tasks where sweep_id = $1 limit $2)
                returning task_id
            )
            insert into unwanted_tasks (task_id, depth)
            select task_id, s.depth from released join task_specs s using (task_id)
            order by task_id
            -- So that a removal which looks at the task at this moment waits, or is waited for.
            on conflict (task_id) do update set depth = excluded.depth",
            sweep,
            ROWS
        );
        let tasks = tasks.execute(&mut *work.tx).await?.rows_affected();
        if cells == 0 && tasks == 0 {
            let left = sqlx::query!("delete from sweeps where sweep_id = $1", sweep);
            left.execute(&mut *work.tx).await?;
            tracing::info!(sweep, "a deleted sweep is gone");
        }
        work.commit().await?;
        Ok(true)
    }

    /// Removes some tasks that no sweep wants.
    async fn remove_tasks(&self) -> Result<Removal, Error> {
        let mut work = self.begin().await?;
        let unwanted = sqlx::query_scalar!(
            r#"select task_id as "task_id!: Vec<u8>" from unwanted_tasks order by depth desc, task_id limit $1"#,
            TASKS
        );
        let unwanted = ids(unwanted.fetch_all(&mut *work.tx).await?)?;
        if unwanted.is_empty() {
            return Ok(Removal::Nothing);
        }
        let alone = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "alone!""#, SUBMISSIONS);
        if !alone.fetch_one(&mut *work.tx).await? {
            return Ok(Removal::Busy);
        }
        let candidates = work.with_shards(&unwanted).await?;
        work.lock_unwanted(&candidates).await?;
        let locked = work.lock(&candidates).await?;
        let wanted = work.wanted_by_a_sweep(&candidates).await?;
        let unwanted: Vec<LockedTask> = locked.into_iter().filter(|task| !wanted.contains(&task.id)).collect();
        let (over, running): (Vec<_>, Vec<_>) = unwanted.into_iter().partition(|task| task.task.state.is_final());
        // Whoever lets go of a sweep has stopped them; they go with the next step.
        let reason = "no sweep wants it any more".to_owned();
        let stopped: BTreeSet<TaskId> = running.iter().map(|task| task.id).collect();
        let stop = |task: LockedTask| (task, Event::Cancelled { reason: reason.clone() });
        work.advance(running.into_iter().map(stop).collect()).await?;
        let over: Vec<TaskId> = over.into_iter().map(|task| task.id).collect();
        let kept = work.needed_by_others(&over).await?;
        let removed: Vec<TaskId> = over.into_iter().filter(|task| !kept.contains(task)).collect();
        work.remove(&removed).await?;
        let done: Vec<TaskId> =
            candidates.into_iter().filter(|task| !kept.contains(task) && !stopped.contains(task)).collect();
        work.forget_unwanted(&done).await?;
        work.commit().await?;
        // What is left waits for a task that another coordinator is about to release.
        Ok(if done.is_empty() && stopped.is_empty() { Removal::Busy } else { Removal::Some })
    }
}

impl Work {
    /// Nobody removes tasks until this transaction, a submission, is over.
    pub async fn hold_off_removal(&mut self) -> Result<(), Error> {
        sqlx::query!("select pg_advisory_xact_lock_shared($1)", SUBMISSIONS).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// A deleted sweep begins anew: what was not removed yet of it goes. Its tasks are locked.
    pub async fn clear_sweep(&mut self, sweep: &str) -> Result<(), Error> {
        sqlx::query!("delete from sweep_cells where sweep_id = $1", sweep).execute(&mut *self.tx).await?;
        sqlx::query!("delete from sweep_counts where sweep_id = $1", sweep).execute(&mut *self.tx).await?;
        let released = sqlx::query!(
            "with released as (delete from sweep_tasks where sweep_id = $1 returning task_id)
            insert into unwanted_tasks (task_id, depth)
            select task_id, s.depth from released join task_specs s using (task_id)
            order by task_id
            on conflict (task_id) do nothing",
            sweep
        );
        released.execute(&mut *self.tx).await?;
        Ok(())
    }

    /// These tasks, and of each attack that is merged the whole with all its shards.
    async fn with_shards(&mut self, tasks: &[TaskId]) -> Result<Vec<TaskId>, Error> {
        let parts = sqlx::query_scalar!(
            r#"with whole as (
                select task_id from tasks where merges and task_id = any($1::bytea[])
                union
                select t.task_id from task_inputs i join tasks t using (task_id) where t.merges and i.input_task_id = any($1::bytea[])
            )
            select task_id as "task_id!: Vec<u8>" from whole
            union
            select i.input_task_id from whole join task_inputs i using (task_id)"#,
            &task_ids(tasks)
        );
        let parts = ids(parts.fetch_all(&mut *self.tx).await?)?;
        Ok(tasks.iter().copied().chain(parts).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Whoever releases one of these tasks at this moment waits until this transaction is over, or has been waited for.
    async fn lock_unwanted(&mut self, tasks: &[TaskId]) -> Result<(), Error> {
        let query = sqlx::query!(
            "select from unwanted_tasks where task_id = any($1::bytea[]) order by task_id for update",
            &task_ids(tasks)
        );
        query.execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn wanted_by_a_sweep(&mut self, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, Error> {
        let wanted = sqlx::query_scalar!(
            r#"select n.task_id as "task_id!: Vec<u8>" from unnest($1::bytea[]) as n (task_id)
            where exists (
                select from sweep_tasks st join sweeps s using (sweep_id) where st.task_id = n.task_id and s.deleted_at is null
            )"#,
            &task_ids(tasks)
        );
        Ok(ids(wanted.fetch_all(&mut *self.tx).await?)?.into_iter().collect())
    }

    /// Those of these tasks that a task beside these needs, directly or not.
    async fn needed_by_others(&mut self, tasks: &[TaskId]) -> Result<BTreeSet<TaskId>, Error> {
        let needed = sqlx::query_scalar!(
            r#"with recursive needed (task_id) as (
                select i.input_task_id from task_inputs i
                where i.input_task_id = any($1::bytea[]) and not i.task_id = any($1::bytea[])
                union
                select i.input_task_id from needed n join task_inputs i using (task_id) where i.input_task_id = any($1::bytea[])
            )
            select task_id as "task_id!: Vec<u8>" from needed"#,
            &task_ids(tasks)
        );
        Ok(ids(needed.fetch_all(&mut *self.tx).await?)?.into_iter().collect())
    }

    /// Removes tasks with all they tried and came to. Only deleted sweeps hold them still.
    async fn remove(&mut self, tasks: &[TaskId]) -> Result<(), Error> {
        let tasks = task_ids(tasks);
        sqlx::query!("delete from sweep_tasks where task_id = any($1::bytea[])", &tasks).execute(&mut *self.tx).await?;
        sqlx::query!("delete from task_inputs where task_id = any($1::bytea[])", &tasks).execute(&mut *self.tx).await?;
        sqlx::query!("delete from tasks where task_id = any($1::bytea[])", &tasks).execute(&mut *self.tx).await?;
        sqlx::query!("delete from task_specs where task_id = any($1::bytea[])", &tasks).execute(&mut *self.tx).await?;
        Ok(())
    }

    async fn forget_unwanted(&mut self, tasks: &[TaskId]) -> Result<(), Error> {
        let query = sqlx::query!("delete from unwanted_tasks where task_id = any($1::bytea[])", &task_ids(tasks));
        query.execute(&mut *self.tx).await?;
        Ok(())
    }
}

fn ids(rows: Vec<Vec<u8>>) -> Result<Vec<TaskId>, Error> {
    rows.into_iter().map(task_id).collect()
}
