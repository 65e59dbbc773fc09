//! The parts on this machine: a private Postgres, a coordinator, a worker.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use gauntlet_agent::{Agent, Config as AgentConfig};
use gauntlet_coordinator::{Config as CoordinatorConfig, Coordinator, Order};
use gauntlet_postgres::{Options as PostgresOptions, Postgres};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::{ExecutorArgs, Global, PlanningArgs, TaskOrder};
use crate::client::Client;

/// How long tasks on this machine may take to stop at a checkpoint when the user interrupts: somebody waits for it.
const GRACE: Duration = Duration::from_secs(5);

/// A database and a coordinator of this process.
pub struct Local {
    coordinator: Coordinator,
    postgres: Option<Postgres>,
    database_url: String,
}

impl Local {
    /// Starts them; the coordinator listens on `listen`.
    ///
    /// # Errors
    /// No database can be had, or the address is taken.
    pub async fn start(global: &Global, listen: &str) -> anyhow::Result<Self> {
        Self::start_with(CoordinatorConfig::default(), global, listen).await
    }

    /// The same with these settings of the coordinator.
    ///
    /// # Errors
    /// No database can be had, or the address is taken.
    pub async fn start_with(config: CoordinatorConfig, global: &Global, listen: &str) -> anyhow::Result<Self> {
        let (postgres, database_url) = database(global).await?;
        let coordinator = coordinator(config, &database_url, listen).await?;
        Ok(Self { coordinator, postgres, database_url })
    }

    /// Where the coordinator listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.coordinator.address())
    }

    /// How `psql` reaches the database.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// A connection to the coordinator.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.endpoint()).await
    }

    /// Stops the coordinator, then the database.
    pub async fn stop(self) {
        self.coordinator.shutdown().await;
        if let Some(postgres) = self.postgres {
            // Stopping waits for the server; the runtime's own threads must not.
            let _ = tokio::task::spawn_blocking(move || postgres.stop()).await;
        }
    }
}

/// Settings of a coordinator that plans as the user says.
pub fn coordinator_config(planning: PlanningArgs) -> CoordinatorConfig {
    let order = match planning.order {
        TaskOrder::CriticalPath => Order::CriticalPath,
        TaskOrder::Fifo => Order::Fifo,
    };
    let shard_time = Duration::from_secs(planning.shard_secs);
    CoordinatorConfig { shard_time, order, ..CoordinatorConfig::default() }
}

/// A coordinator that listens on `listen`.
///
/// # Errors
/// The address is malformed or taken, or the database cannot be used.
pub async fn coordinator(config: CoordinatorConfig, database_url: &str, listen: &str) -> anyhow::Result<Coordinator> {
    let address: SocketAddr = listen
        .parse()
        .with_context(|| format!("--listen `{listen}`: expected an address and a port, such as 127.0.0.1:7878"))?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("nothing can listen on {address}"))?;
    Coordinator::start(config, database_url, listener).await.context("the coordinator does not start")
}

/// The database the user named, or a private one.
///
/// # Errors
/// The private one does not start.
pub async fn database(global: &Global) -> anyhow::Result<(Option<Postgres>, String)> {
    if let Some(url) = &global.database_url {
        return Ok((None, url.clone()));
    }
    let options = PostgresOptions::new(&global.state_dir);
    let started = tokio::task::spawn_blocking(move || Postgres::start(&options))
        .await
        .context("starting the private Postgres panicked")?;
    let postgres = started.context("the private Postgres does not start")?;
    let url = postgres.url().to_owned();
    Ok((Some(postgres), url))
}

/// A worker of this process.
pub struct LocalWorker {
    stop: CancellationToken,
    agent: JoinHandle<anyhow::Result<()>>,
}

impl LocalWorker {
    /// Starts a worker with `slots` executors that serves the coordinator at `endpoint`.
    ///
    /// # Errors
    /// The executor program is not there.
    pub fn start(global: &Global, executor: &ExecutorArgs, slots: u32, endpoint: String) -> anyhow::Result<Self> {
        let mut config = agent_config(global, executor, vec![endpoint], None)?;
        config.slots = slots;
        config.tuning.grace = GRACE;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let agent = tokio::spawn(async move { Agent::run(config, token).await.map_err(anyhow::Error::new) });
        Ok(Self { stop, agent })
    }

    /// Ends when the worker gives up.
    pub async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.agent).await {
            Ok(Ok(())) => anyhow::anyhow!("the worker left"),
            Ok(Err(error)) => error.context("the worker failed"),
            Err(panic) => anyhow::Error::new(panic).context("the worker panicked"),
        }
    }

    /// Hands back what it runs and stops.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Ok(Err(error)) = self.agent.await {
            tracing::warn!("the worker did not stop cleanly: {error:#}");
        }
    }
}

/// Settings of a worker that serves `endpoints` and keeps artifacts where the user says, or in the state directory.
///
/// # Errors
/// The executor program is not there.
pub fn agent_config(
    global: &Global,
    executor: &ExecutorArgs,
    endpoints: Vec<String>,
    artifacts: Option<&str>,
) -> anyhow::Result<AgentConfig> {
    let store =
        artifacts.map_or_else(|| global.state_dir.join("artifacts").to_string_lossy().into_owned(), str::to_owned);
    let state_dir = global.state_dir.join("worker");
    let mut config =
        AgentConfig::new(String::new(), state_dir, executor_program(executor)?, store, absolute(&global.data_dir())?);
    config.endpoints = endpoints;
    config.devices = executor.devices.clone();
    config.threads_per_executor = executor.threads;
    Ok(config)
}

/// The program that computes: what the user says, or the one beside this one.
///
/// # Errors
/// It is not there.
pub fn executor_program(executor: &ExecutorArgs) -> anyhow::Result<PathBuf> {
    if let Some(program) = &executor.executor {
        anyhow::ensure!(program.is_file(), "--executor {}: no such file", program.display());
        return absolute(program);
    }
    let this = std::env::current_exe().context("the place of this program is unknown")?;
    let beside = this.with_file_name("gauntlet-executor");
    anyhow::ensure!(
        beside.is_file(),
        "{} is not there; build it with `make build`, or name it with --executor",
        beside.display()
    );
    Ok(beside)
}

/// An absolute path, without asking the file system.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}: no absolute path", path.display()))
}

/// So many tasks at once as the user says, or one per CPU core.
pub fn slots(workers: Option<u32>) -> u32 {
    workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32))
}
