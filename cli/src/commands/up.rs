//! `gauntlet up`: the parts on this machine, left running for other clients.

use std::process::ExitCode;

use anyhow::Context as _;
use gauntlet_coordinator::Config;

use super::connection::endpoint_file;
use super::roles::stop_signal;
use crate::args::{Global, UpArgs};
use crate::local::{Local, LocalWorker, coordinator_config, executor_program, slots};

/// Runs database, coordinator and worker until a signal.
///
/// # Errors
/// A part does not start, or the worker gives up.
pub async fn up(global: &Global, args: &UpArgs) -> anyhow::Result<ExitCode> {
    let slots = slots(args.workers);
    if slots > 0 {
        executor_program(&args.executor)?;
    }
    let config = Config { retention: args.retention.time(), ..coordinator_config(args.planning) };
    let local = Local::start_with(config, global, &args.listen).await?;
    let served = serve(global, args, slots, &local).await;
    let _ = std::fs::remove_file(endpoint_file(global));
    local.stop().await;
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(global: &Global, args: &UpArgs, slots: u32, local: &Local) -> anyhow::Result<()> {
    let file = endpoint_file(global);
    std::fs::write(&file, local.endpoint()).with_context(|| format!("{} cannot be written", file.display()))?;
    eprintln!("coordinator: {}", local.endpoint());
    eprintln!("database: {}", local.database_url());
    eprintln!("worker: {slots} tasks at once; Ctrl-C stops everything");
    if slots == 0 {
        stop_signal().await?;
        return Ok(());
    }
    let mut worker = LocalWorker::start(global, &args.executor, slots, local.endpoint())?;
    tokio::select! {
        error = worker.ended() => return Err(error),
        signal = stop_signal() => signal?,
    }
    worker.stop().await;
    Ok(())
}
