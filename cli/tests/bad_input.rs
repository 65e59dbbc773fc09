//! Bad sweeps and bad files: one clear error each that names the place, exit ≠ 0, nothing left behind in the database.

#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{RunningCoordinator, fail, gauntlet, psql, text};
use gauntlet_domain::experiment::{Backbone, Stem};
use gauntlet_postgres::testing::TestDatabase;
use safetensors::tensor::{Dtype, TensorView};

/// A sweep without mistakes, to be spoilt.
const GOOD: &str = r#"name = "spoilt"
seeds = [0]

[[dataset]]
name = "glyphs"

[[model]]
backbone = "resnet18-w16"

[[init]]
name = "scratch"

[[recipe]]
name = "standard"
method = "standard"
epochs = 1

[[attack]]
name = "pgd"
method = "pgd"
eps = ["2/255", "8/255"]
"#;

fn spoil(part: &str, by: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    GOOD.replacen(part, by, 1)
}

fn bad_sweeps() -> Vec<(&'static str, String)> {
    let cycle = r#"name = "a"
[init.pretrain]
dataset = "glyphs"
recipe = "standard"
init = "b"

[[init]]
name = "b"
[init.pretrain]
dataset = "glyphs"
recipe = "standard"
init = "a""#;
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let radii = (1..=1000).map(|n| format!("\"{n}/2000\"")).collect::<Vec<_>>().join(", ");
    let many = |section: &str, rest: &str| {
        (0..10).map(|n| format!("[[{section}]]\nname = \"x{n}\"\n{rest}\n")).collect::<String>()
    };
    let huge = spoil("seeds = [0]", &format!("seeds = [{}]", numbers(1000)))
        .replace("\"2/255\", \"8/255\"", &radii)
        .replace("[[dataset]]\nname = \"glyphs\"\n", &many("dataset", "format = \"glyphs\""))
        .replace("[[model]]\nbackbone = \"resnet18-w16\"\n", &many("model", "backbone = \"resnet18-w16\""))
        .replace(
            "[[recipe]]\nname = \"standard\"\nmethod = \"standard\"\nepochs = 1\n",
            &many("recipe", "method = \"standard\""),
        );
    vec![
        ("unknown_key", spoil("epochs = 1", "epoch = 1")),
        ("wrong_type", spoil("epochs = 1", "epochs = \"many\"")),
        ("unknown_dataset", spoil("name = \"glyphs\"", "name = \"fashion-mnits\"")),
        ("eps_of_300", spoil("[\"2/255\", \"8/255\"]", "300")),
        ("empty_axis", spoil("[\"2/255\", \"8/255\"]", "[]")),
        ("duplicate_names", spoil("[[init]]", "[[init]]\nname = \"scratch\"\n\n[[init]]")),
        ("missing_file", spoil("name = \"scratch\"", "name = \"imported\"\ncheckpoint = \"nowhere.safetensors\"")),
        ("cycle", spoil("name = \"scratch\"", cycle)),
        (
            "wrong_class_count",
            spoil("name = \"scratch\"", "name = \"imported\"\ncheckpoint = \"ten-classes.safetensors\"")
                .replace("method = \"standard\"\nepochs = 1", "method = \"none\""),
        ),
        ("a_grid_of_a_billion", huge),
    ]
}

fn with_files(test: &str) -> String {
    spoil("name = \"glyphs\"", &format!("name = \"mine\"\n{test}"))
}

fn bad_files() -> Vec<(&'static str, String)> {
    let idx = |images: &str, labels: &str| {
        with_files(&format!(
            "format = \"idx\"\ntrain = {{ images = \"{images}\", labels = \"{labels}\" }}\ntest = {{ images = \"{images}\", labels = \"{labels}\" }}"
        ))
    };
    vec![
        ("truncated_idx", idx("truncated.idx", "labels.idx")),
        ("wrong_magic", idx("magic.idx", "labels.idx")),
        (
            "labels_out_of_range",
            idx("images.idx", "labels.idx").replace("format = \"idx\"", "format = \"idx\"\nclasses = 3"),
        ),
        ("nan_weights", spoil("name = \"scratch\"", "name = \"imported\"\ncheckpoint = \"nan.safetensors\"")),
        (
            "wrong_shapes",
            with_files("format = \"safetensors\"\ntrain = \"flat.safetensors\"\ntest = \"flat.safetensors\""),
        ),
    ]
}

fn idx(magic: u32, lengths: &[u32], body: usize) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    lengths.iter().for_each(|length| bytes.extend(length.to_be_bytes()));
    bytes.extend((0..body).map(|n| (n % 5) as u8));
    bytes
}

fn write(path: PathBuf, bytes: &[u8]) {
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

fn save(path: PathBuf, tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>) {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &path).unwrap();
}

/// A whole state dict of the narrow net for ten classes, every value `value`.
fn checkpoint(path: PathBuf, value: f32) {
    let layout = Backbone::ResNet18W16.state_dict(Stem::Standard, 1, 10);
    let bytes: Vec<Vec<u8>> =
        layout.iter().map(|tensor| value.to_le_bytes().repeat(tensor.values() as usize)).collect();
    let tensors = layout.iter().zip(bytes).map(|(tensor, bytes)| {
        (tensor.name.as_str(), Dtype::F32, tensor.shape.iter().map(|length| *length as usize).collect(), bytes)
    });
    save(path, tensors.collect());
}

fn write_files(folder: &Path) {
    write(folder.join("images.idx"), &idx(0x803, &[10, 28, 28], 7840));
    write(folder.join("truncated.idx"), &idx(0x803, &[10, 28, 28], 7000));
    write(folder.join("magic.idx"), &idx(0x1234, &[10, 28, 28], 7840));
    write(folder.join("labels.idx"), &idx(0x801, &[10], 10));
    save(
        folder.join("flat.safetensors"),
        vec![("images", Dtype::U8, vec![4, 784], vec![0; 4 * 784]), ("labels", Dtype::I64, vec![4], vec![0; 32])],
    );
    checkpoint(folder.join("ten-classes.safetensors"), 0.5);
    checkpoint(folder.join("nan.safetensors"), f32::NAN);
}

fn rows_in_the_database(database: &TestDatabase) -> String {
    let tables =
        ["sweeps", "sweep_cells", "sweep_tasks", "tasks", "task_specs", "task_inputs", "attempts", "file_locations"];
    let counts = tables.map(|table| format!("(select count(*) from {table})"));
    psql(database, &[], &format!("select {}", counts.join(" + "))).trim().to_owned()
}

#[test]
fn every_mistake_is_named_with_its_place_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().unwrap();
    let coordinator = RunningCoordinator::start(folder.path(), &database, "127.0.0.1:0");
    write_files(folder.path());
    for (name, sweep) in bad_sweeps().into_iter().chain(bad_files()) {
        let path = folder.path().join(format!("{name}.toml"));
        fs::write(&path, sweep).unwrap();
        let mut submit = gauntlet(folder.path());
        submit.current_dir(folder.path()).args(["--endpoint", &coordinator.endpoint, "submit", "-q"]);
        let output = fail(submit.arg(format!("{name}.toml")));
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "{name}: stdout carries answers only");
        let said = text(&output.stderr);
        // The rendered snippet of a line of thousands of characters is no use in a snapshot.
        let said: String =
            said.lines().map(|line| line.chars().take(160).collect::<String>().trim_end().to_owned() + "\n").collect();
        insta::assert_snapshot!(name, said);
    }
    assert_eq!(rows_in_the_database(&database), "0");
}

#[test]
fn a_file_that_is_no_toml_or_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = fail(gauntlet(folder.path()).args(["plan", "nowhere.toml"]));
    insta::assert_snapshot!("no_sweep_file", text(&missing.stderr));
    let path = folder.path().join("broken.toml");
    fs::write(&path, "name = \"x\nseeds = [").unwrap();
    let broken = fail(gauntlet(folder.path()).current_dir(folder.path()).args(["plan", "broken.toml"]));
    insta::assert_snapshot!("no_toml", text(&broken.stderr));
}

#[test]
fn an_answer_that_nobody_reads_to_its_end_is_left_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = gauntlet(folder.path()).arg("backbones").stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}
