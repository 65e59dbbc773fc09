//! `gauntlet coordinator` and `gauntlet worker`: one role each, for clusters.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use gauntlet_agent::{Agent, Leave};
use gauntlet_coordinator::Config as CoordinatorConfig;
use tokio::signal::unix::{SignalKind, signal};

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
    let config = CoordinatorConfig { lease_ttl, heartbeat_interval, retention: args.retention.time(), ..usual };
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
    config.labels = args.labels.iter().cloned().collect();
    config.device_memory_mib = args.device_memory_mib;
    config.tuning.grace = Duration::from_secs(args.grace_secs);
    config.wall_time = wall_time(args.wall_time_secs)?;
    let leave = Leave::default();
    tokio::spawn(leave_at_signals(leave.clone(), args.grace_secs));
    Agent::run(config, leave).await?;
    Ok(ExitCode::SUCCESS)
}

/// The first signal has it leave in good order, the second at once.
async fn leave_at_signals(leave: Leave, grace_secs: u64) {
    let told = async {
        stop_signal().await?;
        eprintln!(
            "draining: what runs is handed back at a checkpoint, within {grace_secs} s; a second signal ends the wait"
        );
        leave.in_good_order.cancel();
        stop_signal().await?;
        eprintln!("leaving at once");
        leave.at_once.cancel();
        anyhow::Ok(())
    };
    if let Err(error) = told.await {
        tracing::error!("{error:#}");
    }
}

/// The wall time that the user states, or what Slurm leaves of its job.
fn wall_time(stated_secs: Option<u64>) -> anyhow::Result<Option<Duration>> {
    if let Some(secs) = stated_secs {
        return Ok(Some(Duration::from_secs(secs)));
    }
    let Some(end) = std::env::var_os("SLURM_JOB_END_TIME") else { return Ok(None) };
    let end = end.to_string_lossy();
    let end = end.parse::<u64>().with_context(|| {
        format!("SLURM_JOB_END_TIME is `{end}`: expected seconds since 1970; --wall-time-secs overrides it")
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Some(Duration::from_secs(end).saturating_sub(now)))
}
