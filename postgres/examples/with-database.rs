//! Runs a command with `DATABASE_URL` naming a fresh database and Postgres's own programs on the PATH:
//! `cargo run -p gauntlet-postgres --example with-database -- psql-or-whatever …`

use std::env;
use std::error::Error;
use std::process::{Command, ExitCode};

use gauntlet_postgres::testing::TestDatabase;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or("usage: with-database PROGRAM [ARGUMENT]…")?;
    let database = TestDatabase::create()?;
    let mut path = vec![database.postgres().bin_dir().to_path_buf()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let status = Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("PATH", env::join_paths(path)?)
        .status()?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}
