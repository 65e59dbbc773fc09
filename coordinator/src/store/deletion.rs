//! Users delete sweeps, and old ones are deleted by themselves.

use std::time::Duration;

use super::leases::interval;
use super::pauses::unfinished_tasks;
use super::wanted::lock_sweep;
use super::{Error, Store, Transition, queues};

/// What became of the wish to delete a sweep.
#[derive(Debug)]
pub enum Deletion {
    /// There is no such sweep.
    Unknown,
    /// So many tasks of it are not over, and it is not cancelled.
    Unfinished(usize),
    /// Nobody sees it any more. This happened to its tasks.
    Deleted(Vec<Transition>),
}

impl Store {
    /// Hides a sweep that is over, or with `cancel` stops and hides it; its rows are removed later ([`Self::remove_some`]).
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_sweep(&self, sweep: &str, cancel: bool) -> Result<Deletion, Error> {
        let mut work = self.begin().await?;
        let Some(queue_key) = lock_sweep(sweep, &mut work).await? else { return Ok(Deletion::Unknown) };
        let unfinished = unfinished_tasks(sweep, &mut work).await?;
        let cancelled = sqlx::query_scalar!(
            r#"select cancelled_at is not null as "cancelled!" from sweeps where sweep_id = $1"#,
            sweep
        );
        if !unfinished.is_empty() && !cancel && !cancelled.fetch_one(&mut *work.tx).await? {
            return Ok(Deletion::Unfinished(unfinished.len()));
        }
        // Like a cancelled sweep it wants nothing any more.
        let query = sqlx::query!(
            "update sweeps set deleted_at = now(), cancelled_at = coalesce(cancelled_at, now()), paused_at = null, hands_back = false
            where sweep_id = $1",
            sweep
        );
        query.execute(&mut *work.tx).await?;
        work.stop_unwanted(sweep, &unfinished, &format!("sweep {sweep} was deleted")).await?;
        queues::leave_charge(queue_key, &unfinished, &mut work).await?;
        Ok(Deletion::Deleted(work.commit().await?))
    }

    /// Some sweeps that ended longer ago than this: all their tasks are over, or they were cancelled.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn ended_before(&self, age: Duration) -> Result<Vec<String>, Error> {
        let ids = sqlx::query_scalar!(
            "select s.sweep_id from sweeps s
            where s.deleted_at is null and s.submitted_at < now() - $1::interval
                and (s.cancelled_at < now() - $1::interval
                    or (s.cancelled_at is null
                        and (select sum(c.pending) + sum(c.open) from sweep_counts c where c.sweep_id = s.sweep_id) = 0
                        and not exists (
                            select from sweep_tasks st join tasks t using (task_id)
                            where st.sweep_id = s.sweep_id and t.changed_at > now() - $1::interval
                        )))
            order by s.submitted_at
            limit 100",
            interval(age)?
        );
        Ok(ids.fetch_all(&self.pool).await?)
    }
}
