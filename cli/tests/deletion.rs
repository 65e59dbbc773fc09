//! A deleted sweep leaves no file in the artifact store.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{Running, RunningCoordinator, fail, fixture, gauntlet, psql, succeed, text, wait_until};
use gauntlet_postgres::testing::TestDatabase;

const PATIENCE: Duration = Duration::from_secs(120);

/// Artifacts in a store.
fn files(store: &Path) -> usize {
    let Ok(groups) = fs::read_dir(store.join("sha256")) else { return 0 };
    groups.map(|group| fs::read_dir(group.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn a_deleted_sweep_leaves_nothing_in_the_database_and_in_the_artifact_store_and_can_be_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = TestDatabase::create().unwrap();
    let coordinator = RunningCoordinator::start(folder, &database, "127.0.0.1:0");
    let store = folder.join("artifacts");
    let mut worker = gauntlet(&folder.join("worker"));
    worker.args(["--endpoint", &coordinator.endpoint, "worker", "--slots", "2", "--artifacts"]).arg(&store);
    // A resumable checkpoint after every epoch.
    worker.env("GAUNTLET_CHECKPOINT_INTERVAL_SECS", "0");
    let _worker = Running::start(worker.stdout(Stdio::null()));
    let sweep = folder.join("tiny.toml");
    let small = fs::read_to_string(fixture("small.toml")).unwrap();
    fs::write(&sweep, small.replace("seeds = [0, 1]", "seeds = [0]").replace("epochs = 16", "epochs = 3")).unwrap();
    let run = || {
        let mut command = gauntlet(folder);
        succeed(command.args(["--endpoint", &coordinator.endpoint, "submit", "--watch", "-q"]).arg(&sweep))
            .trim()
            .to_owned()
    };
    let with = |args: &[&str]| {
        let mut command = gauntlet(folder);
        command.args(["--endpoint", &coordinator.endpoint]).args(args);
        command
    };
    let trainings = || psql(&database, &[], "select count(*) from checkpoints").trim().parse::<usize>().unwrap();

    let id = run();
    assert!(trainings() >= 3);
    wait_until("what trainings could go on from goes when they are done", PATIENCE, || files(&store) == trainings());

    let deleted = succeed(&mut with(&["delete", &id, "--format", "json"]));
    assert_eq!(deleted.trim(), format!("{{\"sweep\":\"{id}\"}}"));
    assert_eq!(succeed(&mut with(&["sweeps", "--format", "json"])).trim(), "[]");
    let output = fail(&mut with(&["results", &id]));
    assert!(text(&output.stderr).contains("there is no sweep"), "{}", text(&output.stderr));
    wait_until("the store is empty", PATIENCE, || files(&store) == 0);
    assert_eq!(psql(&database, &[], "select count(*) from task_specs").trim(), "0");

    assert_eq!(run(), id);
    assert!(files(&store) >= trainings() && trainings() >= 3);
    let again = succeed(&mut with(&["results", &id, "--format", "csv"]));
    assert_eq!(again.lines().count(), 7);
}
