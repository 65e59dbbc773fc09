//! Attacks that need more than the model and its test images, from the sweep file to the table.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::path::Path;

use common::{fail, fixture, gauntlet, psql, rows, succeed, text};
use gauntlet_postgres::testing::TestDatabase;

const ATTACKS: &str = r#"
[[attack]]
name = "square"
method = "square"
eps = "16/255"
queries = 20

[[attack]]
name = "feature"
method = "feature"
eps = "16/255"
steps = 3

[[attack]]
name = "universal"
method = "uap"
eps = "16/255"
by = "gradient"
craft_examples = 52
batch_size = 26
passes = 2

[[attack]]
name = "transferred"
method = "transfer"
eps = ["2/255", "16/255"]
source = { init = "scratch", recipe = "standard" }
by = { method = "pgd", steps = 5 }

[[attack]]
name = "boundary"
method = "deepfool"
eps = ["0.1", "0.5"]
steps = 3

[[attack]]
name = "anywhere"
method = "deepfool"
steps = 3
"#;

/// The small sweep with one seed and other attacks.
fn sweep(folder: &Path) -> std::path::PathBuf {
    let small = fs::read_to_string(fixture("small.toml")).unwrap();
    let (runs, attacks) = small.split_once("[[attack]]").unwrap();
    let (_, rules) = attacks.split_once("[[exclude]]").unwrap();
    let runs = runs.replace("seeds = [0, 1]", "seeds = [0]").replace("name = \"small\"", "name = \"attacks\"");
    let path = folder.join("attacks.toml");
    fs::write(&path, format!("{runs}{ATTACKS}\n[[exclude]]{rules}")).unwrap();
    path
}

#[test]
fn attacks_that_need_other_images_or_models_run_and_agree_with_the_database() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let path = sweep(state.path());
    let output =
        gauntlet(state.path()).args(["--database-url", database.url(), "run", "--format", "csv"]).arg(&path).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let csv = text(&output.stdout);
    let results = rows(&csv);
    assert_eq!(results.len(), 3 * 8, "three runs, six attacks, two of them at two radii");
    assert_eq!(psql(&database, &["--csv"], "select * from results"), csv.split_once('\n').unwrap().1);

    let robust = |init: &str, recipe: &str, attack: &str, eps: &str| -> u32 {
        let row = results.iter().find(|row| {
            (row["init"].as_str(), row["recipe"].as_str(), row["attack"].as_str(), row["eps"].as_str())
                == (init, recipe, attack, eps)
        });
        row.unwrap()["robust_correct"].parse().unwrap()
    };
    let on_itself = robust("scratch", "standard", "transferred", "16/255");
    let clean: u32 = results[0]["clean_correct"].parse().unwrap();
    assert!(on_itself < clean, "what is crafted on the model itself fools it: {on_itself} of {clean} are left");
    assert!(robust("scratch", "standard", "transferred", "2/255") >= on_itself);

    // Whatever a perturbation was crafted on, it lies in the ball.
    let beyond = "select count(*) from outcomes where eps like '%/255'
        and distance > 1.0001 * split_part(eps, '/', 1)::float8 / 255 and norm = 'linf'";
    assert_eq!(psql(&database, &[], beyond).trim(), "0");

    let evaluations =
        "select count(*), count(distinct attack_task_id) from sweep_cells where attack in ('boundary', 'anywhere')";
    assert_eq!(psql(&database, &["--csv"], evaluations).trim(), "9,3", "one evaluation answers all radii of a run");
    assert!(robust("scratch", "standard", "boundary", "0.1") >= robust("scratch", "standard", "boundary", "0.5"));
    assert!(robust("scratch", "standard", "boundary", "0.5") >= robust("scratch", "standard", "anywhere", ""));
    let recomputed = psql(
        &database,
        &["--csv"],
        "select r.aoi = o.aoi and r.aai = o.aai, count(*) from results r join (
            select init, recipe, attack, eps, avg((clean_prediction = label)::int)::float8 as aoi,
                avg((clean_prediction = label and adversarial_prediction = label)::int)::float8 as aai
            from outcomes group by 1, 2, 3, 4) o using (init, recipe, attack, eps) group by 1",
    );
    assert_eq!(recomputed.trim(), "t,24");
    let outcomes = succeed(gauntlet(state.path()).args(["--database-url", database.url(), "outcomes", "attacks"]));
    assert_eq!(psql(&database, &["--csv"], "select * from outcomes"), outcomes.split_once('\n').unwrap().1);

    let inputs = psql(
        &database,
        &[],
        "select string_agg(distinct inputs::text, ',') from (
            select c.init, count(i.input_task_id) as inputs from sweep_cells c join task_inputs i on i.task_id = c.attack_task_id
            where c.attack = 'transferred' and c.init = 'pretrained' group by c.init, c.recipe, c.eps) as cell",
    );
    assert_eq!(inputs.trim(), "2", "the attacked model and the source");

    let warnings = succeed(
        gauntlet(state.path())
            .args(["--database-url", database.url()])
            .args(["warnings", "attacks", "--format", "json"]),
    );
    let warnings: serde_json::Value = serde_json::from_str(&warnings).unwrap();
    let counted = psql(&database, &[], "select count(*) from masking_warnings");
    assert_eq!(warnings.as_array().unwrap().len().to_string(), counted.trim());
}

#[test]
fn the_catalogue_lists_every_attack_with_its_parameters() {
    let state = tempfile::tempdir().unwrap();
    let list = succeed(gauntlet(state.path()).args(["attacks", "--format", "json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    for name in [
        "noise",
        "fgsm",
        "pgd",
        "mi-fgsm",
        "di-fgsm",
        "cw",
        "deepfool",
        "apgd",
        "fab",
        "square",
        "autoattack",
        "feature",
        "uap",
        "transfer",
    ] {
        assert!(names.contains(&name), "{name} is missing of {names:?}");
    }
    let people = succeed(gauntlet(state.path()).arg("attacks"));
    assert!(people.contains("binary_search_steps: constants tried by binary search"), "{people}");
}

#[test]
fn analyses_are_listed_where_no_sweep_is_named() {
    let state = tempfile::tempdir().unwrap();
    let list = succeed(gauntlet(state.path()).args(["analyses", "--format", "json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    for name in
        ["similarity", "frequency", "uap", "transfer", "saliency", "confidence", "corruptions", "robust-features"]
    {
        assert!(names.contains(&name), "{name} is missing of {names:?}");
    }
    let people = succeed(gauntlet(state.path()).arg("analyses"));
    assert!(people.contains("threshold: share of the variance that SVCCA keeps (default 0.98)"), "{people}");
    let refused = text(&fail(gauntlet(state.path()).args(["analyses", "--format", "csv"])).stderr);
    assert!(refused.contains("say --format json, or name a sweep"), "{refused}");
}
