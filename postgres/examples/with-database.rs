//! Runs a command with `DATABASE_URL` naming a fresh database and Postgres's own programs on the PATH:
//! `cargo run -p gauntlet-postgres --example with-database -- [--durable DIR] psql-or-whatever …`
//!
//! The database is one that a crash of the machine may corrupt, in memory if there is plenty. With `--durable` it has the settings of production, and its
//! files lie in DIR and stay there.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use gauntlet_postgres::testing::TestDatabase;
use gauntlet_postgres::{Options, Postgres};

const USAGE: &str = "usage: with-database [--durable DIR] PROGRAM [ARGUMENT]…";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let first = arguments.next().ok_or(USAGE)?;
    if first != "--durable" {
        let database = TestDatabase::create()?;
        return run(database.postgres(), first, arguments);
    }
    let state_dir = arguments.next().ok_or(USAGE)?;
    let program = arguments.next().ok_or(USAGE)?;
    run(&Postgres::start(&Options::new(state_dir))?, program, arguments)
}

fn run(
    postgres: &Postgres,
    program: OsString,
    arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode, Box<dyn Error>> {
    let mut path = vec![postgres.bin_dir().to_path_buf()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let status = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .env("PATH", env::join_paths(path)?)
        .status()?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}
