//! Users stop sweeps and try again.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::TaskId;
use gauntlet_domain::task::Event;

use super::pauses::unfinished_tasks;
use super::rows::{LockedTask, task_id, task_ids, unsigned};
use super::work::Work;
use super::{Error, Store, Transition, queues};

impl Store {
    /// Stops every task that no other sweep wants, and leaves the others to the queues of those that want them. A pause is over then. A sweep of which
    /// nothing is left to stop stays as it is.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn cancel_sweep(&self, sweep: &str) -> Result<Vec<Transition>, Error> {
        let mut work = self.begin().await?;
        let Some(queue_key) = lock_sweep(sweep, &mut work).await? else { return Ok(Vec::new()) };
        let unfinished = unfinished_tasks(sweep, &mut work).await?;
        if unfinished.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query!(
            "update sweeps set cancelled_at = coalesce(cancelled_at, now()), paused_at = null, hands_back = false where sweep_id = $1",
            sweep
        );
        query.execute(&mut *work.tx).await?;
        work.stop_unwanted(sweep, &unfinished, &format!("sweep {sweep} was cancelled")).await?;
        queues::leave_charge(queue_key, &unfinished, &mut work).await?;
        work.commit().await
    }

    /// Gives every task of a sweep that ended without a result, and is not pointless, another try, charged to this sweep, and takes back its
    /// cancellation. If it is paused, they wait until it is resumed, unless another sweep wants them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn retry_sweep(&self, sweep: &str) -> Result<Vec<Transition>, Error> {
        let mut work = self.begin().await?;
        let Some(queue_key) = lock_sweep(sweep, &mut work).await? else { return Ok(Vec::new()) };
        let query = sqlx::query!(
            "update sweeps set cancelled_at = null where sweep_id = $1 and cancelled_at is not null",
            sweep
        );
        query.execute(&mut *work.tx).await?;
        let tasks =
            sqlx::query_scalar!(r#"select task_id as "task_id!: Vec<u8>" from sweep_tasks where sweep_id = $1"#, sweep);
        let tasks = tasks.fetch_all(&mut *work.tx).await?.into_iter().map(task_id).collect::<Result<Vec<_>, _>>()?;
        // All of them, so that no input succeeds between the count and the write.
        let locked = work.lock(&tasks).await?;
        let ended: Vec<LockedTask> = locked.into_iter().filter(|task| task.task.ended_without_result()).collect();
        let missing = missing_inputs(&ended, &mut work).await?;
        let retry = |task: LockedTask| {
            let pending_inputs = missing.get(&task.id).copied().unwrap_or(0);
            (task, Event::Retry { pending_inputs })
        };
        let retried: Vec<TaskId> = ended.iter().map(|task| task.id).collect();
        work.advance(ended.into_iter().map(retry).collect()).await?;
        work.skip_pointless(&retried).await?;
        queues::take_charge(queue_key, &tasks, &retried, &mut work).await?;
        queues::leave_to_others_if_paused(queue_key, &tasks, &mut work).await?;
        work.commit().await
    }
}

impl Work {
    /// Stops those of these tasks of a sweep that no other one wants.
    pub async fn stop_unwanted(&mut self, sweep: &str, tasks: &[TaskId], reason: &str) -> Result<(), Error> {
        // Locked before it is asked who else wants them: of two sweeps cancelled at once, the second sees the first.
        let locked = self.lock(tasks).await?;
        let unwanted = unwanted_tasks(sweep, tasks, self).await?;
        let stopped = locked.into_iter().filter(|task| unwanted.contains(&task.id) && !task.task.state.is_final());
        let events = stopped.map(|task| (task, Event::Cancelled { reason: reason.to_owned() })).collect();
        self.advance(events).await?;
        Ok(())
    }
}

/// Gives the number of its queue; none if there is no such sweep.
pub(super) async fn lock_sweep(sweep: &str, work: &mut Work) -> Result<Option<i32>, Error> {
    let query = sqlx::query_scalar!(
        "select queue_key from sweeps where sweep_id = $1 and deleted_at is null for no key update",
        sweep
    );
    Ok(query.fetch_optional(&mut *work.tx).await?)
}

async fn unwanted_tasks(sweep: &str, tasks: &[TaskId], work: &mut Work) -> Result<BTreeSet<TaskId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"select n.task_id as "task_id!: Vec<u8>" from unnest($1::bytea[]) as n (task_id)
        where not exists (
            select from sweep_tasks st join sweeps s using (sweep_id)
            where st.task_id = n.task_id and st.sweep_id <> $2 and s.cancelled_at is null
        )"#,
        &task_ids(tasks),
        sweep
    );
    rows.fetch_all(&mut *work.tx).await?.into_iter().map(task_id).collect()
}

/// For each of these tasks that lacks inputs, how many.
async fn missing_inputs(tasks: &[LockedTask], work: &mut Work) -> Result<BTreeMap<TaskId, u32>, Error> {
    let rows = sqlx::query!(
        r#"select i.task_id as "task_id!: Vec<u8>", count(*) as "count!" from task_inputs i join tasks t on t.task_id = i.input_task_id
        where i.task_id = any($1::bytea[]) and t.state <> 'succeeded'
        group by i.task_id"#,
        &task_ids(tasks.iter().map(|task| &task.id))
    );
    rows.fetch_all(&mut *work.tx)
        .await?
        .into_iter()
        .map(|row| Ok((task_id(row.task_id)?, unsigned(row.count)?)))
        .collect()
}
