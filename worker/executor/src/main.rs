//! `gauntlet-executor`: computes the tasks that a worker's agent hands it, in a process of its own, so that an abort of libtorch, an out-of-memory kill
//! or a hang costs one attempt and nothing else. It is killed to cancel, and it dies with its agent.
//!
//! This process must **not** know: the network, the coordinator, leases. Its messages are `gauntlet-executor-ipc`'s, its science `gauntlet-lab`'s.

mod agent;
mod memory;
mod serve;
mod stdout;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use gauntlet_lab::{DeviceName, Lab, Settings, probe};
use tracing_subscriber::EnvFilter;

/// Computes tasks for a Gauntlet worker; started by `gauntlet worker`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to compute: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Threads of one operation on the CPU.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Shortest time between two resumable checkpoints of a training; 0 writes one after every epoch.
    #[arg(long, env = "GAUNTLET_CHECKPOINT_INTERVAL_SECS", default_value_t = 10, value_name = "SECONDS")]
    checkpoint_interval_secs: u64,
    /// Compute activations again instead of keeping them: a forward pass more in each step, for a fraction of the memory. The results are the same. A
    /// task that ran out of memory does so by itself.
    #[arg(long, env = "GAUNTLET_RECOMPUTE_ACTIVATIONS")]
    recompute_activations: bool,
    /// Say as one line of JSON whether the device works, and exit.
    #[arg(long)]
    probe: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Before anything else can print: from here on the agent's end of stdout belongs to the protocol.
    let mut stdout = stdout::claim().context("stdout cannot be claimed for the protocol")?;
    let filter = EnvFilter::try_from_env("GAUNTLET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let settings = Settings {
        device: arguments.device,
        threads: arguments.threads,
        checkpoint_interval: Duration::from_secs(arguments.checkpoint_interval_secs),
        recompute_activations: arguments.recompute_activations,
        ..Settings::default()
    };
    let lab = Lab::new(settings);
    let probe = probe(arguments.device).with_context(|| format!("device `{}` does not work", arguments.device))?;
    if arguments.probe {
        let answer = serde_json::json!({
            "device": probe.device.to_string(),
            "libtorch": probe.libtorch,
            "threads": probe.threads,
            "onednn": probe.onednn,
        });
        writeln!(stdout, "{answer}")?;
        return Ok(());
    }
    serve::serve(lab, &probe, stdout)
}
