//! What attempts took is learnt, and what is to come foretold.

use std::collections::BTreeMap;

use gauntlet_domain::TaskId;
use gauntlet_domain::forecast::{DeviceKind, Forecast, Rate, Work as WorkKind};
use gauntlet_domain::{AttemptNumber, WorkerId};

use super::rows::{attempt, corrupt, task_id, unsigned};
use super::{Error, Learnt, Store};

/// Most attempts that are learnt from at once: of a flood the latest tell enough.
const LEARNT_AT_ONCE: i64 = 1000;

/// What is to be known for a forecast.
#[derive(Debug, Clone)]
pub struct Foresight {
    /// For the devices that are here, or else for those that were here last.
    pub forecast: Forecast,
    /// Slots of the workers that are here and take work.
    pub slots: u32,
}

/// A task of a sweep that is not over.
#[derive(Debug, Clone)]
pub struct UnfinishedRow {
    /// Which.
    pub task: TaskId,
    /// The kind of work it is.
    pub work: Option<WorkKind>,
    /// Its cost.
    pub cost: f64,
    /// Tasks it waits for.
    pub inputs: Vec<TaskId>,
    /// Who runs it, in which attempt, for how many seconds.
    pub running: Option<(WorkerId, AttemptNumber, f64)>,
}

/// Tasks of a sweep that are not over, of one kind of work.
#[derive(Debug, Clone)]
pub struct UnfinishedSum {
    /// The kind.
    pub work: Option<WorkKind>,
    /// The sum of their costs.
    pub cost: f64,
    /// The longest chain that starts with one of them, in seconds as they were forecast at the submission.
    pub longest_secs: f64,
}

impl Store {
    /// What is known of the speed of the devices.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn foresight(&self) -> Result<Foresight, Error> {
        let Learnt { rates, .. } = self.learnt().await?;
        let rows = sqlx::query!(
            r#"select devices, slots, lease_expires_at > now() and not draining as "here!" from workers
            order by 3 desc, lease_expires_at desc limit 10000"#
        );
        let mut workers = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            workers.push((row.here, device_kind(&row.devices), unsigned(row.slots)?));
        }
        let slots = workers.iter().filter(|(here, ..)| *here).map(|(_, _, slots)| *slots).sum();
        let some_here = slots > 0;
        // Nobody is here: those that left last may come back.
        let told =
            workers.into_iter().filter(|(here, ..)| *here || !some_here).take(if some_here { 10_000 } else { 10 });
        let forecast = Forecast::new(rates, told.map(|(_, device, slots)| (device, slots)));
        Ok(Foresight { forecast, slots })
    }

    /// Learns from the attempts that succeeded since this was last asked for, by whichever coordinator. Says from how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn learn(&self) -> Result<u64, Error> {
        let mut tx = self.pool.begin().await?;
        let since = sqlx::query_scalar!("select learnt_until from cost_learning for update skip locked");
        // None: another coordinator is at it.
        let Some(since) = since.fetch_optional(&mut *tx).await? else { return Ok(0) };
        // A moment back, because transactions that began before now may not be committed yet. What comes later still is not missed much.
        let until = sqlx::query_scalar!(
            "update cost_learning set learnt_until = greatest(learnt_until, now() - interval '1 second') returning learnt_until"
        );
        let until = until.fetch_one(&mut *tx).await?;
        // Later attempts may have gone on from a checkpoint. What stopped early did its share of the work.
        let rows = sqlx::query!(
            r#"select s.work as "work!", s.cost * coalesce(r.examples::double precision / r.examples_asked, 1) as "cost!", w.devices,
                extract(epoch from a.ended_at - a.started_at)::double precision as "secs!", a.peak_memory_mib
            from attempts a join task_specs s using (task_id) join workers w using (worker_id)
                left join attack_results r on r.task_id = a.task_id
            where a.outcome = 'succeeded' and a.attempt = 1 and a.ended_at > $1 and a.ended_at <= $2 and s.work is not null and s.cost > 0
            order by a.ended_at desc
            limit $3"#,
            since,
            until,
            LEARNT_AT_ONCE
        );
        let mut seen: BTreeMap<(DeviceKind, String), Seen> = BTreeMap::new();
        for row in rows.fetch_all(&mut *tx).await? {
            let seen = seen.entry((device_kind(&row.devices), row.work)).or_default();
            seen.attempts += 1;
            seen.secs += row.secs;
            seen.cost += row.cost;
            seen.peak_memory_mib = seen.peak_memory_mib.max(row.peak_memory_mib);
        }
        let query = sqlx::query!(
            "insert into cost_rates as known (device, work, attempts, secs, cost, peak_memory_mib)
            select * from unnest($1::text[], $2::text[], $3::bigint[], $4::double precision[], $5::double precision[], $7::integer[])
            on conflict (device, work) do update set
                attempts = known.attempts + excluded.attempts,
                secs = known.secs * power($6::double precision, excluded.attempts) + excluded.secs,
                cost = known.cost * power($6::double precision, excluded.attempts) + excluded.cost,
                peak_memory_mib = greatest(known.peak_memory_mib, excluded.peak_memory_mib),
                learnt_at = now()",
            &seen.keys().map(|(device, _)| device.name()).collect::<Vec<_>>() as _,
            &seen.keys().map(|(_, work)| work.as_str()).collect::<Vec<_>>() as _,
            &seen.values().map(|it| it.attempts).collect::<Vec<_>>(),
            &seen.values().map(|it| it.secs).collect::<Vec<_>>(),
            &seen.values().map(|it| it.cost).collect::<Vec<_>>(),
            Rate::FADING,
            &seen.values().map(|it| it.peak_memory_mib).collect::<Vec<_>>() as _
        );
        query.execute(&mut *tx).await?;
        tx.commit().await?;
        unsigned(seen.values().map(|it| it.attempts).sum::<i64>())
    }

    /// Tasks of a sweep that are not over, at most so many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unfinished(&self, sweep: &str, limit: usize) -> Result<Vec<UnfinishedRow>, Error> {
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", t.attempt, t.worker_id, s.work, s.cost,
                extract(epoch from now() - t.changed_at)::double precision as "since!",
                array(select i.input_task_id::bytea from task_inputs i where i.task_id = t.task_id) as "inputs!: Vec<Vec<u8>>"
            from sweep_tasks st join tasks t using (task_id) join task_specs s using (task_id)
            where st.sweep_id = $1 and t.state in ('pending', 'ready', 'leased')
            limit $2"#,
            sweep,
            i64::try_from(limit).unwrap_or(i64::MAX)
        );
        let mut unfinished = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            let running = match row.worker_id {
                Some(worker) => Some((worker.parse().map_err(corrupt)?, attempt(row.attempt)?, row.since)),
                None => None,
            };
            unfinished.push(UnfinishedRow {
                task: task_id(row.task_id)?,
                work: row.work.map(|work| work.parse().map_err(corrupt)).transpose()?,
                cost: row.cost,
                inputs: row.inputs.into_iter().map(task_id).collect::<Result<_, _>>()?,
                running,
            });
        }
        Ok(unfinished)
    }

    /// The same by kind of work, for sweeps with too many tasks to look at each.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unfinished_sums(&self, sweep: &str) -> Result<Vec<UnfinishedSum>, Error> {
        let rows = sqlx::query!(
            r#"select s.work, sum(s.cost) as "cost!", max(t.critical_path_cost) as "longest!"
            from sweep_tasks st join tasks t using (task_id) join task_specs s using (task_id)
            where st.sweep_id = $1 and t.state in ('pending', 'ready', 'leased')
            group by s.work"#,
            sweep
        );
        let sum = |work: Option<String>, cost, longest_secs| {
            let work = work.map(|work| work.parse().map_err(corrupt)).transpose()?;
            Ok(UnfinishedSum { work, cost, longest_secs })
        };
        rows.fetch_all(&self.pool).await?.into_iter().map(|row| sum(row.work, row.cost, row.longest)).collect()
    }

    /// How many attempts run for other sweeps.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn running_elsewhere(&self, sweep: &str) -> Result<u32, Error> {
        let count = sqlx::query_scalar!(
            r#"select count(*) as "count!" from tasks t
            where t.state = 'leased' and not exists (select from sweep_tasks st where st.task_id = t.task_id and st.sweep_id = $1)"#,
            sweep
        );
        unsigned(count.fetch_one(&self.pool).await?)
    }
}

/// What attempts at one kind of work took together, and the most memory that one of them took.
#[derive(Debug, Default)]
struct Seen {
    attempts: i64,
    secs: f64,
    cost: f64,
    peak_memory_mib: Option<i32>,
}

/// The kind of a worker's devices, as its hello stored them.
fn device_kind(devices: &serde_json::Value) -> DeviceKind {
    let kind = |device: &serde_json::Value| {
        let threads = device["threads"].as_u64().and_then(|threads| u32::try_from(threads).ok()).unwrap_or(1);
        DeviceKind::of(device["name"].as_str().unwrap_or("cpu"), threads)
    };
    DeviceKind::of_worker(devices.as_array().into_iter().flatten().map(kind))
}
