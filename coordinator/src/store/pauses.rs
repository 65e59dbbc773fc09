//! Users pause sweeps and let them go on.

use gauntlet_domain::{AttemptRef, TaskId, WorkerId};

use super::rows::{attempt, corrupt, task_id};
use super::wanted::lock_sweep;
use super::work::Work;
use super::{Error, Store, queues};

impl Store {
    /// Starts nothing more of a sweep. What it shares with one that is not paused goes on in the queue of that one. With `hand_back`, what runs for it
    /// alone is to be handed back ([`Self::asked_back`]). A sweep of which nothing is unfinished stays as it is.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn pause_sweep(&self, sweep: &str, hand_back: bool) -> Result<(), Error> {
        let mut work = self.begin().await?;
        let Some(queue_key) = lock_sweep(sweep, &mut work).await? else { return Ok(()) };
        let unfinished = unfinished_tasks(sweep, &mut work).await?;
        if unfinished.is_empty() {
            return Ok(());
        }
        let query = sqlx::query!(
            "update sweeps set paused_at = coalesce(paused_at, now()), hands_back = hands_back or $2 where sweep_id = $1",
            sweep,
            hand_back
        );
        query.execute(&mut *work.tx).await?;
        // Locked before it is asked who else wants them: of two sweeps paused at once, the second sees the first.
        work.lock(&unfinished).await?;
        queues::leave_charge(queue_key, &unfinished, &mut work).await?;
        work.commit().await?;
        Ok(())
    }

    /// Lets a sweep go on that was paused. What it wants and waits for another sweep that is paused comes into its queue.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn resume_sweep(&self, sweep: &str) -> Result<(), Error> {
        let mut work = self.begin().await?;
        let Some(queue_key) = lock_sweep(sweep, &mut work).await? else { return Ok(()) };
        let query = sqlx::query!(
            "update sweeps set paused_at = null, hands_back = false where sweep_id = $1 and paused_at is not null",
            sweep
        );
        if query.execute(&mut *work.tx).await?.rows_affected() == 0 {
            return Ok(());
        }
        let unfinished = unfinished_tasks(sweep, &mut work).await?;
        work.lock(&unfinished).await?;
        queues::take_charge(queue_key, &unfinished, &[], &mut work).await?;
        work.commit().await?;
        Ok(())
    }

    /// What workers of this coordinator run and is to be handed back because its sweep is paused, with that sweep.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn asked_back(&self, coordinator: &str) -> Result<Vec<(WorkerId, AttemptRef, String)>, Error> {
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", t.attempt, t.worker_id as "worker_id!", s.sweep_id
            from sweeps s join tasks t using (queue_key) join workers w using (worker_id)
            where s.paused_at is not null and s.hands_back and t.state = 'leased' and w.coordinator_id = $1"#,
            coordinator
        );
        let row = |id, number, worker: String, sweep| {
            let attempt = AttemptRef { task: task_id(id)?, attempt: attempt(number)? };
            Ok((worker.parse().map_err(corrupt)?, attempt, sweep))
        };
        let rows = rows.fetch_all(&self.pool).await?;
        rows.into_iter().map(|r| row(r.task_id, r.attempt, r.worker_id, r.sweep_id)).collect()
    }
}

/// Tasks of a sweep that are not over.
pub(super) async fn unfinished_tasks(sweep: &str, work: &mut Work) -> Result<Vec<TaskId>, Error> {
    let unfinished = sqlx::query_scalar!(
        r#"select t.task_id as "task_id!: Vec<u8>" from sweep_tasks st join tasks t using (task_id)
        where st.sweep_id = $1 and t.state in ('pending', 'ready', 'leased')"#,
        sweep
    );
    unfinished.fetch_all(&mut *work.tx).await?.into_iter().map(task_id).collect()
}
