//! How every program of Postgres is run: with an empty environment, as the right user, and never outliving us.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

use crate::Error;
use crate::account::Account;

/// A command that gets SIGINT (for Postgres: a clean, fast shutdown) when the calling **thread** ends.
pub(crate) fn command(program: &Path, account: &Account) -> Command {
    let mut command = Command::new(program);
    // A process group of its own, so that ^C at a terminal reaches only us and we decide about the order.
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").process_group(0).stdin(Stdio::null());
    if account.differs_from_ours {
        command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
    }
    let parent = getpid();
    // SAFETY: between fork and exec only two system calls are made, both async-signal-safe. The standard library
    // changes the user before it calls this, which matters, because a change of user clears the setting.
    unsafe { command.pre_exec(move || die_with(parent)) };
    command
}

fn die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGINT)?;
    if getppid() == parent { Ok(()) } else { Err(io::Error::from(io::ErrorKind::Interrupted)) }
}

/// Runs a command to its end; its output is the error if it fails.
pub(crate) fn finish(mut command: Command, name: &str) -> Result<(), Error> {
    let failed = |problem: String| Error::Failed { program: name.to_owned(), problem };
    let done = command.output().map_err(|error| failed(error.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(failed(format!("{}: {}", done.status, last_lines(&String::from_utf8_lossy(&said)))))
}

/// The end of a log, short enough for an error message.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n  ")
}
