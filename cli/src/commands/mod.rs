//! One function per command.

mod answers;
mod catalogues;
mod connection;
mod doctor;
mod explain;
mod fleet;
mod plan;
mod report;
mod roles;
mod run;
mod sweeps;
mod up;
mod users;
mod watching;

use std::process::ExitCode;

use crate::args::{Args, Command};
pub use watching::goes_on;

/// Does what the user asks.
///
/// # Errors
/// Whatever went wrong, for people.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { global, command } = args;
    match command {
        Command::Run(args) => run::run(&global, &args).await,
        Command::Up(args) => up::up(&global, &args).await,
        Command::Coordinator(args) => roles::coordinator(&global, &args).await,
        Command::Worker(args) => roles::worker(&global, &args).await,
        Command::Plan(args) => plan::plan(&global, &args).await,
        Command::Submit(args) => sweeps::submit(&global, &args).await,
        Command::Watch(args) => sweeps::watch(&global, &args).await,
        Command::Cancel(args) => sweeps::cancel(&global, &args).await,
        Command::Delete(args) => sweeps::delete(&global, &args).await,
        Command::Pause(args) => sweeps::pause(&global, &args).await,
        Command::Resume(args) => sweeps::resume(&global, &args).await,
        Command::Prioritize(args) => sweeps::prioritize(&global, &args).await,
        Command::Retry(args) => sweeps::retry(&global, &args).await,
        Command::Sweeps(args) => sweeps::list(&global, &args).await,
        Command::Results(args) => answers::results(&global, &args).await,
        Command::Analyses(args) => answers::analyses(&global, &args).await,
        Command::Outcomes(args) => answers::outcomes(&global, &args).await,
        Command::Warnings(args) => answers::warnings(&global, &args).await,
        Command::Report(args) => report::report(&global, &args).await,
        Command::Explain(args) => explain::explain(&global, &args).await,
        Command::Workers(args) => fleet::workers(&global, &args).await,
        Command::Drain(args) => fleet::drain(&global, &args).await,
        Command::Users(args) => users::users(&global, &args).await,
        Command::Datasets(args) => catalogues::datasets(&args),
        Command::Backbones(args) => catalogues::backbones(&args),
        Command::Recipes(args) => catalogues::recipes(&args),
        Command::Attacks(args) => catalogues::attacks(&args),
        Command::Doctor(args) => doctor::doctor(&global, &args).await,
    }
}
