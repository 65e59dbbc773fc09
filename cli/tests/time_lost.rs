//! What it costs to take a training away: by SIGKILL of its executor, and by SIGTERM of its worker.
//!
//! `GAUNTLET_TIME_LOST_ITERATIONS=1500 cargo test -p gauntlet-cli --test time_lost -- --nocapture` prints the seconds for a training of that length, taken
//! away at 90 %. The times hold for a machine that does nothing else. The short one of the tests is taken away in the middle: of its last tenth a fast
//! machine shows nothing.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Running, RunningCoordinator, children, gauntlet, kill, psql, succeed, wait_until};
use gauntlet_postgres::testing::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(300);
/// Of a run of the tests: a few seconds.
const ITERATIONS: u64 = 200;

fn asked_for() -> Option<u64> {
    std::env::var("GAUNTLET_TIME_LOST_ITERATIONS").ok().map(|text| text.parse().unwrap())
}

fn iterations() -> u64 {
    asked_for().unwrap_or(ITERATIONS)
}

/// Steps after which it is taken away.
fn taken_away_at() -> u64 {
    asked_for().map_or(ITERATIONS / 2, |iterations| iterations * 9 / 10)
}

/// A pre-training, and as little after it as a sweep can have. Each seed is another task.
fn sweep(folder: &Path, seed: u64) -> PathBuf {
    let path = folder.join(format!("sweep-{seed}.toml"));
    let text = format!(
        r#"
name = "long-{seed}"
seeds = [{seed}]
[[dataset]]
name = "glyphs"
train_examples = 52
test_examples = 26
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "pretrained"
[init.pretrain]
dataset = {{ name = "glyphs", glyph_seed = 1, train_examples = 130 }}
recipe = {{ method = "standard", iterations = {}, batch_size = 26, optimizer = {{ kind = "sgd", learning_rate = 0.01 }} }}
[[recipe]]
name = "standard"
method = "standard"
iterations = 1
batch_size = 26
[[attack]]
name = "noise"
method = "noise"
eps = "2/255"
"#,
        iterations()
    );
    fs::write(&path, text).unwrap();
    path
}

struct Cluster {
    folder: PathBuf,
    database: TestDatabase,
    coordinator: RunningCoordinator,
    workers: u32,
}

/// Where the pre-training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    attempt: u64,
    steps: u64,
}

impl Cluster {
    fn start(folder: &Path) -> Self {
        let database = TestDatabase::create_durable().unwrap();
        let coordinator = RunningCoordinator::start(folder, &database, "127.0.0.1:0");
        Self { folder: folder.to_owned(), database, coordinator, workers: 0 }
    }

    fn client(&self) -> Command {
        let mut command = gauntlet(&self.folder);
        command.args(["--endpoint", &self.coordinator.endpoint]);
        command
    }

    fn worker(&mut self) -> Running {
        self.workers += 1;
        let name = format!("worker-{}", self.workers);
        let mut command = gauntlet(&self.folder.join(&name));
        command.args(["--log", "info", "--endpoint", &self.coordinator.endpoint, "worker", "--worker-id", &name]);
        command.arg("--artifacts").arg(self.folder.join("artifacts"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("workers.log")).unwrap();
        Running::start(command.stdout(Stdio::null()).stderr(log))
    }

    fn submit(&self, seed: u64) -> String {
        let path = sweep(&self.folder, seed);
        succeed(self.client().args(["submit", "-q"]).arg(path)).trim().to_owned()
    }

    fn text(&self, query: &str) -> String {
        psql(&self.database, &[], query).trim().to_owned()
    }

    fn task(&self, sweep: &str) -> String {
        self.text(&format!(
            "select encode(task_id, 'hex') from sweep_tasks join task_specs using (task_id) where sweep_id = '{sweep}' and kind = 'pretrain'"
        ))
    }

    /// As the coordinator was told last.
    fn place(&self, task: &str) -> Option<Place> {
        let text = succeed(self.client().args(["explain", task, "--format", "json"]));
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        let explanation = answer["explanation"].as_str().unwrap();
        let attempt = explanation.split_once("as attempt ")?.1.split_whitespace().next()?.parse().ok()?;
        let steps = explanation.rsplit_once('(')?.1.split_once(" of ")?.0.parse().ok()?;
        Some(Place { attempt, steps })
    }

    fn succeeded(&self, task: &str) -> bool {
        self.text(&format!("select state from tasks where task_id = decode('{task}', 'hex')")) == "succeeded"
    }

    /// Waits until it is to be taken away.
    fn far_enough(&self, task: &str) -> Place {
        let mut place = None;
        wait_until("enough steps", PATIENCE, || {
            place = self.place(task).filter(|place| place.steps >= taken_away_at());
            place.is_some()
        });
        place.unwrap()
    }

    /// Waits until the task is done; where its second attempt was seen first.
    fn done(&self, task: &str) -> Option<Place> {
        let mut resumed = None;
        wait_until("the end of the training", PATIENCE, || {
            resumed = resumed.or_else(|| self.place(task).filter(|place| place.attempt > 1));
            self.succeeded(task)
        });
        resumed
    }

    fn outcomes(&self, task: &str) -> String {
        self.text(&format!(
            "select string_agg(concat_ws(' ', outcome, failure_class), ', ' order by attempt) from attempts where task_id = decode('{task}', 'hex')"
        ))
    }

    fn seconds(&self, task: &str) -> f64 {
        let query = format!(
            "select extract(epoch from max(ended_at) - min(started_at)) from attempts where task_id = decode('{task}', 'hex')"
        );
        self.text(&query).parse().unwrap()
    }
}

#[test]
fn a_training_that_is_taken_away_goes_on_and_at_a_sigterm_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path());
    let mut worker = cluster.worker();
    // The first task of a process pays for its start.
    let warm_up = cluster.submit(0);
    cluster.done(&cluster.task(&warm_up));

    let calm = cluster.submit(1);
    let calm = cluster.task(&calm);
    cluster.done(&calm);
    let undisturbed = cluster.seconds(&calm);

    let killed = cluster.submit(2);
    let killed = cluster.task(&killed);
    let before = cluster.far_enough(&killed);
    children(worker.pid(), "gauntlet-executor").into_iter().for_each(kill);
    let after = cluster.done(&killed);
    println!(
        "{} steps, undisturbed: {undisturbed:.1} s\nSIGKILL of the executor at step {}: {:+.1} s ({}; seen again at {after:?})",
        iterations(),
        before.steps,
        cluster.seconds(&killed) - undisturbed,
        cluster.outcomes(&killed)
    );
    assert_eq!(cluster.outcomes(&killed), "failed transient, succeeded");

    let handed_back = cluster.submit(3);
    let handed_back = cluster.task(&handed_back);
    let before = cluster.far_enough(&handed_back);
    let signalled = Instant::now();
    let _ = Command::new("kill").arg(worker.pid().to_string()).status();
    let _next = cluster.worker();
    wait_until("the end of the worker", PATIENCE, || worker.child.try_wait().unwrap().is_some());
    let left_after = signalled.elapsed();
    assert!(worker.child.wait().unwrap().success());
    let after = cluster.done(&handed_back);
    println!(
        "SIGTERM of the worker at step {}: {:+.1} s, with the start of another worker; it left after {:.1} s ({}; seen again at {after:?})",
        before.steps,
        cluster.seconds(&handed_back) - undisturbed,
        left_after.as_secs_f64(),
        cluster.outcomes(&handed_back)
    );
    assert_eq!(cluster.outcomes(&handed_back), "handed-back, succeeded");
    if let Some(after) = after {
        assert!(after.steps >= before.steps, "it went on at {after:?}, though {before:?} were done");
    }
    let log = fs::read_to_string(folder.path().join("workers.log")).unwrap();
    assert!(log.contains("draining: what runs is handed back at a checkpoint"), "{log}");
}
