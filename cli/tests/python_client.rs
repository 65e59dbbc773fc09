//! A client generated from the protos in another language does the main job.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Running, RunningCoordinator, fail, fixture, gauntlet, repository, rows, succeed, text};
use gauntlet_postgres::testing::TestDatabase;

fn client(endpoint: &str, sweep: &Path) -> Command {
    let repository = repository();
    let packages = repository.join(".deps/python");
    assert!(packages.exists(), "{} is not there: run make test", packages.display());
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).arg(repository.join("cli/tests/python/client.py"));
    command.arg(repository.join("proto")).arg(endpoint.trim_start_matches("http://")).arg(sweep);
    command
}

#[test]
fn a_python_client_generated_from_the_protos_submits_a_sweep_and_reads_its_results() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let coordinator = RunningCoordinator::start(folder.path(), &database, "127.0.0.1:0");
    let mut worker = gauntlet(folder.path());
    let _worker = Running::start(worker.args(["--endpoint", &coordinator.endpoint, "worker", "--slots", "2"]));

    let sweep = folder.path().join("tiny.toml");
    let text_of_sweep = std::fs::read_to_string(fixture("small.toml")).unwrap();
    std::fs::write(&sweep, text_of_sweep.replace("seeds = [0, 1]", "seeds = [3]")).unwrap();
    let printed = succeed(&mut client(&coordinator.endpoint, &sweep));
    let read: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let csv = rows(&succeed(gauntlet(folder.path()).args([
        "--endpoint",
        &coordinator.endpoint,
        "results",
        "small",
        "--format",
        "csv",
    ])));
    assert_eq!(read.len(), 6);
    for (theirs, ours) in read.iter().zip(&csv) {
        assert_eq!(theirs["sweep"], ours["sweep"].as_str());
        assert_eq!((&theirs["init"], &theirs["eps"]), (&ours["init"].as_str().into(), &ours["eps"].as_str().into()));
        assert_eq!(theirs["robust_correct"].to_string(), ours["robust_correct"]);
        assert_eq!(theirs["aai"].as_f64().unwrap(), ours["aai"].parse::<f64>().unwrap());
    }

    std::fs::write(&sweep, "name = \"bad\"\n").unwrap();
    let refused = fail(&mut client(&coordinator.endpoint, &sweep));
    assert!(text(&refused.stderr).contains("INVALID_ARGUMENT"), "{}", text(&refused.stderr));
}
