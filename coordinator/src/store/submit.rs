//! A sweep comes in, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::experiment::Epsilon;
use gauntlet_domain::forecast::{Forecast, Work as WorkKind, critical_paths};
use gauntlet_domain::plan::{AnalysisCell, Plan, PlannedTask, TaskKind};
use gauntlet_domain::share::{Terms, UserName};
use gauntlet_domain::task::{Event, TaskState};
use gauntlet_domain::{Digest, TaskId};

use super::counts::{Counts, Standing};
use super::rows::{bytes, column, corrupt, task_id, task_ids};
use super::shards::Sharded;
use super::terms::TermColumns;
use super::work::Work;
use super::{Error, Order, Store, Transition, counts, demands, queues};

/// Rows per statement.
const BATCH: usize = 5000;

/// What a submission did.
#[derive(Debug, Default)]
pub struct Submitted {
    /// Tasks of the sweep, shards included.
    pub tasks: usize,
    /// Of these, shards.
    pub shards: usize,
    /// Attacks that are merged from shards.
    pub sharded_attacks: usize,
    /// Tasks that did not exist before.
    pub new_tasks: usize,
    /// Tasks that had ended without a result and get another try.
    pub retried_tasks: usize,
    /// Tasks whose result was there already, and those known to be pointless.
    pub done_tasks: usize,
    /// Whether the sweep is paused since an earlier submission.
    pub paused: bool,
    /// What happened to tasks that existed before.
    pub transitions: Vec<Transition>,
}

impl Store {
    /// Writes a sweep with its source text and the places of its files. The same sweep again is the same sweep, and no longer cancelled; if it is paused,
    /// it stays so.
    ///
    /// # Errors
    /// The database is unavailable, or refuses; nothing is written then.
    pub async fn submit(
        &self,
        plan: &Plan,
        source: &str,
        files: &[(Digest, String)],
        charge: &Charge,
    ) -> Result<Submitted, Error> {
        let forecast = self.foresight().await?.forecast;
        let mut work = self.begin().await?;
        work.hold_off_removal().await?;
        let Inserted { queue_key, paused, deleted } = insert_sweep(plan, source, charge, &mut work).await?;
        let planned = in_order_of_locks(plan);
        insert_specs(&planned, &mut work).await?;
        // Who holds the spec of an attack splits it; others wait above and see it split.
        let sharded = Sharded::of(plan, &forecast, self.planning.shard_secs, &mut work).await?;
        let demands = demands::demands_of(plan.tasks.iter().chain(&sharded.tasks), &mut work).await?;
        let submission = Submission {
            demands,
            ..Submission::of(plan, planned, &sharded, &forecast, self.planning.order, queue_key)
        };
        submission.insert_shards(&mut work).await?;
        let (mut submitted, countable) = submission.insert_tasks(&mut work).await?;
        if deleted {
            work.clear_sweep(plan.sweep_id.as_str()).await?;
        }
        let mut added = submission.insert_membership(&countable, &mut work).await?;
        added.cells = insert_cells(plan, &mut work).await?;
        insert_analyses(plan, &mut work).await?;
        work.skip_pointless(&submission.cascading()).await?;
        insert_files(files, &mut work).await?;
        counts::add(plan.sweep_id.as_str(), &added, &mut work.tx).await?;
        if paused {
            let ids: Vec<TaskId> = submission.tasks.iter().map(|(_, task)| task.id).collect();
            queues::leave_charge(queue_key, &ids, &mut work).await?;
        }
        submitted.paused = paused;
        submitted.transitions = work.commit().await?;
        Ok(submitted)
    }
}

/// Who is charged for a sweep, and on what terms. What is not said stays as it is, or is usual for a new sweep.
#[derive(Debug, Clone, Default)]
pub struct Charge {
    /// Whose sweep it is.
    pub user: Option<UserName>,
    /// On what terms it shares the workers.
    pub terms: Terms,
    /// Labels that a worker carries which runs its tasks; as they are where none are given.
    pub required_labels: BTreeMap<String, String>,
    /// Memory in MiB that each of its tasks gets.
    pub memory_mib: Option<u32>,
}

/// A sweep that was written.
struct Inserted {
    queue_key: i32,
    paused: bool,
    /// It was there as a deleted one.
    deleted: bool,
}

/// Writes the sweep itself. One that was deleted begins anew.
async fn insert_sweep(plan: &Plan, source: &str, charge: &Charge, work: &mut Work) -> Result<Inserted, Error> {
    let Charge { user, terms, required_labels, memory_mib } = charge;
    let TermColumns { weight, priority, changes_quota, max_concurrent } = TermColumns::of(terms)?;
    let labels = (!required_labels.is_empty()).then(|| serde_json::to_value(required_labels)).transpose();
    let labels = labels.map_err(corrupt)?;
    let memory_mib = memory_mib.map(|mib| column::<i32, _>(mib, "a size of memory")).transpose()?;
    let query = sqlx::query!(
        r#"insert into sweeps (sweep_id, name, source, user_name, weight, priority, max_concurrent, required_labels, memory_mib, preempts)
        values ($1, $2, $3, coalesce($4, 'anonymous'), coalesce($5, 1), coalesce($6, 0), $7, coalesce($9, '{}'::jsonb), $10, coalesce($11, false))
        on conflict (sweep_id) do update set
            cancelled_at = case when sweeps.deleted_at is not null then sweeps.cancelled_at end,
            user_name = coalesce($4, sweeps.user_name), weight = coalesce($5, sweeps.weight),
            priority = coalesce($6, sweeps.priority), max_concurrent = case when $8 then $7 else sweeps.max_concurrent end,
            required_labels = coalesce($9::jsonb, sweeps.required_labels), memory_mib = coalesce($10, sweeps.memory_mib),
            preempts = coalesce($11, sweeps.preempts)
        returning queue_key, paused_at is not null as "paused!", deleted_at is not null as "deleted!""#,
        plan.sweep_id.as_str(),
        plan.name,
        source,
        user.as_ref().map(UserName::as_str),
        weight,
        priority,
        max_concurrent,
        changes_quota,
        labels,
        memory_mib,
        terms.preempts
    );
    let row = query.fetch_one(&mut *work.tx).await?;
    let inserted = Inserted { queue_key: row.queue_key, paused: row.paused, deleted: row.deleted };
    if inserted.deleted {
        let query = sqlx::query!(
            "update sweeps set deleted_at = null, cancelled_at = null, submitted_at = now(), user_name = coalesce($2, 'anonymous'),
                weight = coalesce($3, 1), priority = coalesce($4, 0), max_concurrent = $5, required_labels = coalesce($6, '{}'::jsonb),
                memory_mib = $7, preempts = coalesce($8, false)
            where sweep_id = $1",
            plan.sweep_id.as_str(),
            charge.user.as_ref().map(UserName::as_str),
            weight,
            priority,
            max_concurrent,
            labels,
            memory_mib,
            terms.preempts
        );
        query.execute(&mut *work.tx).await?;
    }
    Ok(inserted)
}

/// The states in which tasks were before anything happens to them in this transaction, which is counted when it commits, and their costs.
type Countable = BTreeMap<TaskId, Standing>;

/// Tasks with their depths, in the order of locks: inputs first, then by id. Below an attack there is room for its shards.
fn in_order_of_locks(plan: &Plan) -> Vec<(i32, &PlannedTask)> {
    let mut depths: BTreeMap<TaskId, i32> = BTreeMap::new();
    for task in &plan.tasks {
        let inputs = task.inputs.iter().filter_map(|input| depths.get(input)).max().map_or(0, |depth| depth + 1);
        depths.insert(task.id, inputs + i32::from(task.kind == TaskKind::Attack));
    }
    let mut tasks: Vec<_> = plan.tasks.iter().map(|task| (depths[&task.id], task)).collect();
    tasks.sort_by_key(|(depth, task)| (*depth, task.id));
    tasks
}

/// Also keeps other submissions of the same specs waiting until this one is over.
async fn insert_specs(tasks: &[(i32, &PlannedTask)], work: &mut Work) -> Result<(), Error> {
    for batch in tasks.chunks(BATCH) {
        let query = sqlx::query!(
            "insert into task_specs (task_id, kind, label, spec, cost, depth, work)
            select task_id, kind::task_kind, label, spec::json, cost, depth, work
            from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::double precision[], $6::integer[], $7::text[])
                as n (task_id, kind, label, spec, cost, depth, work)
            on conflict (task_id) do nothing",
            &task_ids(batch.iter().map(|(_, task)| &task.id)),
            &batch.iter().map(|(_, task)| task.kind.name()).collect::<Vec<_>>() as _,
            &batch.iter().map(|(_, task)| task.label.as_str()).collect::<Vec<_>>() as _,
            &batch.iter().map(|(_, task)| task.spec.canonical_json()).collect::<Vec<_>>(),
            &batch.iter().map(|(_, task)| task.cost).collect::<Vec<_>>(),
            &batch.iter().map(|(depth, _)| *depth).collect::<Vec<_>>(),
            &batch.iter().map(|(_, task)| WorkKind::of(&task.spec).to_string()).collect::<Vec<_>>()
        );
        query.execute(&mut *work.tx).await?;
    }
    Ok(())
}

/// The tasks of a plan and the shards of its attacks.
struct Submission<'a> {
    sweep_id: &'a str,
    queue_key: i32,
    /// With their depths, in the order of locks.
    tasks: Vec<(i32, &'a PlannedTask)>,
    sharded: &'a Sharded,
    /// What orders the ready tasks; more goes first.
    ranks: BTreeMap<TaskId, f64>,
    /// What the tasks need.
    demands: BTreeMap<TaskId, i32>,
}

impl<'a> Submission<'a> {
    fn of(
        plan: &'a Plan,
        planned: Vec<(i32, &'a PlannedTask)>,
        sharded: &'a Sharded,
        forecast: &Forecast,
        order: Order,
        queue_key: i32,
    ) -> Self {
        let mut tasks = planned;
        let depths: BTreeMap<TaskId, i32> = tasks
            .iter()
            .flat_map(|(depth, task)| sharded.inputs(task).iter().map(move |input| (*input, depth - 1)))
            .collect();
        tasks.extend(sharded.tasks.iter().map(|shard| (depths.get(&shard.id).copied().unwrap_or(0), shard)));
        tasks.sort_by_key(|(depth, task)| (*depth, task.id));
        let secs = |task: &PlannedTask| if sharded.merges(task.id) { 0.0 } else { forecast.task_secs(task).0 };
        let ranks = match order {
            Order::CriticalPath => {
                critical_paths(tasks.iter().map(|(_, task)| (task.id, secs(task), sharded.inputs(task))))
            }
            Order::Fifo => {
                let planned = plan.tasks.iter().chain(&sharded.tasks).enumerate();
                planned.map(|(position, task)| (task.id, -(position as f64))).collect()
            }
        };
        Self { sweep_id: plan.sweep_id.as_str(), queue_key, tasks, sharded, ranks, demands: BTreeMap::new() }
    }

    /// The specs of the shards, and what every task waits for. An attack costs nothing beside its shards.
    async fn insert_shards(&self, work: &mut Work) -> Result<(), Error> {
        let shards: Vec<_> = self.tasks.iter().filter(|(_, task)| task.kind == TaskKind::Shard).copied().collect();
        insert_specs(&shards, work).await?;
        let merged = task_ids(&self.sharded.new);
        let query = sqlx::query!("update task_specs set cost = 0 where task_id = any($1::bytea[])", &merged);
        query.execute(&mut *work.tx).await?;
        let inputs = |(_, task): &(i32, &'a PlannedTask)| {
            let cascade = task.spec.cascade();
            let until = |input: &TaskId| cascade.filter(|it| it.after == *input).map(|it| it.until_aai);
            self.sharded.inputs(task).iter().map(|input| (task.id, *input, until(input))).collect::<Vec<_>>()
        };
        let inputs: Vec<_> = self.tasks.iter().flat_map(inputs).collect();
        for batch in inputs.chunks(BATCH) {
            let query = sqlx::query!(
                "insert into task_inputs (task_id, input_task_id, until_aai)
                select * from unnest($1::bytea[], $2::bytea[], $3::double precision[]) on conflict do nothing",
                &task_ids(batch.iter().map(|(task, ..)| task)),
                &task_ids(batch.iter().map(|(_, input, _)| input)),
                &batch.iter().map(|(.., until_aai)| *until_aai).collect::<Vec<_>>() as _
            );
            query.execute(&mut *work.tx).await?;
        }
        Ok(())
    }

    /// Tasks that an earlier attack may have made pointless already.
    fn cascading(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, task)| task.spec.cascade().is_some()).map(|(_, task)| task.id).collect()
    }

    /// Also gives the tasks as they are counted where they are new to a sweep.
    async fn insert_tasks(&self, work: &mut Work) -> Result<(Submitted, Countable), Error> {
        let ids: Vec<TaskId> = self.tasks.iter().map(|(_, task)| task.id).collect();
        let existing = work.lock(&ids).await?;
        let succeeded: BTreeSet<TaskId> =
            existing.iter().filter(|task| task.task.state == TaskState::Succeeded).map(|task| task.id).collect();
        let known: BTreeSet<TaskId> = existing.iter().map(|task| task.id).collect();
        let mut countable: Countable = existing
            .iter()
            .map(|it| (it.id, Standing { state: it.task.state, pointless: it.task.pointless, cost: it.cost }))
            .collect();
        let pointless = existing.iter().filter(|task| task.task.pointless).count();
        let pending: BTreeMap<TaskId, u32> = self
            .tasks
            .iter()
            .map(|(_, task)| (task.id, pending_inputs(self.sharded.inputs(task), &succeeded)))
            .collect();
        self.raise_critical_paths(&known, work).await?;
        let retried: Vec<_> = existing
            .into_iter()
            .filter(|task| task.task.ended_without_result())
            .map(|task| (Event::Retry { pending_inputs: pending.get(&task.id).copied().unwrap_or(0) }, task))
            .map(|(event, task)| (task, event))
            .collect();
        let retried_tasks = retried.len();
        let retried_ids: Vec<TaskId> = retried.iter().map(|(task, _)| task.id).collect();
        work.advance(retried).await?;
        queues::take_charge(self.queue_key, &known, &retried_ids, work).await?;
        let new: Vec<TaskId> = ids.into_iter().filter(|id| !known.contains(id)).collect();
        self.insert_new(&new, &pending, work).await?;
        let state = |id| if pending.get(&id) == Some(&0) { TaskState::Ready } else { TaskState::Pending };
        for (_, task) in &self.tasks {
            // An attack costs nothing beside its shards.
            let cost = if self.sharded.merges(task.id) { 0.0 } else { task.cost };
            countable.entry(task.id).or_insert_with(|| Standing { state: state(task.id), pointless: false, cost });
        }
        let submitted = Submitted {
            tasks: self.tasks.len(),
            shards: self.sharded.tasks.len(),
            sharded_attacks: self.sharded.by_attack.len(),
            new_tasks: new.len(),
            retried_tasks,
            done_tasks: succeeded.len() + pointless,
            paused: false,
            transitions: Vec::new(),
        };
        Ok((submitted, countable))
    }

    async fn insert_new(&self, new: &[TaskId], pending: &BTreeMap<TaskId, u32>, work: &mut Work) -> Result<(), Error> {
        for batch in new.chunks(BATCH) {
            let inputs = batch.iter().map(|id| column(pending.get(id).copied().unwrap_or(0), "the number of inputs"));
            let query = sqlx::query!(
                "insert into tasks (task_id, state, pending_inputs, critical_path_cost, merges, queue_key, demand_key)
                select task_id, case when pending_inputs = 0 then 'ready' else 'pending' end::task_state, pending_inputs, rank, merges, $5,
                    demand
                from unnest($1::bytea[], $2::integer[], $3::double precision[], $4::boolean[], $6::integer[])
                    as n (task_id, pending_inputs, rank, merges, demand)",
                &task_ids(batch),
                &inputs.collect::<Result<Vec<i32>, _>>()?,
                &self.ranks(batch),
                &batch.iter().map(|id| self.sharded.merges(*id)).collect::<Vec<_>>(),
                self.queue_key,
                &batch.iter().map(|id| self.demands.get(id).copied().unwrap_or(0)).collect::<Vec<_>>()
            );
            query.execute(&mut *work.tx).await?;
        }
        Ok(())
    }

    /// A task that now has more behind it goes earlier.
    async fn raise_critical_paths(&self, known: &BTreeSet<TaskId>, work: &mut Work) -> Result<(), Error> {
        let known: Vec<TaskId> = known.iter().copied().collect();
        let query = sqlx::query!(
            "update tasks t set critical_path_cost = n.rank
            from unnest($1::bytea[], $2::double precision[]) as n (task_id, rank)
            where t.task_id = n.task_id and t.critical_path_cost < n.rank and t.state <> 'succeeded'",
            &task_ids(&known),
            &self.ranks(&known)
        );
        query.execute(&mut *work.tx).await?;
        Ok(())
    }

    fn ranks(&self, ids: &[TaskId]) -> Vec<f64> {
        ids.iter().map(|id| self.ranks.get(id).copied().unwrap_or(0.0)).collect()
    }

    /// Gives the numbers of the tasks that were not in the sweep before.
    async fn insert_membership(&self, countable: &Countable, work: &mut Work) -> Result<Counts, Error> {
        let mut added = Counts::default();
        for batch in self.tasks.chunks(BATCH) {
            let query = sqlx::query_scalar!(
                r#"insert into sweep_tasks (sweep_id, task_id) select $1, n.task_id from unnest($2::bytea[]) as n (task_id)
                on conflict do nothing returning task_id as "task_id!: Vec<u8>""#,
                self.sweep_id,
                &task_ids(batch.iter().map(|(_, task)| &task.id))
            );
            for id in query.fetch_all(&mut *work.tx).await? {
                if let Some(standing) = countable.get(&task_id(id)?) {
                    added.add(*standing);
                }
            }
        }
        Ok(added)
    }
}

fn pending_inputs(inputs: &[TaskId], succeeded: &BTreeSet<TaskId>) -> u32 {
    let inputs: BTreeSet<&TaskId> = inputs.iter().collect();
    inputs.into_iter().filter(|input| !succeeded.contains(input)).map(|_| 1).sum()
}

/// Gives the number of those that are new.
async fn insert_cells(plan: &Plan, work: &mut Work) -> Result<u64, Error> {
    let mut inserted = 0;
    let numbered: Vec<_> = plan.cells.iter().enumerate().collect();
    for batch in numbered.chunks(BATCH) {
        let positions = batch.iter().map(|(position, _)| column(*position, "the number of cells"));
        let seeds = batch.iter().map(|(_, cell)| column(cell.seed, "a seed"));
        let text = |of: fn(&gauntlet_domain::plan::Cell) -> &str| {
            batch.iter().map(|(_, cell)| of(cell)).collect::<Vec<&str>>()
        };
        let query = sqlx::query!(
            "insert into sweep_cells
                (sweep_id, position, dataset, backbone, init, recipe, seed, attack, norm, eps, eps_value, train_task_id, attack_task_id)
            select $1, n.* from unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[],
                $10::text[], $11::double precision[], $12::bytea[], $13::bytea[]) as n
            on conflict do nothing",
            plan.sweep_id.as_str(),
            &positions.collect::<Result<Vec<i32>, _>>()?,
            &text(|cell| &cell.dataset) as _,
            &text(|cell| &cell.backbone) as _,
            &text(|cell| &cell.init) as _,
            &text(|cell| &cell.recipe) as _,
            &seeds.collect::<Result<Vec<i64>, _>>()?,
            &text(|cell| &cell.attack) as _,
            &text(|cell| cell.norm.name()) as _,
            &text(|cell| cell.eps.as_ref().map_or("", Epsilon::text)) as _,
            &batch.iter().map(|(_, cell)| cell.eps.as_ref().map(Epsilon::value)).collect::<Vec<_>>() as _,
            &batch.iter().map(|(_, cell)| cell.train_task.map(bytes)).collect::<Vec<_>>() as _,
            &task_ids(batch.iter().map(|(_, cell)| &cell.attack_task))
        );
        inserted += query.execute(&mut *work.tx).await?.rows_affected();
    }
    Ok(inserted)
}

async fn insert_analyses(plan: &Plan, work: &mut Work) -> Result<(), Error> {
    let numbered: Vec<_> = plan.analyses.iter().enumerate().collect();
    for batch in numbered.chunks(BATCH) {
        let positions = batch.iter().map(|(position, _)| column(*position, "the number of analyses"));
        let seeds = batch.iter().map(|(_, cell)| column(cell.seed, "a seed"));
        let examples = batch.iter().map(|(_, cell)| column(cell.examples, "the number of examples"));
        let text = |of: fn(&AnalysisCell) -> &str| batch.iter().map(|(_, cell)| of(cell)).collect::<Vec<&str>>();
        let query = sqlx::query!(
            "insert into sweep_analyses
                (sweep_id, position, dataset, backbone, init, recipe, seed, analysis, method, against, examples, task_id)
            select $1, n.* from unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[],
                $10::text[], $11::integer[], $12::bytea[]) as n
            on conflict do nothing",
            plan.sweep_id.as_str(),
            &positions.collect::<Result<Vec<i32>, _>>()?,
            &text(|cell| &cell.dataset) as _,
            &text(|cell| &cell.backbone) as _,
            &text(|cell| &cell.init) as _,
            &text(|cell| &cell.recipe) as _,
            &seeds.collect::<Result<Vec<i64>, _>>()?,
            &text(|cell| &cell.analysis) as _,
            &text(|cell| &cell.method) as _,
            &text(|cell| &cell.against) as _,
            &examples.collect::<Result<Vec<i32>, _>>()?,
            &task_ids(batch.iter().map(|(_, cell)| &cell.task))
        );
        query.execute(&mut *work.tx).await?;
    }
    Ok(())
}

async fn insert_files(files: &[(Digest, String)], work: &mut Work) -> Result<(), Error> {
    let files: BTreeMap<&Digest, &str> = files.iter().map(|(digest, location)| (digest, location.as_str())).collect();
    let query = sqlx::query!(
        "insert into file_locations (digest, location) select * from unnest($1::bytea[], $2::text[])
        on conflict (digest) do update set location = excluded.location, noted_at = now()",
        &files.keys().map(|digest| digest.as_bytes().to_vec()).collect::<Vec<_>>(),
        &files.values().copied().collect::<Vec<_>>() as _
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}
