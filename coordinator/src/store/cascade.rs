//! Attacks that an earlier one of their cascade has made pointless are skipped, in the transaction in which that is known.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;
use gauntlet_domain::adaptive::{Earlier, pointless};
use gauntlet_domain::results::SkippedRow;
use gauntlet_domain::task::Event;

use super::rows::{LockedTask, task_id, task_ids, unsigned};
use super::work::Work;
use super::{Error, Store};

impl Store {
    /// The cells of a sweep that have no result because their attack was pointless, in the order of the view `skipped_evaluations`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn skipped_evaluations(&self, sweep: &str) -> Result<Vec<SkippedRow>, Error> {
        let rows = sqlx::query!(
            r#"select sweep as "sweep!", dataset as "dataset!", backbone as "backbone!", init as "init!", recipe as "recipe!",
                seed as "seed!", attack as "attack!", norm as "norm!", eps as "eps!", reason as "reason!"
            from skipped_evaluations where sweep = $1"#,
            sweep
        );
        let mut skipped = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            skipped.push(SkippedRow {
                sweep: row.sweep,
                dataset: row.dataset,
                backbone: row.backbone,
                init: row.init,
                recipe: row.recipe,
                seed: unsigned(row.seed)?,
                attack: row.attack,
                norm: row.norm,
                eps: row.eps,
                reason: row.reason,
            });
        }
        Ok(skipped)
    }
}

impl Work {
    /// Why those of these tasks are pointless that wait, and are.
    pub(super) async fn pointless(&mut self, tasks: &[TaskId]) -> Result<BTreeMap<TaskId, String>, Error> {
        if tasks.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = sqlx::query!(
            r#"select i.task_id as "task_id!: Vec<u8>", i.until_aai, r.robust_correct as "robust_correct?", r.examples as "examples?",
                s.label, case when input.pointless then input.reason end as before
            from task_inputs i
            join tasks t on t.task_id = i.task_id
            join tasks input on input.task_id = i.input_task_id
            join task_specs s on s.task_id = i.input_task_id
            left join attack_results r on r.task_id = i.input_task_id and i.until_aai is not null
            where i.task_id = any($1::bytea[]) and t.state in ('pending', 'ready') and (i.until_aai is not null or input.pointless)"#,
            &task_ids(tasks)
        );
        let mut reasons = BTreeMap::new();
        for row in rows.fetch_all(&mut *self.tx).await? {
            let task = task_id(row.task_id)?;
            // What comes after an attack that was skipped so, and what is merged from shards that were, is skipped with it.
            if let Some(reason) = row.before {
                reasons.insert(task, reason);
            } else if let (Some(until_aai), Some(robust_correct), Some(examples)) =
                (row.until_aai, row.robust_correct, row.examples)
            {
                let (robust_correct, examples) = (unsigned(robust_correct)?, unsigned(examples)?);
                let reason = pointless(Earlier { label: &row.label, robust_correct, examples }, until_aai);
                reasons.extend(reason.map(|reason| (task, reason)));
            }
        }
        Ok(reasons)
    }

    /// Skips those of these tasks that an earlier attack made pointless before they were submitted or tried again.
    pub async fn skip_pointless(&mut self, tasks: &[TaskId]) -> Result<(), Error> {
        let events = self.skips(tasks).await?;
        self.advance(events).await?;
        Ok(())
    }

    /// What happens to those of these tasks that are pointless.
    pub(super) async fn skips(&mut self, tasks: &[TaskId]) -> Result<Vec<(LockedTask, Event)>, Error> {
        let mut reasons = self.pointless(tasks).await?;
        if reasons.is_empty() {
            return Ok(Vec::new());
        }
        let locked = self.lock(&reasons.keys().copied().collect::<Vec<_>>()).await?;
        let skip = |task: LockedTask| {
            let reason = reasons.remove(&task.id)?;
            Some((task, Event::Pointless { reason }))
        };
        Ok(locked.into_iter().filter_map(skip).collect())
    }

    /// Tasks that wait for one of these.
    pub(super) async fn waiting_for(&mut self, inputs: &[TaskId]) -> Result<Vec<TaskId>, Error> {
        let rows = sqlx::query_scalar!(
            r#"select distinct i.task_id::bytea as "task_id!: Vec<u8>" from task_inputs i join tasks t using (task_id)
            where i.input_task_id = any($1::bytea[]) and t.state = 'pending'"#,
            &task_ids(inputs)
        );
        rows.fetch_all(&mut *self.tx).await?.into_iter().map(task_id).collect()
    }
}
