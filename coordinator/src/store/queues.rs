//! What waits in the queues and what runs of them.

use std::collections::BTreeMap;

use gauntlet_domain::schedule::{DemandKey, QueueKey, ReadyTask, Requirements};
use gauntlet_domain::share::UserName;
use gauntlet_domain::task::Timestamp;
use gauntlet_domain::{AttemptRef, TaskId};

use super::claim::attempt_column;
use super::rows::{attempt, bytes, corrupt, task_id, task_ids, timestamp, unsigned};
use super::work::Work;
use super::{Error, Mark, Marks, Store};

impl Store {
    /// The fronts of these queues: at most so many tasks of each that may be leased now, the longest chains first. With their costs if asked. Where
    /// there is a mark, nothing that stands before it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn fronts(
        &self,
        wanted: &[Front],
        marks: &Marks,
        costs: bool,
    ) -> Result<BTreeMap<QueueKey, Vec<ReadyTask>>, Error> {
        let each = || wanted.iter().flat_map(|front| front.demands.iter().map(move |demand| (front, *demand)));
        let keys: Vec<i32> = each().map(|(front, _)| front.queue.0).collect();
        let demands: Vec<i32> = each().map(|(_, demand)| demand.0).collect();
        let counts: Vec<i64> = each().map(|(front, _)| i64::try_from(front.count).unwrap_or(i64::MAX)).collect();
        // Without a mark: before all.
        let mark = |(front, demand): (&Front, DemandKey)| marks.get(&(front.queue, demand));
        let from = |mark: Option<&Mark>| {
            mark.map_or((f64::INFINITY, Vec::new()), |it| (it.critical_path_cost, bytes(it.task)))
        };
        let (ranks, firsts): (Vec<f64>, Vec<Vec<u8>>) = each().map(|it| from(mark(it))).unzip();
        let rows = sqlx::query!(
            r#"select n.queue_key as "queue_key!", n.demand_key as "demand_key!", f.task_id as "task_id!: Vec<u8>",
                f.critical_path_cost as "rank!", coalesce(s.cost, 0) as "cost!",
                array(select i.input_task_id::bytea from task_inputs i where i.task_id = f.task_id) as "inputs!: Vec<Vec<u8>>"
            from unnest($1::integer[], $2::integer[], $3::bigint[], $4::double precision[], $5::bytea[])
                as n (queue_key, demand_key, count, from_cost, from_id)
            cross join lateral (
                select t.task_id, t.critical_path_cost from tasks t
                where t.state = 'ready' and t.queue_key = n.queue_key and t.demand_key = n.demand_key and t.not_before <= now()
                    and (-t.critical_path_cost, t.task_id) >= (-n.from_cost, n.from_id)
                order by -t.critical_path_cost, t.task_id
                limit n.count
            ) as f
            left join task_specs s on $6 and s.task_id = f.task_id"#,
            &keys,
            &demands,
            &counts,
            &ranks,
            &firsts,
            costs
        );
        let mut fronts: BTreeMap<QueueKey, Vec<ReadyTask>> = BTreeMap::new();
        for row in rows.fetch_all(&self.pool).await? {
            let ready = ReadyTask {
                id: task_id(row.task_id)?,
                critical_path_cost: row.rank,
                inputs: row.inputs.into_iter().map(task_id).collect::<Result<_, _>>()?,
                demand: DemandKey(row.demand_key),
                cost: row.cost,
            };
            fronts.entry(QueueKey(row.queue_key)).or_default().push(ready);
        }
        for (queue, ready) in &mut fronts {
            ready.sort_by(|a, b| b.critical_path_cost.total_cmp(&a.critical_path_cost).then(a.id.cmp(&b.id)));
            ready.truncate(wanted.iter().filter(|front| front.queue == *queue).map(|front| front.count).sum());
        }
        Ok(fronts)
    }

    /// Those of these attempts that run, with who is charged for them and what would have to be done again if they were stopped.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn preemptible(&self, attempts: &[AttemptRef]) -> Result<Vec<PreemptibleRow>, Error> {
        let numbers = attempts.iter().map(|attempt| attempt_column(attempt.attempt)).collect::<Result<Vec<_>, _>>()?;
        // A training writes a checkpoint when it is asked to stop; an evaluation begins its block anew, which is the less the younger it is.
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", t.attempt, t.queue_key, t.changed_at,
                coalesce(s.user_name, 'anonymous') as "user_name!", coalesce(s.priority, 0) as "priority!",
                case when k.kind in ('attack', 'shard') and c.task_id is null
                    then extract(epoch from now() - t.changed_at)::double precision else 0 end as "repeated_secs!"
            from tasks t join unnest($1::bytea[], $2::integer[]) as n (task_id, attempt)
                on t.task_id = n.task_id and t.attempt = n.attempt
            join task_specs k on k.task_id = t.task_id
            left join training_checkpoints c on c.task_id = t.task_id
            left join sweeps s using (queue_key)
            where t.state = 'leased'"#,
            &task_ids(attempts.iter().map(|attempt| &attempt.task)),
            &numbers
        );
        let mut preemptible = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            preemptible.push(PreemptibleRow {
                attempt: AttemptRef { task: task_id(row.task_id)?, attempt: attempt(row.attempt)? },
                queue: QueueKey(row.queue_key),
                user: row.user_name.parse().map_err(corrupt)?,
                priority: row.priority,
                started_at: timestamp(row.changed_at),
                repeated_secs: row.repeated_secs,
            });
        }
        Ok(preemptible)
    }
}

/// An attempt that runs, as far as preemption goes.
#[derive(Debug, Clone)]
pub struct PreemptibleRow {
    /// Which.
    pub attempt: AttemptRef,
    /// The queue that is charged for it.
    pub queue: QueueKey,
    /// Whose sweep that is.
    pub user: UserName,
    /// Priority of that sweep.
    pub priority: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// Seconds of work that would be done again, at most.
    pub repeated_secs: f64,
}

/// How much of a queue is to be seen.
#[derive(Debug, Clone)]
pub struct Front {
    /// Which.
    pub queue: QueueKey,
    /// Of these demands together
    pub demands: Vec<DemandKey>,
    /// so many tasks.
    pub count: usize,
}

/// What a sweep asks of workers, as its row says.
pub(super) fn requirements(labels: Option<serde_json::Value>, memory_mib: Option<i32>) -> Result<Requirements, Error> {
    Ok(Requirements {
        labels: labels.map(serde_json::from_value).transpose().map_err(corrupt)?.unwrap_or_default(),
        memory_mib: memory_mib.map(unsigned).transpose()?,
    })
}

/// The sweep of this queue is charged for what is tried again for it, and for what waits or runs for a sweep that is cancelled or paused. The tasks are
/// locked.
pub(super) async fn take_charge<'a>(
    queue_key: i32,
    tasks: impl IntoIterator<Item = &'a TaskId>,
    retried: &[TaskId],
    work: &mut Work,
) -> Result<(), Error> {
    let query = sqlx::query!(
        "update tasks t set queue_key = $3
            where t.task_id = any($1::bytea[]) and t.state in ('pending', 'ready', 'leased') and t.queue_key <> $3
                and (t.task_id = any($2::bytea[]) or t.queue_key = 0
                    or exists (
                        select from sweeps s
                        where s.queue_key = t.queue_key and (s.cancelled_at is not null or s.paused_at is not null)
                    ))",
        &task_ids(tasks),
        &task_ids(retried),
        queue_key
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// Of these tasks, what waits or runs for the sweep of this queue, which is cancelled or paused, goes to the queue of the first other sweep that wants
/// it and is neither; from a cancelled one, for want of such, to a paused one. The tasks are locked.
pub(super) async fn leave_charge(queue_key: i32, tasks: &[TaskId], work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "update tasks t set queue_key = heir.queue_key
        from (
            select distinct on (st.task_id) st.task_id, s.queue_key
            from sweep_tasks st join sweeps s using (sweep_id)
            where st.task_id = any($1::bytea[]) and s.cancelled_at is null and s.queue_key <> $2
                and (s.paused_at is null or exists (select from sweeps l where l.queue_key = $2 and l.cancelled_at is not null))
            order by st.task_id, s.paused_at is not null, s.submitted_at, s.sweep_id
        ) as heir
        where t.task_id = heir.task_id and t.queue_key = $2 and t.state in ('pending', 'ready', 'leased')",
        &task_ids(tasks),
        queue_key
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}

/// What a paused sweep took into its queue goes on in that of another sweep that wants it and is not paused. The tasks are locked.
pub(super) async fn leave_to_others_if_paused(queue_key: i32, tasks: &[TaskId], work: &mut Work) -> Result<(), Error> {
    let paused =
        sqlx::query_scalar!(r#"select paused_at is not null as "paused!" from sweeps where queue_key = $1"#, queue_key);
    if paused.fetch_one(&mut *work.tx).await? { leave_charge(queue_key, tasks, work).await } else { Ok(()) }
}
