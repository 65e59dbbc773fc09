//! Workers that do nothing, and do it at once: what is left is the cost of the queue. `scripts/bench/dispatch.py` runs them as processes.
//!
//! They speak the worker protocol as the agent does, and answer every assignment with the smallest result that the coordinator accepts. They keep no
//! spool and do not reconnect: a session that ends early ends the program with an error. What was measured is one line of JSON on stdout.

mod session;
mod stats;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;

use session::{Behaviour, Gate, Problem, Worker};
use stats::Stats;

/// Sessions that may be opened at once.
const OPENING: usize = 32;
/// Bytes under way before the sender waits for the receiver.
const WINDOW: u32 = 4 * 1024 * 1024;

type Workers = JoinSet<Result<Stats, Problem>>;

/// Workers that answer every task at once with an empty result; for measuring the coordinator.
///
/// From SIGUSR1 on they keep every task they are given, as if it took forever, and hand it back at the end.
#[derive(Debug, Parser)]
struct Args {
    /// The coordinator.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Workers in this process, each with a session of its own.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    workers: u32,
    /// Tasks that each worker takes at once.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    slots: u32,
    /// Workers that share a connection (HTTP/2 carries up to 200 sessions).
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    sessions_per_connection: u32,
    /// Their names begin with this; two processes need different ones.
    #[arg(long, default_value = "noop", value_name = "TEXT")]
    name: String,
    /// Pretend that each task takes so long.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    task_millis: u64,
    /// End after so long; SIGTERM and SIGINT end it earlier. What is under way is finished first.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(stats) => {
            println!("{}", stats.json());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("noop_worker: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<Stats, Problem> {
    let (stop, stopped) = watch::channel(false);
    let (opened, mut openings) = mpsc::unbounded_channel();
    let gate = Gate { turns: Arc::new(Semaphore::new(OPENING)), opened };
    let hold = Arc::new(AtomicBool::new(false));
    let behaviour = Behaviour { takes: Duration::from_millis(args.task_millis), hold: Arc::clone(&hold) };
    let mut told_to_hold = signal(SignalKind::user_defined1()).map_err(Problem::Signal)?;
    let mut workers = start(&args, &behaviour, &gate, &stopped).await?;
    let mut connected = 0;
    let mut told_to_stop = pin!(stop_signal());
    let deadline = Instant::now() + Duration::from_secs(args.seconds);
    loop {
        tokio::select! {
            Some(()) = openings.recv() => {
                connected += 1;
                if connected == args.workers {
                    // Whoever started this waits for it.
                    eprintln!("noop_worker: {connected} workers are connected");
                }
            }
            Some(ended) = workers.join_next() => {
                finished(ended)?;
                return Err(Problem::Ended("a session ended before it was told to".to_owned()));
            }
            Some(()) = told_to_hold.recv() => hold.store(true, Ordering::Relaxed),
            stopped = &mut told_to_stop => { stopped?; break }
            () = sleep_until(deadline) => break,
        }
    }
    stop.send_replace(true);
    let mut stats = Stats::default();
    while let Some(ended) = workers.join_next().await {
        stats.add(finished(ended)?);
    }
    Ok(stats)
}

async fn start(
    args: &Args,
    behaviour: &Behaviour,
    gate: &Gate,
    stopped: &watch::Receiver<bool>,
) -> Result<Workers, Problem> {
    let endpoint = endpoint(&args.endpoint)?;
    let mut workers = JoinSet::new();
    let names: Vec<String> = (0..args.workers).map(|number| format!("{}-{number:05}", args.name)).collect();
    for names in names.chunks(args.sessions_per_connection as usize) {
        let channel = endpoint.connect().await.map_err(Problem::Connection)?;
        for name in names {
            let worker = Worker { name: name.clone(), slots: args.slots, behaviour: behaviour.clone() };
            workers.spawn(worker.run(channel.clone(), gate.clone(), stopped.clone()));
        }
    }
    Ok(workers)
}

fn finished(ended: Result<Result<Stats, Problem>, JoinError>) -> Result<Stats, Problem> {
    ended.map_err(|error| Problem::Ended(error.to_string()))?
}

fn endpoint(url: &str) -> Result<Endpoint, Problem> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(Problem::Connection)?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true))
}

async fn stop_signal() -> Result<(), Problem> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Problem::Signal)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Problem::Signal)?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
