//! The main job, with real processes, a real database and the real lab.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{data_dir, fail, fixture, gauntlet, psql, rows, succeed, text};
use gauntlet_data::read_checkpoint;
use gauntlet_domain::experiment::CheckpointFormat;
use gauntlet_postgres::testing::TestDatabase;

fn run(state: &Path, database: &TestDatabase, sweep: &Path) -> (String, String) {
    let output =
        gauntlet(state).args(["--database-url", database.url(), "run", "--format", "csv"]).arg(sweep).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (text(&output.stdout), stderr)
}

fn attempts(database: &TestDatabase) -> u32 {
    psql(database, &[], "select count(*) from attempts").trim().parse().unwrap()
}

#[test]
fn the_database_the_csv_and_the_outcomes_agree_and_nothing_runs_twice() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let (csv, stderr) = run(state.path(), &database, &fixture("small.toml"));
    assert!(stderr.contains("20 tasks, 20 new"), "{stderr}");
    assert_eq!(rows(&csv).len(), 12, "2 seeds × 3 runs × 2 ε");

    let from_psql = psql(&database, &["--csv"], "select * from results");
    let body = csv.split_once('\n').unwrap().1;
    assert_eq!(from_psql, body, "psql and the CSV are the same to the letter");

    let recomputed = psql(
        &database,
        &["--csv"],
        "select r.aoi = o.aoi and r.aai = o.aai, count(*) from results r join (
            select init, recipe, seed, eps, count(*) filter (where clean_prediction = label)::float8 / count(*) as aoi,
                count(*) filter (where clean_prediction = label and adversarial_prediction = label)::float8 / count(*) as aai
            from outcomes group by 1, 2, 3, 4) o using (init, recipe, seed, eps) group by 1",
    );
    assert_eq!(recomputed.trim(), "t,12");

    let ran = attempts(&database);
    let (again, stderr) = run(state.path(), &database, &fixture("small.toml"));
    assert!(stderr.contains("20 tasks, 0 new, 20 done already"), "{stderr}");
    assert_eq!((again, attempts(&database)), (csv.clone(), ran), "the second time nothing ran");

    let more = state.path().join("more.toml");
    let noise = "\n[[attack]]\nname = \"noise\"\nmethod = \"noise\"\neps = \"8/255\"\n";
    fs::write(&more, fs::read_to_string(fixture("small.toml")).unwrap() + noise).unwrap();
    let (longer, stderr) = run(state.path(), &database, &more);
    assert!(stderr.contains("26 tasks, 6 new, 20 done already"), "{stderr}");
    assert_eq!(attempts(&database), ran + 6, "only the new attack ran");
    assert_eq!(rows(&longer).len(), 18);

    let outcomes =
        succeed(gauntlet(state.path()).args(["--database-url", database.url(), "outcomes", &rows(&csv)[0]["sweep"]]));
    let columns = "sweep,dataset,backbone,init,recipe,seed,attack,norm,eps,index,label,clean_prediction,adversarial_prediction,clean_loss,adversarial_loss,distance";
    assert_eq!(outcomes.lines().next(), Some(columns));
    let query = format!("select * from outcomes where sweep = '{}'", rows(&csv)[0]["sweep"]);
    assert_eq!(psql(&database, &["--csv"], &query), outcomes.split_once('\n').unwrap().1);
}

fn imported_sweep(folder: &Path, checkpoint: &str) -> std::path::PathBuf {
    let sweep = format!(
        r#"
name = "imported-checkpoint"
seeds = [0]

[[dataset]]
name = "cases"
format = "safetensors"
test = "images.safetensors"
classes = 10

[[model]]
backbone = "resnet18"
normalize = {{ mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }}

[[init]]
name = "imported"
checkpoint = "{checkpoint}"

[[recipe]]
name = "as-is"
method = "none"

[[attack]]
name = "fgsm"
method = "fgsm"
norm = "linf"
eps = ["2/255", "8/255"]
"#
    );
    let path = folder.join(format!("{checkpoint}.toml"));
    fs::write(&path, sweep).unwrap();
    path
}

/// The same tensors as the `.pth`, in the other format.
fn write_safetensors(pth: &Path, to: &Path) {
    let tensors = read_checkpoint(pth, CheckpointFormat::Pytorch).unwrap();
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|tensor| {
            let shape = tensor.shape.iter().map(|length| *length as usize).collect();
            (tensor.name, (shape, tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, to).unwrap();
}

#[test]
fn an_imported_checkpoint_gives_pytorchs_numbers_in_both_formats() {
    let state = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    fs::copy(fixture("imported/images.safetensors"), state.path().join("images.safetensors")).unwrap();
    let packed = fs::File::open(fixture("imported/resnet18.pth.gz")).unwrap();
    let mut unpacked = fs::File::create(state.path().join("resnet18.pth")).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut unpacked).unwrap();
    write_safetensors(&state.path().join("resnet18.pth"), &state.path().join("resnet18.safetensors"));
    let golden: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(fixture("imported/golden.json")).unwrap()).unwrap();
    let mut results = Vec::new();
    for checkpoint in ["resnet18.pth", "resnet18.safetensors"] {
        let outcomes = state.path().join(format!("{checkpoint}.csv"));
        let output = succeed(
            gauntlet(state.path())
                .args(["--database-url", database.url(), "run", "--format", "csv", "--outcomes"])
                .arg(&outcomes)
                .arg(imported_sweep(state.path(), checkpoint)),
        );
        let examples = rows(&fs::read_to_string(&outcomes).unwrap());
        assert_eq!(examples.len(), 2 * 16);
        for example in &examples {
            let index: usize = example["index"].parse().unwrap();
            assert_eq!(example["clean_prediction"], golden["clean_prediction"][index].to_string());
            let (ours, theirs) =
                (example["clean_loss"].parse::<f64>().unwrap(), golden["clean_loss"][index].as_f64().unwrap());
            assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "example {index}: {ours} here, {theirs} in PyTorch");
        }
        assert!(rows(&output).iter().all(|row| row["clean_correct"] == "12"), "{output}");
        results.push(
            rows(&output)
                .into_iter()
                .map(|row| (row["eps"].clone(), row["robust_correct"].clone()))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(results[0], results[1]);
}

#[test]
fn run_brings_its_own_database_and_leaves_no_process_behind() {
    let state = tempfile::tempdir().unwrap();
    // Another user must reach the private database when this runs as root.
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(state.path(), open).unwrap();
    let sweep = state.path().join("tiny.toml");
    let text = fs::read_to_string(fixture("small.toml")).unwrap();
    let tiny = text
        .replace("seeds = [0, 1]", "seeds = [0]")
        .replace("epochs = 16", "epochs = 1")
        .replace("epochs = 4", "epochs = 1");
    fs::write(&sweep, tiny).unwrap();
    let table = succeed(gauntlet(state.path()).arg("run").arg(&sweep));
    assert!(table.contains("AOI %") && table.contains("fine-tuned from pretrained against scratch"), "{table}");
    let listed = succeed(gauntlet(state.path()).args(["sweeps", "--format", "json"]));
    assert!(listed.contains("\"state\": \"succeeded\""), "{listed}");
    let csv = succeed(gauntlet(state.path()).args(["results", "small", "--format", "csv"]));
    assert_eq!(rows(&csv).len(), 6);
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(|entry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*state.path().to_string_lossy()))
    });
    assert_eq!(processes.count(), 0);
}

#[test]
fn an_unknown_sweep_is_said_to_be_unknown() {
    let state = tempfile::tempdir().unwrap();
    let output = fail(gauntlet(state.path()).args(["results", "nothing"]));
    assert!(text(&output.stderr).contains("holds no database yet"), "{}", text(&output.stderr));
    assert!(data_dir().exists());
}
