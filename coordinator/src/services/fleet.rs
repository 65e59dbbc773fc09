//! The workers and their users, for people.

use std::collections::HashMap;
use std::sync::Arc;

use gauntlet_domain::WorkerId;
use gauntlet_domain::share::{Terms, UserName};
use gauntlet_proto::convert;
use gauntlet_proto::v1;
use gauntlet_proto::v1::fleet_service_server::FleetService;
use tonic::{Request, Response, Status};

use super::hello::device;
use super::wire;
use crate::sessions::Told;
use crate::shared::Shared;
use crate::status::Error;
use crate::store::{UserRow, WorkerRow};

/// The service about workers.
#[derive(Debug, Clone)]
pub struct Fleet(pub Arc<Shared>);

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let rows = self.0.outage.note(self.0.store.workers(None).await).map_err(Error::from)?;
        let workers = rows.into_iter().map(|row| worker(&self.0, row)).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Result<Response<v1::Worker>, Status> {
        let v1::DrainWorkerRequest { worker_id, hand_back } = request.into_inner();
        let id: WorkerId = convert::parse(&worker_id, "worker_id").map_err(Error::from)?;
        let unknown = || Error::NotFound(format!("no worker `{id}` ever came"));
        if !self.0.outage.note(self.0.store.drain(&id, hand_back).await).map_err(Error::from)? {
            return Err(unknown().into());
        }
        self.0.sessions.drain(&id, Told::Now { hand_back });
        tracing::info!(worker = %id, hand_back, "a worker is to leave");
        let mut rows = self.0.outage.note(self.0.store.workers(Some(&id)).await).map_err(Error::from)?;
        let row = rows.pop().ok_or_else(unknown)?;
        Ok(Response::new(worker(&self.0, row)))
    }

    async fn list_users(&self, _: Request<v1::ListUsersRequest>) -> Result<Response<v1::ListUsersResponse>, Status> {
        let rows = self.0.outage.note(self.0.store.users(None).await).map_err(Error::from)?;
        Ok(Response::new(v1::ListUsersResponse { users: rows.into_iter().map(user).collect() }))
    }

    async fn set_user(&self, request: Request<v1::SetUserRequest>) -> Result<Response<v1::User>, Status> {
        let v1::SetUserRequest { user: name, weight, max_concurrent, no_max_concurrent } = request.into_inner();
        let name: UserName = convert::parse(&name, "user").map_err(Error::from)?;
        let Terms { weight, quota, .. } =
            convert::terms(weight, None, max_concurrent, no_max_concurrent).map_err(Error::from)?;
        self.0.outage.note(self.0.store.set_user(&name, weight, quota).await).map_err(Error::from)?;
        tracing::info!(user = %name, ?weight, ?quota, "a user has other terms");
        self.0.changed();
        let mut rows = self.0.outage.note(self.0.store.users(Some(&name)).await).map_err(Error::from)?;
        let row = rows.pop().ok_or_else(|| Error::NotFound(format!("there is no user `{name}`")))?;
        Ok(Response::new(user(row)))
    }
}

fn user(row: UserRow) -> v1::User {
    let UserRow { name, weight, max_concurrent, running, ready, sweeps } = row;
    v1::User { user: name, weight, max_concurrent, running, ready, sweeps }
}

fn worker(shared: &Shared, row: WorkerRow) -> v1::Worker {
    let seen = shared.sessions.of(&row.worker);
    let lease_micros = i64::try_from(shared.config.lease_ttl.as_micros()).unwrap_or(i64::MAX);
    // A worker of another coordinator was heard shortly before its lease was renewed.
    let last_heard_at_micros = match &seen {
        Some(seen) => row.now - i64::try_from(seen.silence.as_micros()).unwrap_or(0),
        None => row.lease_expires_at.saturating_sub(lease_micros),
    };
    let silent = match &seen {
        Some(seen) => seen.silence > shared.config.silence(),
        None => row.now - last_heard_at_micros > lease_micros / 2,
    };
    let state = if row.lease_expires_at < row.now {
        "gone"
    } else if silent {
        "silent"
    } else if row.draining || seen.is_some_and(|seen| seen.draining) {
        "draining"
    } else {
        "ready"
    };
    let remaining =
        row.leaves_at.filter(|_| state != "gone").map(|leaves_at| (leaves_at - row.now).max(0) as f64 / 1e6);
    v1::Worker {
        remaining_secs: remaining,
        worker_id: row.worker.to_string(),
        hostname: row.hostname,
        state: state.to_owned(),
        devices: row.devices.as_array().map(|devices| devices.iter().map(device).collect()).unwrap_or_default(),
        slots: row.slots,
        labels: row.labels.into_iter().collect::<HashMap<_, _>>(),
        connected_at_micros: row.connected_at,
        last_heard_at_micros,
        running: row.running.into_iter().map(|running| wire::running_task(shared, running)).collect(),
    }
}
