//! An evaluation that stops early and an attack that it makes pointless, with real processes and the real lab.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;

use common::{gauntlet, psql, rows, succeed};
use gauntlet_postgres::testing::TestDatabase;

/// A model that was never trained knows little, and so is soon known well enough.
const SWEEP: &str = r#"
name = "spared"
seeds = [0, 1]

[[dataset]]
name = "glyphs"
test_examples = 600

[[model]]
backbone = "resnet18-w16"

[[init]]
name = "scratch"

[[recipe]]
name = "as-is"
method = "none"

[[attack]]
name = "fgsm"
method = "fgsm"
eps = "8/255"
stop_at_interval = 0.15

[[attack]]
name = "aa"
method = "autoattack"
eps = "8/255"
cascade = { after = "fgsm", until_aai = 0.5 }
"#;

#[test]
fn what_is_spared_is_marked_in_the_table_and_nobody_calls_it_a_failure() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let sweep = state.path().join("spared.toml");
    fs::write(&sweep, SWEEP).unwrap();
    let with = |arguments: &[&str]| {
        let mut command = gauntlet(state.path());
        command.args(["--database-url", database.url()]).args(arguments);
        command
    };
    let table = succeed(with(&["run"]).arg(&sweep));
    assert!(table.contains("2 × 256*") && table.contains("2 †"), "{table}");
    let stopped = "* stopped early: the 95 % interval of AAI was narrower than asked (fgsm at 0.15 of 600 examples)";
    assert!(table.contains(stopped) && table.contains("† pointless: fgsm 8/255 left "), "{table}");
    assert_eq!(psql(&database, &[], "select count(*) from attempts").trim(), "2", "nobody ran AutoAttack");

    let csv = succeed(&mut with(&["results", "spared", "--format", "csv"]));
    let examples: Vec<String> = rows(&csv).iter().map(|row| format!("{} {}", row["attack"], row["examples"])).collect();
    assert_eq!(examples, ["fgsm 256", "fgsm 256"]);
    let json = succeed(&mut with(&["results", "spared", "--format", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["stop_at_interval"], &json[0]["examples_asked"]), (&0.15.into(), &600.into()));
    let listed = succeed(&mut with(&["sweeps", "--format", "json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of = |key: &str| listed[0][key].clone();
    let count = |key: &str| of(key).as_u64().unwrap();
    // AutoAttack is expected to take long, and was split.
    assert_eq!([count("succeeded"), count("skipped"), count("tasks") - count("pointless")], [2, 0, 2]);
    assert_eq!(of("state"), "succeeded");
    let plan = succeed(with(&["plan"]).arg(&sweep));
    assert!(plan.contains("nothing is left to do"), "{plan}");
}
