//! What the tests of the `gauntlet` command share: real programs, a real database, files in a folder of their own.

#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test uses a part of it, and may stop at once")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use gauntlet_postgres::testing::TestDatabase;

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What set-up brought.
pub fn data_dir() -> PathBuf {
    let data = repository().join(".gauntlet/data");
    assert!(data.join("fonts").exists(), "{} is not there: run make setup", data.display());
    data
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// `gauntlet` with its state in `state_dir` and nothing taken from the environment.
pub fn gauntlet(state_dir: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_gauntlet"));
    let executor = program.with_file_name("gauntlet-executor");
    assert!(executor.is_file(), "{} is not there: run cargo build -p gauntlet-executor", executor.display());
    let mut command = Command::new(program);
    for name in [
        "GAUNTLET_ENDPOINT",
        "DATABASE_URL",
        "GAUNTLET_LOG",
        "GAUNTLET_EXECUTOR",
        "GAUNTLET_SHARD_SECS",
        "GAUNTLET_ORDER",
    ] {
        command.env_remove(name);
    }
    command.arg("--state-dir").arg(state_dir).arg("--data-dir").arg(data_dir());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// stdout of a command that must succeed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What a command that must fail said.
pub fn fail(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeded:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

/// The answer of `psql`, unaligned and without a heading.
pub fn psql(database: &TestDatabase, format: &[&str], query: &str) -> String {
    let program = database.postgres().bin_dir().join("psql");
    succeed(Command::new(program).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-t", "-A"]).args(format).args([
        "-c",
        query,
        database.url(),
    ]))
}

/// A process that is killed when the test ends.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self { child: command.stdin(Stdio::null()).spawn().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A coordinator on a free port.
pub struct RunningCoordinator {
    pub process: Running,
    pub endpoint: String,
}

impl RunningCoordinator {
    /// Starts one on `listen` (port 0: any) and waits until it listens.
    pub fn start(state_dir: &Path, database: &TestDatabase, listen: &str) -> Self {
        let mut command = gauntlet(state_dir);
        command.args(["--database-url", database.url(), "coordinator", "--lease-ttl-secs", "5", "--listen", listen]);
        let mut process = Running::start(command.stderr(Stdio::piped()));
        let stderr = process.child.stderr.take().unwrap();
        let mut lines = BufReader::new(stderr).lines();
        let endpoint = loop {
            let line = lines.next().expect("the coordinator ended before it listened").unwrap();
            if let Some(endpoint) = line.strip_prefix("coordinator: ") {
                break endpoint.to_owned();
            }
            eprintln!("{line}");
        };
        // Nobody may block on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("coordinator: {line}")));
        Self { process, endpoint }
    }

    pub fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").unwrap()
    }
}

/// Waits until `done` says so.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Process ids of the children of `parent` whose command line contains `part`.
pub fn children(parent: u32, part: &str) -> Vec<u32> {
    let of = |entry: fs::DirEntry| -> Option<u32> {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent_of: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        (parent_of == parent && String::from_utf8_lossy(&command).contains(part)).then_some(pid)
    };
    fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter_map(of).collect()
}

/// `kill -9` of any process.
pub fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
}

/// A CSV as one map from column to field per row.
pub fn rows(csv: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    csv::Reader::from_reader(csv.as_bytes()).deserialize().map(Result::unwrap).collect()
}
