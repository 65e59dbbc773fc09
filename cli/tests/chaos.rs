//! `kill -9` of everything in mid-sweep: the table is the one of an undisturbed run, to the byte.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{Running, RunningCoordinator, children, fixture, gauntlet, kill, psql, rows, succeed, wait_until};
use gauntlet_postgres::testing::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(180);

struct Cluster {
    folder: PathBuf,
    database: TestDatabase,
    coordinator: RunningCoordinator,
    workers: Vec<Running>,
}

impl Cluster {
    fn start(folder: &Path) -> Self {
        let database = TestDatabase::create_durable().unwrap();
        let coordinator = RunningCoordinator::start(folder, &database, "127.0.0.1:0");
        let mut cluster = Self { folder: folder.to_owned(), database, coordinator, workers: Vec::new() };
        cluster.workers = vec![cluster.worker(0), cluster.worker(1)];
        cluster
    }

    fn worker(&self, number: usize) -> Running {
        let mut command = gauntlet(&self.folder.join(format!("worker-{number}")));
        command.args(["--log", "info", "--endpoint", &self.coordinator.endpoint, "worker"]);
        command.args(["--worker-id", &format!("worker-{number}"), "--artifacts"]);
        // A checkpoint after every epoch: trainings of seconds are interrupted in the middle.
        command.arg(self.folder.join("artifacts")).env("GAUNTLET_CHECKPOINT_INTERVAL_SECS", "0");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        Running::start(command.stdout(Stdio::null()).stderr(log))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("workers.log")
    }

    fn count(&self, query: &str) -> u32 {
        psql(&self.database, &[], query).trim().parse().unwrap()
    }

    fn leased(&self) -> u32 {
        self.count("select count(*) from tasks where state = 'leased'")
    }

    /// Waits until so many tasks are done and work is in progress again, so that the next blow hits something.
    fn wait_for_work(&self, done: u32) {
        wait_until("work in progress", PATIENCE, || {
            self.count("select count(*) from tasks where state = 'succeeded'") >= done && self.leased() > 0
        });
    }

    fn kill_executors(&self) {
        wait_until("executors", PATIENCE, || {
            let of = |worker: &Running| children(worker.pid(), "gauntlet-executor");
            let executors: Vec<u32> = self.workers.iter().flat_map(of).collect();
            executors.iter().for_each(|pid| kill(*pid));
            !executors.is_empty()
        });
    }

    /// Kills executors until a training was seen to go on from a checkpoint of the attempt before.
    fn interrupt_a_training(&self) {
        for _ in 0..8 {
            wait_until("a checkpoint", PATIENCE, || self.count("select count(*) from training_checkpoints") > 0);
            self.kill_executors();
            let resumed = || self.workers_said("the training goes on from a checkpoint");
            for _ in 0..40 {
                if resumed() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        panic!("no training went on from a checkpoint");
    }

    fn workers_said(&self, what: &str) -> bool {
        fs::read_to_string(self.log()).unwrap().contains(what)
    }

    fn kill_and_restart_worker(&mut self, number: usize) {
        let busy = format!("select count(*) from tasks where worker_id = 'worker-{number}'");
        wait_until("the worker has work", PATIENCE, || self.count(&busy) > 0);
        self.workers[number].kill();
        self.workers[number] = self.worker(number);
    }

    fn kill_and_restart_coordinator(&mut self) {
        let address = self.coordinator.address().to_owned();
        self.coordinator.process.kill();
        self.coordinator = RunningCoordinator::start(&self.folder, &self.database, &address);
    }

    fn kill_postgres(&self) {
        let before = self.database.postgres().restarts();
        kill(self.database.postgres().pid().unwrap());
        wait_until("Postgres restarts", PATIENCE, || {
            self.database.postgres().restarts() > before && self.database.postgres().is_running()
        });
    }
}

#[test]
fn a_sweep_under_kill_9_of_everything_ends_with_the_table_of_an_undisturbed_one() {
    let undisturbed = tempfile::tempdir().unwrap();
    let calm = TestDatabase::create().unwrap();
    let expected = succeed(
        gauntlet(undisturbed.path())
            .args(["--database-url", calm.url(), "run", "--format", "csv"])
            .arg(fixture("small.toml")),
    );
    assert_eq!(rows(&expected).len(), 12);

    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path());
    let endpoint = cluster.coordinator.endpoint.clone();
    let id =
        succeed(gauntlet(folder.path()).args(["--endpoint", &endpoint, "submit", "-q"]).arg(fixture("small.toml")));
    let id = id.trim();

    cluster.wait_for_work(0);
    cluster.interrupt_a_training();
    cluster.wait_for_work(1);
    cluster.kill_and_restart_coordinator();
    cluster.wait_for_work(3);
    cluster.kill_and_restart_worker(0);
    cluster.wait_for_work(5);
    cluster.kill_postgres();
    cluster.kill_and_restart_worker(1);
    cluster.kill_and_restart_coordinator();

    wait_until("the sweep ends", PATIENCE, || {
        cluster.count("select count(*) from tasks where state <> 'succeeded'") == 0
    });
    let table = succeed(gauntlet(folder.path()).args(["--endpoint", &endpoint, "results", id, "--format", "csv"]));
    assert_eq!(table, expected);

    let lost = cluster.count("select count(*) from attempts where outcome in ('lost', 'failed')");
    assert!(lost >= 1, "the blows hit something");
    let successes = cluster.count("select count(*) from attempts where outcome = 'succeeded'");
    let tasks = cluster.count("select count(*) from tasks");
    assert_eq!(successes, tasks, "each task has exactly one result");
    println!("{tasks} tasks, {} attempts, {lost} lost", cluster.count("select count(*) from attempts"));
}
