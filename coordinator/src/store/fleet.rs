//! Workers, for people.

use std::collections::BTreeMap;

use gauntlet_domain::{AttemptRef, WorkerId};

use super::rows::{attempt, corrupt, micros, task_id, unsigned};
use super::sweeps::RunningRow;
use super::{Error, Store};

/// A worker in the database's eyes.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    /// Who.
    pub worker: WorkerId,
    /// Where it runs.
    pub hostname: String,
    /// Attempts it can run at once.
    pub slots: u32,
    /// Its devices.
    pub devices: serde_json::Value,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When its latest session began, in microseconds since 1970.
    pub connected_at: i64,
    /// When its lease ends unless it is renewed, in microseconds since 1970.
    pub lease_expires_at: i64,
    /// Now, by the same clock.
    pub now: i64,
    /// It takes no new work.
    pub draining: bool,
    /// When its wall time is over, in microseconds since 1970.
    pub leaves_at: Option<i64>,
    /// What it runs.
    pub running: Vec<RunningRow>,
}

impl Store {
    /// Workers that had a lease within the last day, by id; or this one alone, whenever it was here.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn workers(&self, only: Option<&WorkerId>) -> Result<Vec<WorkerRow>, Error> {
        let rows = sqlx::query!(
            r#"select worker_id, hostname, slots, devices, labels, connected_at, lease_expires_at, now() as "now!", draining, leaves_at
            from workers
            where worker_id = $1 or ($1 is null and lease_expires_at > now() - interval '1 day')
            order by worker_id"#,
            only.map(WorkerId::as_str) as _
        );
        let mut workers = BTreeMap::new();
        for row in rows.fetch_all(&self.pool).await? {
            let worker: WorkerId = row.worker_id.parse().map_err(corrupt)?;
            let row = WorkerRow {
                worker: worker.clone(),
                hostname: row.hostname,
                slots: unsigned(row.slots)?,
                devices: row.devices,
                labels: serde_json::from_value(row.labels).map_err(corrupt)?,
                connected_at: micros(row.connected_at),
                lease_expires_at: micros(row.lease_expires_at),
                now: micros(row.now),
                draining: row.draining,
                leaves_at: row.leaves_at.map(micros),
                running: Vec::new(),
            };
            workers.insert(worker, row);
        }
        self.add_running_by_worker(&mut workers).await?;
        Ok(workers.into_values().collect())
    }

    async fn add_running_by_worker(&self, workers: &mut BTreeMap<WorkerId, WorkerRow>) -> Result<(), Error> {
        let ids: Vec<&str> = workers.keys().map(WorkerId::as_str).collect();
        let rows = sqlx::query!(
            r#"select t.task_id as "task_id!: Vec<u8>", t.attempt, t.worker_id as "worker_id!", s.kind::text as "kind!", s.label, s.cost
            from tasks t join task_specs s using (task_id)
            where t.state = 'leased' and t.worker_id = any($1::text[])
            order by s.label, t.task_id"#,
            &ids as _
        );
        for row in rows.fetch_all(&self.pool).await? {
            let attempt = AttemptRef { task: task_id(row.task_id)?, attempt: attempt(row.attempt)? };
            let worker: WorkerId = row.worker_id.parse().map_err(corrupt)?;
            let running =
                RunningRow { attempt, kind: row.kind, label: row.label, worker: row.worker_id, cost: row.cost };
            if let Some(worker) = workers.get_mut(&worker) {
                worker.running.push(running);
            }
        }
        Ok(())
    }

    /// Gives a worker no new work, and perhaps has it hand back what it runs. False if it never came.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn drain(&self, worker: &WorkerId, hand_back: bool) -> Result<bool, Error> {
        let query = sqlx::query!(
            "update workers set draining = true, hands_back = hands_back or $2 where worker_id = $1",
            worker.as_str(),
            hand_back
        );
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }
}
