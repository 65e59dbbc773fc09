//! An attack in shards, with real processes and the real lab: the same bytes as in one piece.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::Path;

use common::{gauntlet, psql, rows, succeed, text};
use gauntlet_postgres::testing::TestDatabase;

/// Two blocks and a bit: an attack with restarts, one that climbs at a pace of its own, one that looks for the nearest point, and one that crafts once.
const SWEEP: &str = r#"
name = "sharded"
seeds = [0]

[[dataset]]
name = "glyphs"
train_examples = 208
test_examples = 520

[[model]]
backbone = "resnet18-w16"

[[init]]
name = "scratch"

[[recipe]]
name = "standard"
method = "standard"
epochs = 12
batch_size = 26
optimizer = { kind = "sgd", learning_rate = 0.05, nesterov = true }

[[attack]]
name = "pgd"
method = "pgd"
eps = ["2/255", "8/255"]
steps = 4
restarts = 2

[[attack]]
name = "apgd"
method = "apgd"
loss = "dlr"
eps = "4/255"
steps = 6

[[attack]]
name = "boundary"
method = "deepfool"
eps = ["0.01", "0.1"]
steps = 3

[[attack]]
name = "universal"
method = "uap"
eps = "16/255"
by = "gradient"
craft_examples = 52
batch_size = 26
passes = 2
"#;

/// The results and the outcomes, as CSV, and what was said beside them.
fn run(folder: &Path, database: &TestDatabase, shard_secs: &str) -> (String, String, String) {
    let (sweep, outcomes) = (folder.join("sharded.toml"), folder.join("outcomes.csv"));
    fs::write(&sweep, SWEEP).unwrap();
    let mut command = gauntlet(folder);
    command.args([
        "--database-url",
        database.url(),
        "run",
        "--format",
        "csv",
        "--shard-secs",
        shard_secs,
        "--outcomes",
    ]);
    let output = command.arg(&outcomes).arg(&sweep).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (text(&output.stdout), fs::read_to_string(outcomes).unwrap(), stderr)
}

#[test]
fn a_sweep_in_shards_gives_the_same_bytes_as_one_in_whole_attacks() {
    let [whole_state, state] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [whole_database, database] = [TestDatabase::create().unwrap(), TestDatabase::create().unwrap()];
    let (csv, outcomes, said) = run(whole_state.path(), &whole_database, "0");
    assert!(said.contains("6 tasks, 6 new") && !said.contains("shards"), "{said}");
    assert_eq!(rows(&csv).len(), 6);

    let guessed = succeed(gauntlet(state.path()).arg("plan").arg(whole_state.path().join("sharded.toml")));
    assert!(guessed.contains("on one slot (cpu/1), guessed, because nothing like it was run"), "{guessed}");
    // So little work is expected of an attack that only a database which has seen it take long splits it.
    gauntlet(state.path()).args(["--database-url", database.url(), "sweeps"]).output().unwrap();
    let rates = ["attack pgd", "attack apgd", "attack deepfool", "attack uap"]
        .map(|work| format!("('cpu/1', '{work}/resnet18-w16/1x32x32', 1, 1000, 1)"));
    psql(&database, &[], &format!("insert into cost_rates values {}", rates.join(", ")));
    let (sharded_csv, sharded_outcomes, said) = run(state.path(), &database, "1");
    assert!(said.contains("4 attacks in 12 shards"), "{said}");
    assert_eq!(sharded_csv, csv);
    assert_eq!(sharded_outcomes, outcomes);
    let shards = "select count(*) filter (where kind = 'shard'), count(*) from task_specs";
    assert_eq!(psql(&database, &["--csv"], shards).trim(), "12,18");
    assert_eq!(psql(&database, &[], "select count(*) from attack_results").trim(), "5");

    let plan = ["--database-url", database.url(), "plan"];
    let done = succeed(gauntlet(state.path()).args(plan).arg(state.path().join("sharded.toml")));
    assert!(done.contains("nothing is left to do"), "{done}");
    assert!(done.contains("4 attacks in 12 shards"), "{done}");
}
