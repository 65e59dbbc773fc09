//! The attacks of a submission, split.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{Shard, TaskSpec};
use gauntlet_domain::forecast::{self, Forecast};
use gauntlet_domain::plan::{Plan, PlannedTask, TaskKind};

use super::rows::{task_id, task_ids, unsigned};
use super::work::Work;
use super::{Error, Store};

/// The shards of a plan.
#[derive(Debug, Default)]
pub struct Sharded {
    /// All of them.
    pub tasks: Vec<PlannedTask>,
    /// By attack, in the order of their examples.
    pub by_attack: BTreeMap<TaskId, Vec<TaskId>>,
    /// Attacks that did not exist before.
    pub new: Vec<TaskId>,
}

impl Sharded {
    /// What a task waits for: the shards of an attack that has some, otherwise what it was planned with.
    pub fn inputs<'a>(&'a self, task: &'a PlannedTask) -> &'a [TaskId] {
        self.by_attack.get(&task.id).unwrap_or(&task.inputs)
    }

    /// Whether the task is merged from shards.
    pub fn merges(&self, task: TaskId) -> bool {
        self.by_attack.contains_key(&task)
    }

    /// A task that exists keeps the shards it has, or that it has none: what was computed in parts is not computed again. Others are split by what they
    /// are expected to take.
    pub(super) async fn of(plan: &Plan, forecast: &Forecast, shard_secs: f64, work: &mut Work) -> Result<Self, Error> {
        let attacks: Vec<&PlannedTask> = plan.tasks.iter().filter(|task| task.kind == TaskKind::Attack).collect();
        let known = known_shards(&attacks, work).await?;
        let mut sharded = Self::default();
        for attack in attacks {
            let TaskSpec::Attack(spec) = &attack.spec else { continue };
            let shards = match known.get(&attack.id) {
                Some(shards) => shards.clone(),
                None => forecast::shards(spec, forecast.task_secs(attack).0, shard_secs),
            };
            if shards.is_empty() {
                continue;
            }
            let tasks = attack.split(&shards);
            sharded.by_attack.insert(attack.id, tasks.iter().map(|task| task.id).collect());
            sharded.tasks.extend(tasks);
            if !known.contains_key(&attack.id) {
                sharded.new.push(attack.id);
            }
        }
        Ok(sharded)
    }
}

/// For each of these attacks that exists, its shards.
async fn known_shards(attacks: &[&PlannedTask], work: &mut Work) -> Result<BTreeMap<TaskId, Vec<Shard>>, Error> {
    let rows = sqlx::query!(
        r#"select t.task_id as "task_id!: Vec<u8>", (s.spec -> 'shard' ->> 'first')::integer as first,
            (s.spec -> 'shard' ->> 'examples')::integer as examples
        from tasks t
        left join task_inputs i on i.task_id = t.task_id and t.merges
        left join task_specs s on s.task_id = i.input_task_id
        where t.task_id = any($1::bytea[])
        order by 1, 2"#,
        &task_ids(attacks.iter().map(|attack| &attack.id))
    );
    let mut known: BTreeMap<TaskId, Vec<Shard>> = BTreeMap::new();
    for row in rows.fetch_all(&mut *work.tx).await? {
        let shards = known.entry(task_id(row.task_id)?).or_default();
        if let (Some(first), Some(examples)) = (row.first, row.examples) {
            shards.push(Shard { first: unsigned(first)?, examples: unsigned(examples)? });
        }
    }
    Ok(known)
}

impl Store {
    /// The shards that the attacks of a plan have, or would have if it were submitted now.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sharded(&self, plan: &Plan, forecast: &Forecast) -> Result<Sharded, Error> {
        let mut work = self.begin().await?;
        Sharded::of(plan, forecast, self.planning.shard_secs, &mut work).await
    }
}
