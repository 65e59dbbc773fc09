//! The shards of an evaluation become one result.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;

use super::Error;
use super::rows::{corrupt, task_id, task_ids};
use super::work::Work;

impl Work {
    /// Puts the results of these tasks together from those of their shards, which are gone then.
    pub async fn merge(&mut self, tasks: &[TaskId]) -> Result<(), Error> {
        if tasks.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query!(
            r#"with shard as (
                select i.task_id as whole_id, (s.spec -> 'shard' ->> 'first')::integer as first, r.*
                from task_inputs i join task_specs s on s.task_id = i.input_task_id join attack_results r on r.task_id = i.input_task_id
                where i.task_id = any($1::bytea[])
            ), merged as (
                insert into attack_results (task_id, attempt, examples, clean_correct, robust_correct, model_queries, zero_gradient_examples,
                    minimum_norm, label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance)
                select whole_id, 0, sum(examples), sum(clean_correct), sum(robust_correct), sum(model_queries), sum(zero_gradient_examples),
                    bool_and(minimum_norm), concatenated(label order by first), concatenated(clean_prediction order by first),
                    concatenated(adversarial_prediction order by first), concatenated(clean_loss order by first),
                    concatenated(adversarial_loss order by first), concatenated(distance order by first)
                from shard
                group by whole_id
                returning task_id, examples
            ), no_longer_needed as (
                delete from attack_results r using task_inputs i
                where i.task_id = any($1::bytea[]) and r.task_id = i.input_task_id
            )
            select m.task_id as "task_id!: Vec<u8>", m.examples as "examples!", (s.spec -> 'dataset' ->> 'examples')::integer as "expected!"
            from merged m join task_specs s using (task_id)"#,
            &task_ids(tasks)
        );
        let mut merged = BTreeMap::new();
        for row in rows.fetch_all(&mut *self.tx).await? {
            merged.insert(task_id(row.task_id)?, (row.examples, row.expected));
        }
        for task in tasks {
            match merged.get(task) {
                Some((examples, expected)) if examples == expected => {}
                found => {
                    let (examples, expected) = found.copied().unwrap_or_default();
                    let id = task.short();
                    return Err(corrupt(format_args!("shards of {examples} examples for the {expected} of task {id}")));
                }
            }
        }
        Ok(())
    }
}
