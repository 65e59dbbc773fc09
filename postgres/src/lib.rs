//! A private Postgres server: found on the machine, set up once, started with the program, restarted when it dies,
//! stopped with the program, however the program ends.
//!
//! ```no_run
//! # fn main() -> Result<(), gauntlet_postgres::Error> {
//! let postgres = gauntlet_postgres::Postgres::start(&gauntlet_postgres::Options::new(".gauntlet"))?;
//! println!("{}", postgres.url());
//! # Ok(())
//! # }
//! ```
//!
//! What this crate guarantees:
//! - A transaction that Postgres acknowledged survives `kill -9` of the server and of this program ([`Durability::Durable`]).
//! - One instance per state directory; a second one is refused with the pid of the first.
//! - No server outlives the program, not even after `kill -9`, and none of its remains prevents the next start.
//! - It works as root, by running the server as an unprivileged user.
//! - Only the user who started it (and root) can connect: no network port, a socket in a closed directory.
//!
//! What it must not know: Gauntlet's schema, tables or tasks; SQL beyond `CREATE DATABASE`; any async runtime or database
//! client. All processes are forked by a thread of its own, since Linux ties their death to the forking thread's; so
//! callers may start it from any thread.

mod account;
mod binaries;
mod cluster;
mod command;
mod error;
mod leftovers;
mod places;
mod server;
mod supervisor;
pub mod testing;

use std::path::{Path, PathBuf};

pub use error::Error;
pub use supervisor::Status;

/// The database that is created in the server, and the role that owns it.
pub const DATABASE: &str = "gauntlet";

/// What a crash of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was acknowledged.
    Durable,
    /// Everything. For tests only.
    Fast,
}

/// Where and how to run the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that belongs to the program; the server's files go to `postgres/` in it. Made if it is absent.
    pub state_dir: PathBuf,
    /// What a crash may cost.
    pub durability: Durability,
    /// Data of a freshly set up server to copy instead of running `initdb`.
    pub(crate) template: Option<PathBuf>,
}

impl Options {
    /// A durable server whose files live in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Options { state_dir: state_dir.into(), durability: Durability::Durable, template: None }
    }
}

/// A running private server. Dropping it stops the server.
#[derive(Debug)]
pub struct Postgres {
    supervisor: supervisor::Handle,
    layout: places::Layout,
    url: String,
}

impl Postgres {
    /// Sets the server up if that was not done before, starts it and waits until it accepts connections.
    ///
    /// # Errors
    /// When no usable server is installed, the state directory is in use or cannot be used, or the server does not start.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let (supervisor, layout) = supervisor::start(options.clone())?;
        let url = url(&layout.socket_dir);
        Ok(Postgres { supervisor, layout, url })
    }

    /// How to connect: `postgres://gauntlet@%2Fpath%2Fto%2Fsocket:5432/gauntlet`. It stays the same across restarts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the server, if it runs.
    pub fn pid(&self) -> Option<u32> {
        match self.status() {
            Status::Running { pid } => Some(pid),
            Status::Restarting { .. } | Status::Stopped => None,
        }
    }

    /// Whether the server runs and accepts connections, as far as the supervisor knows (it looks every 50 ms).
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// What the supervisor is doing.
    pub fn status(&self) -> Status {
        self.supervisor.status()
    }

    /// How often the server was started again since [`Postgres::start`].
    pub fn restarts(&self) -> u32 {
        self.supervisor.restarts()
    }

    /// Stops the server if it runs and starts it again. A server that dies is restarted without being asked.
    ///
    /// # Errors
    /// When the server does not start; the supervisor then goes on trying.
    pub fn restart(&self) -> Result<(), Error> {
        self.supervisor.restart()
    }

    /// Stops the server cleanly: connections are closed, what was acknowledged is on disk.
    pub fn stop(self) {
        drop(self);
    }

    /// Where the server keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.layout.data_dir
    }

    /// What the server writes to its log.
    pub fn log_file(&self) -> &Path {
        &self.layout.log_file
    }

    /// Where the server's programs are; `psql` is among them.
    pub fn bin_dir(&self) -> &Path {
        &self.layout.bin_dir
    }
}

fn url(socket_dir: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;

    let mut host = String::new();
    for &byte in socket_dir.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            host.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(host, "%{byte:02X}");
        }
    }
    // The port names the socket file; left out, clients would take it from PGPORT.
    format!("postgres://{DATABASE}@{host}:{}/{DATABASE}", places::PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_encodes_every_byte_that_is_not_plain() {
        let url = url(Path::new("/tmp/my state/ü%"));
        assert_eq!(url, "postgres://gauntlet@%2Ftmp%2Fmy%20state%2F%C3%BC%25:5432/gauntlet");
    }
}
