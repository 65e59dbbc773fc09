//! The sweeps of the study plan: at the size of two CPU cores with what set-up brings, at the study's with data of the catalogue's sizes.

#![allow(clippy::unwrap_used)] // A test may stop at once.

mod common;

use std::fmt::Write as _;

use common::{evenly, parsed, planned};
use gauntlet_domain::Digest;
use gauntlet_domain::catalogue;
use gauntlet_domain::experiment::{Backbone, CifarVariant, Stem};
use gauntlet_domain::plan::{Plan, TaskKind};
use gauntlet_domain::sweep::{Facts, FileContent, FileFacts, FilePlace, FolderClass};

/// Units of cost that one A100 does in a second in TF32: some 800 images of 224 pixels through ResNet-50, forward and backward.
const UNITS_PER_SEC: f64 = 3_300.0;

macro_rules! sweeps {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("../../sweeps/", $name, ".toml")))),*] };
}

/// What a file would hold, by its place.
fn content(place: &FilePlace) -> FileContent {
    let path = match place {
        FilePlace::Data(path) | FilePlace::Sweep(path) => path.as_str(),
    };
    let name = path.split('/').next().unwrap();
    if name == "checkpoints" {
        return checkpoint(path);
    }
    let train = !path.contains("/test") && !path.contains("t10k");
    if name == "cifar-10-batches-bin" {
        return FileContent::Cifar { examples: 10_000, variant: CifarVariant::Cifar10, per_class: evenly(10_000, 10) };
    }
    let entry = catalogue::dataset(name).unwrap_or_else(|| panic!("`{path}` is of no data set of the catalogue"));
    let split = if train { entry.train_examples } else { entry.test_examples };
    let (height, width) = (entry.image.height, entry.image.width);
    match path {
        _ if path.contains("images-idx3") => FileContent::IdxImages { examples: split, height, width },
        _ if path.contains("labels-idx1") => FileContent::IdxLabels {
            examples: split,
            max_label: entry.classes - 1,
            per_class: evenly(split, entry.classes),
        },
        _ => {
            // NICO is one folder, of which a part is the test split.
            let examples = if path == "nico" { entry.train_examples + entry.test_examples } else { split };
            let class = |(number, examples)| FolderClass { name: format!("{number:04}"), examples };
            let classes = evenly(examples, entry.classes).into_iter().enumerate().map(class).collect();
            FileContent::ImageFolder { classes }
        }
    }
}

/// Weights of ImageNet's classes for the backbone in the file's name.
fn checkpoint(path: &str) -> FileContent {
    let known = [Backbone::ResNet18, Backbone::ResNet50, Backbone::WideResNet50x2, Backbone::DenseNet121];
    let backbone = known.into_iter().find(|backbone| path.ends_with(&format!("-{backbone}.pth"))).unwrap();
    FileContent::Checkpoint { tensors: backbone.state_dict(Stem::Standard, 3, 1_000), moments: vec![] }
}

/// The plan of a sweep that has what it names.
fn plan(source: &str) -> Plan {
    let mut facts: Facts = catalogue::pinned_facts();
    for file in parsed(source).files() {
        let digest = Digest::of(file.place.to_string().as_bytes());
        let found = || FileFacts { digest, content: content(&file.place) };
        facts.files.entry(file.place.clone()).or_insert_with(found);
    }
    planned(source, &facts)
}

fn described(name: &str, plan: &Plan) -> String {
    let of = |kind| plan.tasks.iter().filter(|task| task.kind == kind).count();
    let [pretrainings, trainings, attacks] = [TaskKind::Pretrain, TaskKind::Train, TaskKind::Attack].map(of);
    let analyses = of(TaskKind::Analyze);
    let cost = plan.summary().cost;
    format!(
        "{name}: {pretrainings} pre-trainings, {trainings} trainings, {attacks} attacks, {analyses} analyses, {} rows of results; \
         cost {cost:.0}",
        plan.cells.len()
    )
}

#[test]
fn every_sweep_of_the_study_plans_and_its_cost_is_known() {
    let sweeps = sweeps!["paper/P1", "paper/P2", "paper/P3", "paper/P4", "paper/P5", "paper/P6", "paper/P7"];
    let mut lines = String::new();
    for (name, source) in sweeps {
        let plan = plan(source);
        let hours = plan.summary().cost / UNITS_PER_SEC / 3_600.0;
        writeln!(lines, "{}, at {UNITS_PER_SEC:.0}/s {hours:.1} h", described(name, &plan)).unwrap();
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn their_small_twins_and_the_controls_plan_with_what_set_up_brings() {
    let sweeps = sweeps![
        "paper/P1-lite",
        "paper/P1-imagenet-lite",
        "paper/P2-lite",
        "paper/P3-lite",
        "paper/P4-lite",
        "paper/P5-lite",
        "paper/P6-lite",
        "paper/P7-lite",
        "controls/planted-cue",
        "controls/robust-features"
    ];
    let mut lines = String::new();
    for (name, source) in sweeps {
        let plan = plan(source);
        // An image through a gigaflop takes a CPU core about 50 ms.
        assert!(plan.summary().cost < 60_000.0, "{name} takes too long for two cores: {}", plan.summary().cost);
        writeln!(lines, "{}", described(name, &plan)).unwrap();
    }
    insta::assert_snapshot!(lines);
}
