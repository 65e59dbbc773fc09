//! A storm of faults on a seeded schedule: the results are those of an undisturbed run, to the byte, and nothing is left over.
//!
//! In the tests a short one on a small sweep; `make chaos` makes it long: `GAUNTLET_STORM_FAULTS`, `GAUNTLET_STORM_SWEEP`, `GAUNTLET_STORM_SEED`.
//!
//! Fault budget: any number of faults of any kind, several at once, as long as no task's executor is lost ten times in a row (its crash limit), a
//! coordinator and the database come back, and no disk is lost.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod proxy;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::{Cluster, Left};
use common::{fixture, gauntlet, psql, succeed};
use faults::{Kind, schedule};
use gauntlet_postgres::testing::TestDatabase;

/// Faults and sweep of the test.
const FAULTS: usize = 13;
const SWEEP: &str = "small.toml";
/// Share of the sweep that is done when the last fault strikes.
const LAST_STRIKE: f64 = 0.7;
/// Shortest time between two faults.
const PAUSE: Duration = Duration::from_millis(300);
/// A storm that makes no progress for so long is lost.
const PATIENCE: Duration = Duration::from_secs(240);

const DONE: &str = "select count(*) from tasks where state = 'succeeded'";

fn setting<T: std::str::FromStr>(variable: &str, usual: T) -> T {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} makes no sense")),
        Err(_) => usual,
    }
}

/// Asked of every run, beside the attacks of whichever sweep.
const ANALYSES: &str = r#"
[[analysis]]
name = "likeness"
method = "similarity"
against = "start"

[[analysis]]
name = "bands"
method = "frequency"
radii = [2, 8]
"#;

/// The other methods with their keys, asked of one run.
const OTHER_METHODS: [(&str, &str); 8] = [
    ("heat-map", "reach = 1"),
    (
        "corruptions",
        r#"kinds = ["snow", "glass_blur"]
severities = [3]"#,
    ),
    (
        "transfer",
        r#"against = "start"
epsilons = "8/255""#,
    ),
    (
        "uap",
        r#"against = { init = "scratch" }
eps = "16/255"
by = "gradient""#,
    ),
    ("landscape", ""),
    (
        "saliency",
        r#"against = "start"
steps = 4"#,
    ),
    ("confidence", r#"epsilons = "8/255""#),
    ("spectrum", r#"epsilons = "8/255""#),
];

/// What analyses came to, to the bit.
const VALUES: &str = "select * from (select dataset, init, recipe, seed, analysis, against, examples, measure, layer, x, value from analyses) as a \
                      order by 1, 2, 3, 4, 5, 6, 8, 9, 10";

/// An init that learns from what the pre-trained model of whichever sweep makes of letters.
const MADE: &str = r#"
[[init]]
name = "made"
[init.pretrain]
dataset = { name = "glyphs", train_examples = 130, features = { set = "det", from = "pretrained", steps = 20 } }
recipe = { method = "standard", epochs = 4, batch_size = 26, optimizer = { kind = "sgd", learning_rate = 0.05 } }
"#;

/// The sweep with analyses and a data set that is made; trained from there by all its recipes but the last.
fn with_analyses(sweep: &Path, folder: &Path) -> PathBuf {
    let path = folder.join("storm.toml");
    let sweep = fs::read_to_string(sweep).unwrap();
    let last = sweep.rsplit_once("[[recipe]]").unwrap().1.split('"').nth(1).unwrap();
    let left_out = format!("\n[[exclude]]\ninit = \"made\"\nrecipe = \"{last}\"\n");
    let of_one = OTHER_METHODS.map(|(method, keys)| {
        let run = "runs = { init = \"pretrained\", recipe = \"standard\", seed = 0 }\nexamples = 20\n";
        format!("\n[[analysis]]\nname = \"{method}\"\nmethod = \"{method}\"\n{keys}\n{run}")
    });
    fs::write(&path, [sweep.as_str(), ANALYSES, &of_one.concat(), MADE, &left_out].concat()).unwrap();
    path
}

/// Results, outcomes and values of analyses of the sweep where nothing goes wrong.
fn undisturbed(sweep: &Path) -> (String, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let outcomes = folder.path().join("outcomes.csv");
    let mut run = gauntlet(folder.path());
    run.args(["--database-url", database.url(), "run", "--format", "csv", "--outcomes"]).arg(&outcomes).arg(sweep);
    (succeed(&mut run), fs::read_to_string(outcomes).unwrap(), psql(&database, &[], VALUES))
}

/// Strikes as the sweep advances, so that every fault finds work to disturb. How many struck, by kind.
fn storm(cluster: &mut Cluster, seed: u64, count: usize, tasks: u64) -> BTreeMap<Kind, usize> {
    let mut faults = schedule(seed, count).into_iter().enumerate().peekable();
    let mut struck = BTreeMap::new();
    let (mut done, mut moved) = (0, Instant::now());
    while done < tasks {
        std::thread::sleep(PAUSE);
        cluster.recover(false);
        let now_done = cluster.ask(DONE).unwrap_or(done);
        if now_done > done {
            (done, moved) = (now_done, Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "{done} of {tasks} tasks, and nothing moves any more");
        let due = |number: usize| done as f64 >= LAST_STRIKE * tasks as f64 * number as f64 / count as f64;
        let Some((_, fault)) = faults.peek().copied().filter(|(number, _)| due(*number)) else { continue };
        let skipped = fault.kind == Kind::FillSpool && !cluster.fills_disks();
        if skipped || cluster.strike(fault) {
            faults.next();
            *struck.entry(fault.kind).or_default() += usize::from(!skipped);
        }
    }
    assert_eq!(faults.count(), 0, "every fault found the sweep at work");
    struck
}

#[test]
fn after_a_storm_of_faults_the_results_are_those_of_a_calm_run_and_nothing_is_left_over() {
    let seed = setting("GAUNTLET_STORM_SEED", 1);
    let count = setting("GAUNTLET_STORM_FAULTS", FAULTS);
    let drawn_up = tempfile::tempdir().unwrap();
    let sweep = with_analyses(&fixture(&setting("GAUNTLET_STORM_SWEEP", SWEEP.to_owned())), drawn_up.path());
    let (results, outcomes, values) = undisturbed(&sweep);

    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path());
    let endpoint = cluster.endpoint();
    let ask = |arguments: &[&str]| succeed(gauntlet(folder.path()).args(["--endpoint", &endpoint]).args(arguments));
    let id = ask(&["submit", "-q", &sweep.to_string_lossy()]).trim().to_owned();
    let tasks = cluster.ask("select count(*) from tasks").unwrap();
    let began = Instant::now();
    let struck = storm(&mut cluster, seed, count, tasks);
    cluster.recover(true);
    common::wait_until("the coordinator answers", PATIENCE, || {
        gauntlet(folder.path()).args(["--endpoint", &endpoint, "sweeps"]).output().unwrap().status.success()
    });

    assert_eq!(ask(&["results", &id, "--format", "csv"]), results);
    assert_eq!(ask(&["outcomes", &id, "--format", "csv"]), outcomes);
    assert!(values.lines().count() > 50, "there are analyses: {values}");
    assert_eq!(psql(&cluster.database, &[], VALUES), values);
    let ask = |query: &str| psql(&cluster.database, &[], query).trim().to_owned();
    assert_eq!(
        ask("select count(*) from attempts where outcome = 'succeeded'"),
        tasks.to_string(),
        "one result per task"
    );
    let total: usize = struck.values().sum();
    println!("{tasks} tasks, {total} faults in {:.0} s, seed {seed}: {struck:?}", began.elapsed().as_secs_f64());
    println!(
        "attempts by outcome: {}",
        ask(
            "select string_agg(outcome || ' ' || n, ', ') from (select outcome, count(*) n from attempts group by 1 order by 1) as o"
        )
    );
    println!(
        "seconds: {} in attempts with a result, {} in attempts without one",
        ask(
            "select coalesce(round(extract(epoch from sum(ended_at - started_at))), 0) from attempts where outcome = 'succeeded'"
        ),
        ask(
            "select coalesce(round(extract(epoch from sum(ended_at - started_at))), 0) from attempts where outcome <> 'succeeded'"
        ),
    );
    let Left { left, half_written } = cluster.leave();
    assert_eq!(left, Vec::<String>::new(), "nothing is left over");
    let killed = struck.get(&Kind::KillWorker).copied().unwrap_or_default();
    assert!(half_written <= killed, "{half_written} half-written uploads, and {killed} workers were killed");
}
