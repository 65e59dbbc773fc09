//! The `gauntlet` command: a thin composition of the real parts.
//!
//! It must **not** know SQL, tch, or how anything is decided: it reads what the user asks, starts or calls the parts, and prints the answer.
//! stdout carries the answer only; progress and logs go to stderr.

mod args;
mod client;
mod commands;
mod failure;
mod local;
mod progress;
mod render;
mod report;
mod source;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    failure::leave_quietly_when_nobody_reads();
    let args = args::Args::parse();
    args::start_logging(&args.global);
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(args)).unwrap_or_else(|error| failure::report(&error));
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
            code
        }
        Err(error) => failure::report(&anyhow::Error::new(error).context("the async runtime does not start")),
    }
}
