//! A database, coordinators, and clients to talk to them.

use std::future::Future;
use std::time::Duration;

use gauntlet_coordinator::{Config, Coordinator};
use gauntlet_domain::task::RetryPolicy;
use gauntlet_postgres::testing::TestDatabase;
use gauntlet_proto::v1;
use gauntlet_proto::v1::fleet_service_client::FleetServiceClient;
use gauntlet_proto::v1::sweep_service_client::SweepServiceClient;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::Channel;

use crate::worker::Worker;

/// Length of a lease in the tests.
pub const LEASE: Duration = Duration::from_secs(3);

/// Settings with short times.
pub fn quick() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(250),
        lease_ttl: LEASE,
        retry: RetryPolicy {
            backoff_base: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            ..RetryPolicy::default()
        },
        removal_interval: Duration::from_millis(100),
        database_connections: 8,
        learning_interval: Duration::from_millis(500),
        ..Config::default()
    }
}

/// A coordinator with threads of its own, so that it can die as by `kill -9`.
pub struct Host {
    runtime: Option<tokio::runtime::Runtime>,
    coordinator: Option<Coordinator>,
    pub endpoint: String,
}

impl Host {
    async fn start(url: &str, config: Config, listener: TcpListener) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let url = url.to_owned();
        let listener = listener.into_std().unwrap();
        let starting = runtime
            .spawn(async move { Coordinator::start(config, &url, TcpListener::from_std(listener).unwrap()).await });
        let coordinator = starting.await.unwrap().unwrap();
        let endpoint = format!("http://{}", coordinator.address());
        Self { runtime: Some(runtime), coordinator: Some(coordinator), endpoint }
    }

    /// As by `kill -9`: nothing is said, nothing is finished.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Its tasks are gone; what it would say in its end, nobody hears.
        self.coordinator = None;
    }

    /// As by SIGTERM.
    pub async fn shut_down(&mut self) {
        let coordinator = self.coordinator.take().unwrap();
        self.runtime.as_ref().unwrap().spawn(coordinator.shutdown()).await.unwrap();
        self.kill();
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.endpoint.clone()).unwrap().connect().await.unwrap()
    }

    pub async fn sweeps(&self) -> SweepServiceClient<Channel> {
        let limit = gauntlet_proto::MAX_MESSAGE_BYTES;
        SweepServiceClient::new(self.channel().await).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    pub async fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel().await)
    }

    /// A worker of this name, welcomed.
    pub async fn worker(&self, name: &str, slots: u32) -> Worker {
        Worker::connect(&self.endpoint, name, slots, &[]).await.unwrap()
    }

    pub async fn try_submit(&self, toml: &str) -> Result<v1::SubmitSweepResponse, Status> {
        let source = v1::SweepSource { toml: toml.to_owned(), files: Vec::new() };
        let request = v1::SubmitSweepRequest { source: Some(source), ..Default::default() };
        self.sweeps().await.submit_sweep(request).await.map(tonic::Response::into_inner)
    }

    pub async fn submit(&self, toml: &str) -> v1::SubmitSweepResponse {
        self.try_submit(toml).await.unwrap()
    }

    pub async fn sweep(&self, id: &str) -> v1::Sweep {
        self.sweeps().await.get_sweep(v1::GetSweepRequest { sweep_id: id.to_owned() }).await.unwrap().into_inner()
    }

    /// (pending, ready, leased, succeeded, failed, cancelled, skipped)
    pub async fn counts(&self, id: &str) -> [u32; 7] {
        let counts = self.sweep(id).await.tasks.unwrap();
        [counts.pending, counts.ready, counts.leased, counts.succeeded, counts.failed, counts.cancelled, counts.skipped]
    }

    pub async fn explain(&self, task: &str) -> v1::ExplainTaskResponse {
        self.sweeps()
            .await
            .explain_task(v1::ExplainTaskRequest { task_id: task.to_owned() })
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn cancel(&self, id: &str) -> v1::Sweep {
        self.sweeps().await.cancel_sweep(v1::CancelSweepRequest { sweep_id: id.to_owned() }).await.unwrap().into_inner()
    }

    pub async fn retry(&self, id: &str) -> u32 {
        let request = v1::RetrySweepRequest { sweep_id: id.to_owned() };
        self.sweeps().await.retry_sweep(request).await.unwrap().into_inner().retried_tasks
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A database with a coordinator.
pub struct House {
    pub host: Host,
    pub database: TestDatabase,
    pub pool: PgPool,
}

impl std::ops::Deref for House {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl House {
    pub async fn start() -> Self {
        Self::with(quick()).await
    }

    /// On a Postgres that loses no commit when it is killed.
    pub async fn durable() -> Self {
        let database = tokio::task::spawn_blocking(|| TestDatabase::create_durable().unwrap()).await.unwrap();
        Self::on(database, quick()).await
    }

    pub async fn with(config: Config) -> Self {
        let database = tokio::task::spawn_blocking(|| TestDatabase::create().unwrap()).await.unwrap();
        Self::on(database, config).await
    }

    pub async fn on(database: TestDatabase, config: Config) -> Self {
        let host = Host::start(database.url(), config, listen("127.0.0.1:0").await).await;
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(database.url()).unwrap();
        Self { host, database, pool }
    }

    /// Another coordinator on the same database.
    pub async fn another(&self) -> Host {
        self.another_with(quick()).await
    }

    /// Another one with these settings.
    pub async fn another_with(&self, config: Config) -> Host {
        Host::start(self.database.url(), config, listen("127.0.0.1:0").await).await
    }

    /// A new coordinator at the address of the one that was killed.
    pub async fn restart(&mut self) {
        self.host.kill();
        let address = self.host.endpoint.trim_start_matches("http://").to_owned();
        self.host = Host::start(self.database.url(), quick(), listen(&address).await).await;
    }

    /// Rows of all tables.
    pub async fn row_counts(&self) -> Vec<(String, i64)> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE' order by 1",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let mut counts = Vec::new();
        for table in tables {
            let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            let count = sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap();
            counts.push((table, count));
        }
        counts
    }

    pub async fn text(&self, query: &'static str) -> String {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

async fn listen(address: &str) -> TcpListener {
    eventually(|| async { TcpListener::bind(address).await.ok() }).await
}

/// The first answer that comes within twenty seconds.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    for _ in 0..400 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not happen within twenty seconds");
}
