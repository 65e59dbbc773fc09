//! The command line.

mod sharing;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use sharing::{ChargeArgs, DeleteArgs, PauseArgs, PrioritizeArgs, SetUserArgs, UsersArgs, UsersCommand};

/// Fine-tunes image classifiers and attacks them, at cluster scale, to answer what pre-training does to their robustness.
///
/// A sweep file declares data sets × models × inits × recipes × seeds × attacks; `gauntlet run sweeps/quickstart.toml` runs one on this machine
/// with everything it needs. stdout carries the answer only; progress and logs go to stderr.
#[derive(Debug, Parser)]
#[command(name = "gauntlet", version, max_term_width = 110)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// Where the private database, artifacts and the worker's files lie.
    #[arg(long, global = true, env = "GAUNTLET_STATE_DIR", default_value = ".gauntlet", value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where data sets and fonts lie [default: <state-dir>/data].
    #[arg(long, global = true, env = "GAUNTLET_DATA", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Postgres to use instead of the private one.
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Coordinator to talk to [default: the one that `gauntlet up` runs in the state directory].
    #[arg(long, global = true, env = "GAUNTLET_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// What to log to stderr, in the syntax of tracing's EnvFilter: `info`, `gauntlet_coordinator=debug` …
    #[arg(long, global = true, env = "GAUNTLET_LOG", default_value = "warn", value_name = "FILTER")]
    pub log: String,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    pub log_json: bool,
}

impl Global {
    /// Where data sets and fonts lie.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| self.state_dir.join("data"))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a sweep on this machine: database, coordinator and workers start with it and end with it.
    Run(RunArgs),
    /// Start the same parts and leave them running for other clients, until Ctrl-C.
    Up(UpArgs),
    /// Run a coordinator alone.
    Coordinator(CoordinatorArgs),
    /// Run a worker alone.
    Worker(WorkerArgs),
    /// Show what a sweep would do: its tasks, which are new, shared or done, and their cost.
    Plan(PlanArgs),
    /// Submit a sweep to a coordinator.
    Submit(SubmitArgs),
    /// Follow a sweep until it ends; exit 0 only if every task succeeded.
    Watch(SweepArgs),
    /// Stop a sweep.
    Cancel(SweepArgs),
    /// Start nothing more of a sweep until it is resumed. What runs goes on to its end; what another sweep wants that is not paused goes on for that one.
    Pause(PauseArgs),
    /// Let a paused sweep go on.
    Resume(SweepArgs),
    /// Change the priority of a sweep, its weight, or how many of its tasks may run at once.
    Prioritize(PrioritizeArgs),
    /// Give the tasks of a sweep that ended without a result another try.
    Retry(SweepArgs),
    /// Delete a sweep with its results, and everything that no other sweep wants, checkpoints included. Nobody sees it from then on; the removal goes on in
    /// the background.
    Delete(DeleteArgs),
    /// List sweeps, the latest first.
    Sweeps(ListArgs),
    /// Print the results of a sweep: one row per run × attack.
    Results(ResultsArgs),
    /// List the methods of analysis, or print what the analyses of a sweep came to: one row per number.
    Analyses(AnalysesArgs),
    /// Print the outcomes of a sweep: one row per example.
    Outcomes(OutcomesArgs),
    /// Print what speaks for masked gradients in the results of a sweep.
    Warnings(SweepArgs),
    /// Write a sweep as one HTML page: what ran, what it says of the study's claims by which test, the results, and figures of them.
    ///
    /// The page needs no network and runs nothing. A sweep that has not ended is reported as far as it is; a banner says what is missing. docs/report.md
    /// tells how the verdicts are found.
    Report(ReportArgs),
    /// Say why a task waits, where it runs and what it tried.
    Explain(ExplainArgs),
    /// List the workers.
    Workers(ListArgs),
    /// Give a worker no new work; it leaves when what it runs is over, or hands it back and leaves at once.
    Drain(DrainArgs),
    /// List the users with what runs and waits for them, or set on what terms one shares the workers.
    Users(UsersArgs),
    /// List the data sets a sweep may name.
    Datasets(ListArgs),
    /// List the backbones.
    Backbones(ListArgs),
    /// List the training recipes and their parameters.
    Recipes(ListArgs),
    /// List the attacks and their parameters.
    Attacks(ListArgs),
    /// Check device, libtorch, database and data, and say what to do.
    Doctor(ListArgs),
}

#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The sweep file.
    pub sweep: PathBuf,
    /// Tasks to run at once, each in a process of its own [default: one per CPU core].
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// How to print the results; `table` summarises over seeds.
    #[arg(long, value_enum, default_value_t = ResultFormat::Table)]
    pub format: ResultFormat,
    /// Where to write the results instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Also write one row per example to this CSV file.
    #[arg(long, value_name = "FILE")]
    pub outcomes: Option<PathBuf>,
    #[command(flatten)]
    pub planning: PlanningArgs,
    #[command(flatten)]
    pub executor: ExecutorArgs,
}

#[derive(Debug, ClapArgs)]
pub struct UpArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
    pub listen: String,
    /// Tasks to run at once, each in a process of its own [default: one per CPU core]. 0 starts no worker.
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    #[command(flatten)]
    pub planning: PlanningArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
    #[command(flatten)]
    pub executor: ExecutorArgs,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct RetentionArgs {
    /// Delete sweeps that ended longer ago, as `gauntlet delete` does [default: keep them for ever].
    #[arg(long, env = "GAUNTLET_RETAIN_DAYS", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub retain_days: Option<u32>,
}

impl RetentionArgs {
    /// How long sweeps are kept after their end.
    pub fn time(self) -> Option<Duration> {
        self.retain_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60))
    }
}

#[derive(Debug, ClapArgs)]
pub struct CoordinatorArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:7878", env = "GAUNTLET_LISTEN", value_name = "ADDRESS")]
    pub listen: String,
    /// A worker out of touch for so long loses its tasks.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub lease_ttl_secs: u64,
    #[command(flatten)]
    pub planning: PlanningArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct PlanningArgs {
    /// Split attacks that are expected to take longer into shards of about so long each, so that a large evaluation uses idle slots; 0 never
    /// splits. Results are the same.
    #[arg(long, default_value_t = 120, env = "GAUNTLET_SHARD_SECS", value_name = "SECONDS")]
    pub shard_secs: u64,
    /// What goes first of what is ready: the longest chain of tasks by expected time, or, to compare with, what stands first in the sweep.
    #[arg(long, value_enum, default_value_t = TaskOrder::CriticalPath, env = "GAUNTLET_ORDER")]
    pub order: TaskOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskOrder {
    CriticalPath,
    Fifo,
}

#[derive(Debug, ClapArgs)]
pub struct WorkerArgs {
    /// Tasks to run at once.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub slots: u32,
    /// Where artifacts are kept; all workers must reach the same place [default: <state-dir>/artifacts].
    #[arg(long, env = "GAUNTLET_ARTIFACTS", value_name = "DIR|URL")]
    pub artifacts: Option<String>,
    /// Name of the worker [default: one is made up and kept in the state directory].
    #[arg(long, value_name = "ID")]
    pub worker_id: Option<String>,
    /// A label for placement, such as `zone=a`, which `gauntlet submit --require zone=a` asks for; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = sharing::label)]
    pub labels: Vec<(String, String)>,
    /// At SIGTERM or SIGINT: how long trainings may take to write and upload a checkpoint before they are handed back as they are. Two more seconds are
    /// for the coordinator's acknowledgements; Kubernetes grants 30 in all. A second signal ends the wait.
    #[arg(long, default_value_t = 25, value_name = "SECONDS")]
    pub grace_secs: u64,
    /// Time after which this process will be ended, as by a batch system. It gets no task that is not expected to fit, and in time hands back what it
    /// runs and leaves [default: what SLURM_JOB_END_TIME leaves].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub wall_time_secs: Option<u64>,
    /// Memory of each device that tasks may take: as many run at once on it as fit, if there are slots [default: of the CPU, what the machine or its
    /// control group has; of a GPU it is not known, and its slots alone bound what runs].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub device_memory_mib: Option<u64>,
    #[command(flatten)]
    pub executor: ExecutorArgs,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ExecutorArgs {
    /// Where executors compute: `cpu`, `cuda:0`; may be repeated, slots take turns.
    #[arg(long = "device", default_value = "cpu", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Threads of each executor. Results on CPU are the same for the same number of threads.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u32,
    /// The program that computes [default: `gauntlet-executor` beside `gauntlet`].
    #[arg(long, env = "GAUNTLET_EXECUTOR", value_name = "FILE")]
    pub executor: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// The sweep file.
    pub sweep: PathBuf,
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

#[derive(Debug, ClapArgs)]
pub struct SubmitArgs {
    /// The sweep file.
    pub sweep: PathBuf,
    /// Print the id of the sweep and nothing else.
    #[arg(short, long)]
    pub quiet: bool,
    /// Follow it until it ends.
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub charge: ChargeArgs,
}

#[derive(Debug, ClapArgs)]
pub struct SweepArgs {
    /// The sweep: its id, an unambiguous beginning of it, or its name (the latest of that name).
    pub id: String,
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

#[derive(Debug, ClapArgs)]
pub struct ListArgs {
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

#[derive(Debug, ClapArgs)]
pub struct ResultsArgs {
    /// The sweep: its id, an unambiguous beginning of it, or its name (the latest of that name).
    pub id: String,
    #[arg(long, value_enum, default_value_t = ResultFormat::Table)]
    pub format: ResultFormat,
    /// Where to write instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct AnalysesArgs {
    /// The sweep: its id, an unambiguous beginning of it, or its name (the latest of that name). Without one the methods are listed, with every parameter
    /// and its default.
    pub id: Option<String>,
    /// `table` summarises over seeds.
    #[arg(long, value_enum, default_value_t = AnalysisFormat::Table)]
    pub format: AnalysisFormat,
    /// Where to write instead of stdout.
    #[arg(long, value_name = "FILE", requires = "id")]
    pub out: Option<PathBuf>,
    /// Also write the images that analyses left, as PNG files, a folder for each run.
    #[arg(long, value_name = "FOLDER", requires = "id")]
    pub images: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct OutcomesArgs {
    /// The sweep: its id, an unambiguous beginning of it, or its name (the latest of that name).
    pub id: String,
    #[arg(long, value_enum, default_value_t = OutcomeFormat::Csv)]
    pub format: OutcomeFormat,
    /// Where to write instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// The sweep: its id, an unambiguous beginning of it, or its name (the latest of that name).
    pub id: String,
    /// The page, such as report.html. It appears whole or not at all, and takes the place of an older one.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// The task: its id or an unambiguous beginning of it.
    pub task: String,
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

#[derive(Debug, ClapArgs)]
pub struct DrainArgs {
    /// The worker's id.
    pub worker: String,
    /// Hand back what it runs, at a checkpoint, instead of finishing it.
    #[arg(long)]
    pub now: bool,
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResultFormat {
    Table,
    Csv,
    Json,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnalysisFormat {
    Table,
    Csv,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutcomeFormat {
    Csv,
    Parquet,
}

/// Sends logs to stderr; a filter that does not parse is said and replaced by `warn`.
pub fn start_logging(global: &Global) {
    let filter = tracing_subscriber::EnvFilter::try_new(&global.log).unwrap_or_else(|error| {
        eprintln!("warning: --log `{}`: {error}; logging warnings", global.log);
        tracing_subscriber::EnvFilter::new("warn")
    });
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    if global.log_json { builder.json().init() } else { builder.init() }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
