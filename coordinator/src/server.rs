//! A coordinator from start to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use gauntlet_proto::v1::fleet_service_server::FleetServiceServer;
use gauntlet_proto::v1::sweep_service_server::SweepServiceServer;
use gauntlet_proto::v1::worker_service_server::WorkerServiceServer;
use gauntlet_proto::{MAX_MESSAGE_BYTES, v1};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::reports::Reports;
use crate::services::{Fleet, Sweeps, Workers};
use crate::shared::Shared;
use crate::status::Error;
use crate::store::{self, Store};
use crate::{dispatch, learning, leases, removal, reports};

/// Bytes under way before the sender waits for the receiver: outcomes and results fill a fast line.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running coordinator. Dropping it stops it, without waiting until it has stopped.
#[derive(Debug)]
pub struct Coordinator {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Option<JoinHandle<Result<(), tonic::transport::Error>>>,
}

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The times do not fit together.
    #[error(
        "a lease of {lease_ttl:?} is too short for heartbeats every {heartbeat_interval:?}: it must be at least five times as long"
    )]
    Times {
        /// Length of a lease.
        lease_ttl: Duration,
        /// Time between heartbeats.
        heartbeat_interval: Duration,
    },
    /// The database's URL makes no sense.
    #[error("the database URL cannot be used: {0}")]
    Url(#[source] store::Error),
    /// The database cannot be reached, or cannot be brought up to date.
    #[error("the database cannot be used: {0}")]
    Database(#[source] store::Error),
    /// The gRPC server cannot be set up.
    #[error("the server cannot be set up: {0}")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Coordinator {
    /// Brings the database at `database_url` up to date and serves on `listener`.
    ///
    /// # Errors
    /// The settings or the URL make no sense, or the database cannot be used within [`Config::database_patience`].
    pub async fn start(config: Config, database_url: &str, listener: TcpListener) -> Result<Self, StartError> {
        let Config { lease_ttl, heartbeat_interval, .. } = config;
        if lease_ttl < heartbeat_interval * 5 {
            return Err(StartError::Times { lease_ttl, heartbeat_interval });
        }
        let store = Store::connect(database_url, config.database_connections, config.retry).map_err(StartError::Url)?;
        let store = store.planning(config.planning());
        migrate(&store, config.database_patience).await?;
        let address = listener.local_addr().map_err(|error| StartError::Server(error.into()))?;
        let (reports, lane) = Reports::new();
        let shared = Arc::new(Shared::new(config, store, reports));
        let (reporter, health) = tonic_health::server::health_reporter();
        let router = router(&shared)?.add_service(health);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stop = shared.stop.clone().cancelled_owned();
        let serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop));
        shared.tasks.spawn(reports::store_all(Arc::clone(&shared), lane));
        shared.tasks.spawn(dispatch::run(Arc::clone(&shared)));
        shared.tasks.spawn(leases::run(Arc::clone(&shared)));
        shared.tasks.spawn(learning::run(Arc::clone(&shared)));
        shared.tasks.spawn(removal::run(Arc::clone(&shared)));
        shared.tasks.spawn(report_health(Arc::clone(&shared), reporter));
        tracing::info!(%address, coordinator = shared.config.coordinator_id, "the coordinator is ready");
        Ok(Self { shared, address, serving: Some(serving) })
    }

    /// Where it serves.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name in the database and in messages.
    pub fn id(&self) -> &str {
        &self.shared.config.coordinator_id
    }

    /// Stops: takes nothing new, ends every stream with UNAVAILABLE so that workers go elsewhere or come back, and waits for what is being written.
    /// What workers run goes on.
    pub async fn shutdown(mut self) {
        self.begin_shutdown();
        let serving = self.serving.take();
        let shared = Arc::clone(&self.shared);
        let end = async {
            shared.tasks.wait().await;
            if let Some(serving) = serving {
                drop(serving.await);
            }
        };
        if tokio::time::timeout(FAREWELL, end).await.is_err() {
            tracing::warn!("some calls did not end in time and are cut off");
        }
        drop(tokio::time::timeout(FAREWELL, self.shared.store.close()).await);
    }

    fn begin_shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.sessions.close_all(&Error::ShuttingDown.into());
        self.shared.tasks.close();
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.begin_shutdown();
    }
}

/// The database may be about to start, or in the middle of a restart.
async fn migrate(store: &Store, patience: Duration) -> Result<(), StartError> {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .with_total_delay(Some(patience))
        .without_max_times();
    (|| store.migrate()).retry(backoff).when(store::Error::is_unavailable).await.map_err(StartError::Database)
}

fn router(shared: &Arc<Shared>) -> Result<Router, StartError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed = |error: tonic_reflection::server::Error| StartError::Server(error.into());
    let sweeps = SweepServiceServer::new(Sweeps(Arc::clone(shared)));
    let workers = WorkerServiceServer::new(Workers(Arc::clone(shared)));
    let fleet = FleetServiceServer::new(Fleet(Arc::clone(shared)));
    Ok(Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(sweeps.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(workers.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(fleet.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(reflection().build_v1().map_err(failed)?)
        .add_service(reflection().build_v1alpha().map_err(failed)?))
}

/// Says whether the coordinator can do its work: whether the database is there.
async fn report_health(shared: Arc<Shared>, reporter: HealthReporter) {
    loop {
        let pinged: Result<(), store::Error> = shared.outage.note(shared.store.ping().await);
        let status = if pinged.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "gauntlet.v1.SweepService", "gauntlet.v1.WorkerService", "gauntlet.v1.FleetService"] {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(shared.config.tick()) => {}
        }
    }
}
