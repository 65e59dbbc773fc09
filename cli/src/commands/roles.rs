//! `gauntlet coordinator` and `gauntlet worker`: one role each, for clusters.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use gauntlet_agent::Agent;
use gauntlet_coordinator::Config as CoordinatorConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{CoordinatorArgs, Global, WorkerArgs};
use crate::local::{self, agent_config, database};

/// Ends with SIGINT or SIGTERM.
///
/// # Errors
/// The signals cannot be listened to.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened to")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT cannot be listened to")?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Runs a coordinator until a signal.
///
/// # Errors
/// The database is out of reach or the address is taken.
pub async fn coordinator(global: &Global, args: &CoordinatorArgs) -> anyhow::Result<ExitCode> {
    let (postgres, database_url) = database(global).await?;
    let lease_ttl = Duration::from_secs(args.lease_ttl_secs);
    let usual = local::coordinator_config(args.planning);
    // A lease must outlast a few lost heartbeats.
    let heartbeat_interval = usual.heartbeat_interval.min(lease_ttl / 5);
    let config = CoordinatorConfig { lease_ttl, heartbeat_interval, ..usual };
    let coordinator = local::coordinator(config, &database_url, &args.listen).await?;
    eprintln!("coordinator: http://{}", coordinator.address());
    stop_signal().await?;
    coordinator.shutdown().await;
    if let Some(postgres) = postgres {
        let _ = tokio::task::spawn_blocking(move || postgres.stop()).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a worker until a signal, or until it was drained.
///
/// # Errors
/// It cannot start, or the coordinator refuses it.
pub async fn worker(global: &Global, args: &WorkerArgs) -> anyhow::Result<ExitCode> {
    let endpoint = global
        .endpoint
        .as_ref()
        .context("name the coordinator with --endpoint or GAUNTLET_ENDPOINT; several are separated by commas")?;
    let endpoints = endpoint.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
    let mut config = agent_config(global, &args.executor, endpoints, args.artifacts.as_deref())?;
    config.slots = args.slots;
    config.worker_id = args.worker_id.as_deref().map(str::parse).transpose().context("--worker-id")?;
    config.labels = labels(&args.labels)?;
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        match stop_signal().await {
            Ok(()) => on_signal.cancel(),
            Err(error) => tracing::error!("{error:#}"),
        }
    });
    Agent::run(config, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn labels(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let split = |pair: &String| {
        let (key, value) = pair.split_once('=').with_context(|| format!("--label `{pair}`: expected KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().map(split).collect()
}
