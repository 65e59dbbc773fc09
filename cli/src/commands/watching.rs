//! Following a sweep to its end.

use std::process::ExitCode;
use std::time::Duration;

use gauntlet_proto::v1;

use crate::client::{Client, refused};
use crate::progress::Progress;

/// Longest time without a coordinator before a watcher gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Follows a sweep until it ends, showing its progress; a coordinator that goes away and comes back is waited for.
///
/// # Errors
/// The sweep is unknown, or the coordinator stays away.
pub async fn follow(client: &mut Client, sweep_id: &str) -> anyhow::Result<v1::Sweep> {
    let mut progress = Progress::new();
    let ended = follow_showing(client, sweep_id, &mut progress).await;
    progress.finish();
    ended
}

async fn follow_showing(client: &mut Client, sweep_id: &str, progress: &mut Progress) -> anyhow::Result<v1::Sweep> {
    let mut last_heard = tokio::time::Instant::now();
    loop {
        match watch_once(client, sweep_id, progress, &mut last_heard).await {
            Ok(Some(sweep)) => return Ok(sweep),
            Ok(None) => {}
            Err(status) if lasts_briefly(&status) && last_heard.elapsed() < PATIENCE => {
                tracing::warn!("the coordinator is out of reach, trying again: {}", status.message());
            }
            Err(status) => return Err(refused(status)),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn lasts_briefly(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal
    )
}

async fn watch_once(
    client: &mut Client,
    sweep_id: &str,
    progress: &mut Progress,
    last_heard: &mut tokio::time::Instant,
) -> Result<Option<v1::Sweep>, tonic::Status> {
    let mut stream =
        client.sweeps.watch_sweep(v1::WatchSweepRequest { sweep_id: sweep_id.to_owned() }).await?.into_inner();
    while let Some(sweep) = stream.message().await? {
        *last_heard = tokio::time::Instant::now();
        progress.show(&sweep);
        if !goes_on(&sweep) {
            return Ok(Some(sweep));
        }
    }
    Ok(None)
}

/// Whether a sweep is not over: one that is paused may be resumed.
pub fn goes_on(sweep: &v1::Sweep) -> bool {
    ["running", "paused"].contains(&sweep.state.as_str())
}

/// Says on stderr what did not succeed, and gives the exit code: success only if every task succeeded.
pub fn verdict(sweep: &v1::Sweep) -> ExitCode {
    if sweep.state == "succeeded" {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: sweep {} {}", sweep.sweep_id, sweep.state);
    for task in &sweep.unsuccessful {
        eprintln!(
            "  {} {} {} ({}): {}",
            task.state,
            task.kind,
            task.label,
            &task.task_id[..task.task_id.len().min(8)],
            task.reason
        );
    }
    eprintln!("`gauntlet explain TASK` tells more; `gauntlet retry {}` tries again", sweep.sweep_id);
    ExitCode::FAILURE
}
