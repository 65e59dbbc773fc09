//! One server process: started, awaited, stopped.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::command::{command, last_lines};
use crate::places::{Layout, PORT};
use crate::{Durability, Error, leftovers};

const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Replaying a long log after a crash takes its time; a server that says nothing for longer than this is given up.
const LONGEST_START: Duration = Duration::from_secs(300);
const LARGEST_LOG: u64 = 16 << 20;
/// How long each way to end the server is given before the next, harsher one.
const FAREWELL: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// A server that accepts connections.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts the server and waits until it accepts connections.
    pub(crate) fn start(
        layout: &Layout,
        binaries: &Binaries,
        account: &Account,
        durability: Durability,
    ) -> Result<Self, Error> {
        leftovers::clear(layout)?;
        let mut log = open_log(&layout.log_file)?;
        let log_start = log.seek(SeekFrom::End(0)).map_err(Error::io("read", &layout.log_file))?;
        let stderr = log.try_clone().map_err(Error::io("open", &layout.log_file))?;
        let mut postgres = command(&binaries.program("postgres"), account);
        postgres.args(arguments(layout, durability)).stdout(Stdio::null()).stderr(stderr);
        let child = postgres.spawn().map_err(|error| failed(error.to_string()))?;
        let mut server = Server { child };
        match server.wait_until_ready(&layout.data_dir) {
            Ok(()) => Ok(server),
            Err(problem) => {
                server.stop();
                let said = said_since(&mut log, log_start);
                Err(failed(format!(
                    "{problem}\n  {}\n  (all of it is in {})",
                    last_lines(&said),
                    layout.log_file.display()
                )))
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the server ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Ends the server, cleanly if it lets us.
    pub(crate) fn stop(&mut self) {
        for (signal, patience) in FAREWELL {
            if self.ends_after(signal, patience) {
                return;
            }
            tracing::warn!(pid = self.pid(), %signal, "the private Postgres does not stop");
        }
    }

    fn ends_after(&mut self, signal: Signal, patience: Duration) -> bool {
        // The child is not reaped yet, so its pid cannot be another process.
        if self.ended().is_some() || kill(signed(self.pid()), signal).is_err() {
            return true;
        }
        let asked = Instant::now();
        while asked.elapsed() < patience {
            if self.ended().is_some() {
                return true;
            }
            sleep(LOOK_AGAIN);
        }
        false
    }

    fn wait_until_ready(&mut self, data_dir: &Path) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < LONGEST_START {
            if let Some(status) = self.ended() {
                return Err(status);
            }
            if says_ready(data_dir, self.pid()) {
                return Ok(());
            }
            sleep(LOOK_AGAIN);
        }
        Err(format!("not ready after {} s", LONGEST_START.as_secs()))
    }
}

/// What `pg_ctl` goes by: the server writes its state to the eighth line of its pid file.
fn says_ready(data_dir: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data_dir.join("postmaster.pid")) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

fn arguments(layout: &Layout, durability: Durability) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), layout.data_dir.clone().into()];
    // The socket directory is a setting like any other, only shorter to write.
    arguments.extend(["-k".into(), quoted(&layout.socket_dir), "-p".into(), PORT.to_string().into()]);
    let safety: &[&str] = match durability {
        Durability::Durable => &[
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            // Taken as it is needed. The keys of tasks are digests, so that the queue is read and written all over: with less, a task of a history of
            // millions waits for pages.
            "shared_buffers=1GB",
            // After a checkpoint each page is written whole, so there should be few. Twenty thousand tasks a second write 60 MB/s.
            "max_wal_size=8GB",
            "checkpoint_timeout=15min",
            // Dead rows of the queue pile up in seconds.
            "autovacuum_naptime=15s",
        ],
        Durability::Fast => &["fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB"],
    };
    let settings = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "max_connections=100",
        "recovery_init_sync_method=syncfs",
        "timezone=UTC",
        "log_timezone=UTC",
        // Parallel queries allocate from /dev/shm, which containers make tiny.
        "max_parallel_workers_per_gather=0",
        "password_encryption=scram-sha-256",
    ];
    for setting in settings.iter().chain(safety) {
        arguments.extend(["-c".into(), setting.into()]);
    }
    arguments
}

/// The setting is a list of names, in which quotes protect spaces, commas and capital letters.
fn quoted(path: &Path) -> OsString {
    let mut text = OsString::from("\"");
    text.push(path.to_string_lossy().replace('"', "\"\""));
    text.push("\"");
    text
}

fn open_log(path: &Path) -> Result<File, Error> {
    let too_long = fs::metadata(path).is_ok_and(|found| found.len() > LARGEST_LOG);
    if too_long {
        fs::rename(path, path.with_extension("log.old")).map_err(Error::io("rename", path))?;
    }
    // Opened by us and inherited: the server's user need not be able to write there.
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(Error::io("open", path))
}

fn said_since(log: &mut File, start: u64) -> String {
    let mut said = Vec::new();
    match log.seek(SeekFrom::Start(start)).and_then(|_| log.read_to_end(&mut said)) {
        Ok(_) => String::from_utf8_lossy(&said).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn failed(problem: String) -> Error {
    Error::Failed { program: "the private Postgres".to_owned(), problem }
}

fn signed(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}
