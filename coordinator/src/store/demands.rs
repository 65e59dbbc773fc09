//! What tasks need of a worker: kinds of work and data sets by number, and what of them was learnt.

use std::collections::{BTreeMap, BTreeSet};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::DatasetSpec;
use gauntlet_domain::forecast::{DeviceKind, Rate, Rates, Work as WorkKind};
use gauntlet_domain::plan::PlannedTask;
use gauntlet_domain::schedule::DemandKey;

use super::rows::{bytes, column, corrupt, unsigned};
use super::work::Work;
use super::{Error, Store};

/// Needs of memory are told apart in steps of so many MiB, so that there are few of them.
const MEMORY_STEP_MIB: u32 = 512;

/// What tasks of one demand have in common.
#[derive(Debug, Clone)]
pub struct DemandRow {
    /// Its number.
    pub key: DemandKey,
    /// Their kind of work.
    pub work: Option<WorkKind>,
    /// Their data set.
    pub data: Option<String>,
    /// Memory in MiB that they need at least.
    pub min_memory_mib: Option<u32>,
}

/// What was learnt of kinds of work.
#[derive(Debug, Clone, Default)]
pub struct Learnt {
    /// The time they take.
    pub rates: Rates,
    /// The most memory in MiB that they were seen to take.
    pub peaks: BTreeMap<(DeviceKind, WorkKind), u32>,
}

impl Store {
    /// The demands of these numbers.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn demands(&self, keys: &BTreeSet<DemandKey>) -> Result<Vec<DemandRow>, Error> {
        let keys: Vec<i32> = keys.iter().map(|key| key.0).collect();
        let rows = sqlx::query!(
            "select demand_key, work, data, min_memory_mib from demands where demand_key = any($1::integer[])",
            &keys
        );
        let mut demands = Vec::new();
        for row in rows.fetch_all(&self.pool).await? {
            demands.push(DemandRow {
                key: DemandKey(row.demand_key),
                work: row.work.map(|work| work.parse().map_err(corrupt)).transpose()?,
                data: row.data,
                min_memory_mib: Some(unsigned(row.min_memory_mib)?).filter(|mib| *mib > 0),
            });
        }
        Ok(demands)
    }

    /// What was learnt of the time and memory that work takes.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn learnt(&self) -> Result<Learnt, Error> {
        let rows = sqlx::query!("select device, work, attempts, secs, cost, peak_memory_mib from cost_rates");
        let mut learnt = Learnt::default();
        for row in rows.fetch_all(&self.pool).await? {
            let rate = Rate { attempts: unsigned(row.attempts)?, secs: row.secs, cost: row.cost };
            let (device, work) = (DeviceKind::named(row.device), row.work.parse::<WorkKind>().map_err(corrupt)?);
            if let Some(peak) = row.peak_memory_mib {
                learnt.peaks.insert((device.clone(), work.clone()), unsigned(peak)?);
            }
            learnt.rates.insert(device, work, rate);
        }
        Ok(learnt)
    }
}

/// The demands of these tasks, by task; those that are new get a number.
pub(super) async fn demands_of<'a>(
    tasks: impl Iterator<Item = &'a PlannedTask>,
    work: &mut Work,
) -> Result<BTreeMap<TaskId, i32>, Error> {
    // There are few data sets, and their digests cost more than to compare them.
    let mut data: Vec<&DatasetSpec> = Vec::new();
    let mut kinds: BTreeMap<(WorkKind, usize), Vec<TaskId>> = BTreeMap::new();
    for task in tasks {
        let dataset = task.spec.dataset();
        let known = data.iter().position(|known| *known == dataset);
        let number = known.unwrap_or_else(|| {
            data.push(dataset);
            data.len() - 1
        });
        kinds.entry((WorkKind::of(&task.spec), number)).or_default().push(task.id);
    }
    let data: Vec<String> = data.into_iter().map(DatasetSpec::short_digest).collect();
    let kinds = kinds.into_iter().map(|((work, number), tasks)| ((work.to_string(), data[number].clone()), tasks));
    let kinds: BTreeMap<(String, String), Vec<TaskId>> = kinds.collect();
    let keys = keys_of(kinds.keys(), work).await?;
    let key = |kind: &(String, String)| keys.get(kind).copied().unwrap_or(0);
    Ok(kinds.iter().flat_map(|(kind, tasks)| tasks.iter().map(move |task| (*task, key(kind)))).collect())
}

/// The numbers of kinds of work on data sets.
async fn keys_of(
    kinds: impl Iterator<Item = &(String, String)>,
    work: &mut Work,
) -> Result<BTreeMap<(String, String), i32>, Error> {
    let (works, data): (Vec<String>, Vec<String>) = kinds.cloned().unzip();
    // They come in one order, so that two submissions do not wait for each other.
    let query = sqlx::query!(
        "insert into demands (work, data) select * from unnest($1::text[], $2::text[]) on conflict do nothing",
        &works,
        &data
    );
    query.execute(&mut *work.tx).await?;
    let rows = sqlx::query!(
        r#"select d.demand_key, d.work as "work!", d.data as "data!"
        from demands d join unnest($1::text[], $2::text[]) as n (work, data) on d.work = n.work and d.data = n.data
        where d.min_memory_mib = 0"#,
        &works,
        &data
    );
    let rows = rows.fetch_all(&mut *work.tx).await?;
    Ok(rows.into_iter().map(|row| ((row.work, row.data), row.demand_key)).collect())
}

/// Notes that a task needs so much memory at least. The task is locked.
pub(super) async fn needs_memory(task: TaskId, needed_mib: u32, work: &mut Work) -> Result<(), Error> {
    let query = sqlx::query!(
        "update tasks set min_memory_mib = greatest(min_memory_mib, $2) where task_id = $1",
        bytes(task),
        column::<i32, _>(needed_mib, "a size of memory")?
    );
    query.execute(&mut *work.tx).await?;
    let step = needed_mib.div_ceil(MEMORY_STEP_MIB).saturating_mul(MEMORY_STEP_MIB);
    let query = sqlx::query!(
        "with more as (
            insert into demands (work, data, min_memory_mib)
            select d.work, d.data, greatest(d.min_memory_mib, $2)
            from tasks t join demands d using (demand_key) where t.task_id = $1
            on conflict (work, data, min_memory_mib) do update set min_memory_mib = excluded.min_memory_mib
            returning demand_key
        )
        update tasks t set demand_key = more.demand_key from more where t.task_id = $1",
        bytes(task),
        column::<i32, _>(step, "a size of memory")?
    );
    query.execute(&mut *work.tx).await?;
    Ok(())
}
