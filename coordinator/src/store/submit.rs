//! A sweep comes in, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::experiment::Epsilon;
use gauntlet_domain::plan::{Plan, PlannedTask};
use gauntlet_domain::schedule::critical_path_costs;
use gauntlet_domain::task::{Event, TaskState};
use gauntlet_domain::{Digest, TaskId};

use super::counts::Counts;
use super::rows::{bytes, column, task_id, task_ids};
use super::work::Work;
use super::{Error, Store, Transition, counts};

/// Rows per statement.
const BATCH: usize = 5000;

/// What a submission did.
#[derive(Debug, Default)]
pub struct Submitted {
    /// Tasks that did not exist before.
    pub new_tasks: usize,
    /// Tasks that had ended without a result and get another try.
    pub retried_tasks: usize,
    /// Tasks whose result was there already.
    pub done_tasks: usize,
    /// What happened to tasks that existed before.
    pub transitions: Vec<Transition>,
}

impl Store {
    /// Writes a sweep with its source text and the places of its files. The same sweep again is the same sweep, and no longer cancelled.
    ///
    /// # Errors
    /// The database is unavailable, or refuses; nothing is written then.
    pub async fn submit(&self, plan: &Plan, source: &str, files: &[(Digest, String)]) -> Result<Submitted, Error> {
        let mut work = self.begin().await?;
        let query = sqlx::query!(
            "insert into sweeps (sweep_id, name, source) values ($1, $2, $3) on conflict (sweep_id) do update set cancelled_at = null",
            plan.sweep_id.as_str(),
            plan.name,
            source
        );
        query.execute(&mut *work.tx).await?;
        let submission = Submission::of(plan);
        submission.insert_specs(&mut work).await?;
        let (mut submitted, countable) = submission.insert_tasks(&mut work).await?;
        let mut added = submission.insert_membership(&countable, &mut work).await?;
        added.cells = insert_cells(plan, &mut work).await?;
        insert_files(files, &mut work).await?;
        counts::add(plan.sweep_id.as_str(), &added, &mut work.tx).await?;
        submitted.transitions = work.commit().await?;
        Ok(submitted)
    }
}

/// The states in which tasks were before anything happens to them in this transaction, which is counted when it commits, and their costs.
type Countable = BTreeMap<TaskId, (TaskState, f64)>;

struct Submission<'a> {
    sweep_id: &'a str,
    /// With their depths, in the order of locks: inputs first, then by id.
    tasks: Vec<(i32, &'a PlannedTask)>,
    critical_path_costs: BTreeMap<TaskId, f64>,
}

impl<'a> Submission<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut depths: BTreeMap<TaskId, i32> = BTreeMap::new();
        for task in &plan.tasks {
            let depth = task.inputs.iter().filter_map(|input| depths.get(input)).max().map_or(0, |depth| depth + 1);
            depths.insert(task.id, depth);
        }
        let mut tasks: Vec<_> = plan.tasks.iter().map(|task| (depths[&task.id], task)).collect();
        tasks.sort_by_key(|(depth, task)| (*depth, task.id));
        Self { sweep_id: plan.sweep_id.as_str(), tasks, critical_path_costs: critical_path_costs(&plan.tasks) }
    }

    /// Also keeps other submissions of the same specs waiting until this one is over.
    async fn insert_specs(&self, work: &mut Work) -> Result<(), Error> {
        for batch in self.tasks.chunks(BATCH) {
            let query = sqlx::query!(
                "insert into task_specs (task_id, kind, label, spec, cost, depth)
                select task_id, kind::task_kind, label, spec::json, cost, depth
                from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::double precision[], $6::integer[])
                    as n (task_id, kind, label, spec, cost, depth)
                on conflict (task_id) do nothing",
                &task_ids(batch.iter().map(|(_, task)| &task.id)),
                &batch.iter().map(|(_, task)| task.kind.name()).collect::<Vec<_>>() as _,
                &batch.iter().map(|(_, task)| task.label.as_str()).collect::<Vec<_>>() as _,
                &batch.iter().map(|(_, task)| task.spec.canonical_json()).collect::<Vec<_>>(),
                &batch.iter().map(|(_, task)| task.cost).collect::<Vec<_>>(),
                &batch.iter().map(|(depth, _)| *depth).collect::<Vec<_>>()
            );
            query.execute(&mut *work.tx).await?;
        }
        let inputs: Vec<_> =
            self.tasks.iter().flat_map(|(_, task)| task.inputs.iter().map(|input| (task.id, *input))).collect();
        for batch in inputs.chunks(BATCH) {
            let query = sqlx::query!(
                "insert into task_inputs (task_id, input_task_id)
                select * from unnest($1::bytea[], $2::bytea[]) on conflict do nothing",
                &task_ids(batch.iter().map(|(task, _)| task)),
                &task_ids(batch.iter().map(|(_, input)| input))
            );
            query.execute(&mut *work.tx).await?;
        }
        Ok(())
    }

    /// Also gives the tasks as they are counted where they are new to a sweep.
    async fn insert_tasks(&self, work: &mut Work) -> Result<(Submitted, Countable), Error> {
        let ids: Vec<TaskId> = self.tasks.iter().map(|(_, task)| task.id).collect();
        let existing = work.lock(&ids).await?;
        let succeeded: BTreeSet<TaskId> =
            existing.iter().filter(|task| task.task.state == TaskState::Succeeded).map(|task| task.id).collect();
        let known: BTreeSet<TaskId> = existing.iter().map(|task| task.id).collect();
        let mut countable: Countable = existing.iter().map(|it| (it.id, (it.task.state, it.cost))).collect();
        let pending: BTreeMap<TaskId, u32> =
            self.tasks.iter().map(|(_, task)| (task.id, pending_inputs(task, &succeeded))).collect();
        self.raise_critical_paths(&known, work).await?;
        let retried: Vec<_> = existing
            .into_iter()
            .filter(|task| task.task.state.ended_without_result())
            .map(|task| (Event::Retry { pending_inputs: pending.get(&task.id).copied().unwrap_or(0) }, task))
            .map(|(event, task)| (task, event))
            .collect();
        let retried_tasks = retried.len();
        work.advance(retried).await?;
        let new: Vec<TaskId> = ids.into_iter().filter(|id| !known.contains(id)).collect();
        self.insert_new(&new, &pending, work).await?;
        let state = |id| if pending.get(&id) == Some(&0) { TaskState::Ready } else { TaskState::Pending };
        for (_, task) in &self.tasks {
            countable.entry(task.id).or_insert_with(|| (state(task.id), task.cost));
        }
        let (new_tasks, done_tasks) = (new.len(), succeeded.len());
        Ok((Submitted { new_tasks, retried_tasks, done_tasks, transitions: Vec::new() }, countable))
    }

    async fn insert_new(&self, new: &[TaskId], pending: &BTreeMap<TaskId, u32>, work: &mut Work) -> Result<(), Error> {
        for batch in new.chunks(BATCH) {
            let inputs = batch.iter().map(|id| column(pending.get(id).copied().unwrap_or(0), "the number of inputs"));
            let query = sqlx::query!(
                "insert into tasks (task_id, state, pending_inputs, critical_path_cost)
                select task_id, case when pending_inputs = 0 then 'ready' else 'pending' end::task_state, pending_inputs, cost
                from unnest($1::bytea[], $2::integer[], $3::double precision[]) as n (task_id, pending_inputs, cost)",
                &task_ids(batch),
                &inputs.collect::<Result<Vec<i32>, _>>()?,
                &self.costs(batch)
            );
            query.execute(&mut *work.tx).await?;
        }
        Ok(())
    }

    /// A task that now has more behind it goes earlier.
    async fn raise_critical_paths(&self, known: &BTreeSet<TaskId>, work: &mut Work) -> Result<(), Error> {
        let known: Vec<TaskId> = known.iter().copied().collect();
        let query = sqlx::query!(
            "update tasks t set critical_path_cost = n.cost
            from unnest($1::bytea[], $2::double precision[]) as n (task_id, cost)
            where t.task_id = n.task_id and t.critical_path_cost < n.cost and t.state <> 'succeeded'",
            &task_ids(&known),
            &self.costs(&known)
        );
        query.execute(&mut *work.tx).await?;
        Ok(())
    }

    fn costs(&self, ids: &[TaskId]) -> Vec<f64> {
        ids.iter().map(|id| self.critical_path_costs.get(id).copied().unwrap_or(0.0)).collect()
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
                if let Some((state, cost)) = countable.get(&task_id(id)?) {
                    added.add(*state, *cost);
                }
            }
        }
        Ok(added)
    }
}

fn pending_inputs(task: &PlannedTask, succeeded: &BTreeSet<TaskId>) -> u32 {
    let inputs: BTreeSet<&TaskId> = task.inputs.iter().collect();
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
