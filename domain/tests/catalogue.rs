//! The catalogue says what the reader does.

mod common;

use std::path::Path;

use common::parsed;
use gauntlet_domain::Digest;
use gauntlet_domain::catalogue::{self, Entry};
use gauntlet_domain::experiment::Backbone;
use gauntlet_domain::plan::plan;
use gauntlet_domain::sweep::{FilePlace, Sweep};

fn sweep(dataset: &str, backbone: &str, recipe: &str, attack: &str) -> Sweep {
    parsed(&format!(
        "name = \"x\"\n[[dataset]]\n{dataset}\n[[model]]\nbackbone = \"{backbone}\"\n\
         [[recipe]]\nname = \"r\"\n{recipe}\n[[attack]]\nname = \"a\"\neps = \"8/255\"\n{attack}\n"
    ))
}

const DATASET: &str = "name = \"glyphs\"";
const BACKBONE: &str = "resnet18-w16";
const RECIPE: &str = "method = \"standard\"";
const ATTACK: &str = "method = \"fgsm\"";

/// Every key of the entry with its default, but for those that `skip`.
fn written_out(entry: &Entry, skip: &[&str]) -> String {
    let absent = Some("-");
    let parameters = entry.parameters.iter().filter(|parameter| !skip.contains(&parameter.key));
    let parameters = parameters.filter(|parameter| parameter.default.as_deref() != absent);
    parameters.filter_map(|parameter| Some(format!("{} = {}\n", parameter.key, parameter.default.as_ref()?))).collect()
}

#[test]
fn every_data_set_and_backbone_can_be_named() {
    for entry in catalogue::datasets() {
        assert_eq!(sweep(&format!("name = \"{}\"", entry.name), BACKBONE, RECIPE, ATTACK).datasets[0].name, entry.name);
    }
    for entry in catalogue::backbones() {
        assert_eq!(sweep(DATASET, entry.name, RECIPE, ATTACK).models[0].backbone.name(), entry.name);
    }
    assert_eq!(catalogue::backbones().len(), Backbone::ALL.len());
}

#[test]
fn attacks_with_their_defaults_written_out_are_the_same_attacks() {
    for entry in catalogue::attacks() {
        let source = if entry.name == "transfer" { "source = { init = \"scratch\", recipe = \"r\" }\n" } else { "" };
        let short = format!("method = \"{}\"\n{source}", entry.name);
        // Keys that only another choice of the same method takes.
        let other: &[&str] = match entry.name {
            "uap" => &["step_size", "batch_size"],
            "fab" | "apgd" => &["target_classes"],
            _ => &[],
        };
        let skip = [&["eps", "examples", "stop_at_interval", "cascade", "target"], other].concat();
        let long = format!("{short}{}", written_out(&entry, &skip));
        let [short, long] = [short, long].map(|attack| {
            let plan = plan(&sweep(DATASET, BACKBONE, RECIPE, &attack), &catalogue::pinned_facts()).unwrap();
            plan.tasks.last().unwrap().spec.clone()
        });
        assert_eq!(short, long, "{}", entry.name);
    }
}

#[test]
fn analyses_with_their_defaults_written_out_are_the_same_analyses() {
    let known = catalogue::analyses();
    let (made, asked) = known.split_last().unwrap();
    assert_eq!((made.name, asked.len()), ("robust-features", 10));
    for entry in asked {
        let given = |key| match key {
            "against" => "against = \"start\"\n",
            "epsilons" => "epsilons = [\"1/255\", \"4/255\"]\n",
            "eps" => "eps = \"10/255\"\n",
            other => panic!("`{other}` of {} is required", entry.name),
        };
        let required = entry.parameters.iter().filter(|parameter| parameter.default.is_none());
        let short = format!("method = \"{}\"\n", entry.name) + &required.map(|it| given(it.key)).collect::<String>();
        let long = format!("{short}{}", written_out(entry, &["examples", "runs", "craft_examples"]));
        let [short, long] = [short, long].map(|analysis| {
            let analysis = format!("{ATTACK}\n[[analysis]]\nname = \"l\"\n{analysis}");
            sweep(DATASET, BACKBONE, RECIPE, &analysis).analyses.remove(0).method
        });
        assert_eq!((short.name(), &short), (entry.name, &long));
    }
}

#[test]
fn what_is_made_by_features_has_the_defaults_that_the_catalogue_says() {
    let made = catalogue::analyses().pop().unwrap();
    let inits = "[[init]]\nname = \"plain\"\npretrain = { dataset = { name = \"glyphs\" }, recipe = \"r\" }\n";
    let of = |keys: &str| {
        let dataset = format!("{DATASET}\nfeatures = {{ from = \"plain\", {keys} }}");
        let sweep = sweep(&dataset, BACKBONE, RECIPE, &format!("{ATTACK}\n{inits}"));
        sweep.datasets[0].features.clone().unwrap().value.construction
    };
    let default = |key: &str| {
        let parameter = made.parameters.iter().find(|parameter| parameter.key == key).unwrap();
        parameter.default.clone().unwrap()
    };
    let [steps, step_size] = ["features.steps", "features.step_size"].map(default);
    let [steps, step_size] = [&steps, &step_size].map(|text| text.split_once("; `rand`, `det`: ").unwrap());
    let set = |set: &str, steps: &str, step_size: &str, more: &str| {
        of(&format!("set = \"{set}\", steps = {steps}, step_size = {step_size}{more}"))
    };
    assert_eq!(of("set = \"non-robust\""), set("non-robust", steps.0, step_size.0, ""));
    let ball = format!(", norm = {}, eps = {}", default("features.norm"), default("features.eps"));
    assert_eq!(of("set = \"det\""), set("det", steps.1, step_size.1, &ball));
}

#[test]
fn keys_of_the_other_choices_have_the_defaults_that_the_catalogue_says() {
    let others = [
        ("uap", "by = \"gradient\"", ["steps", "overshoot", "candidates"].as_slice()),
        ("fab", "targeted = true", &["targeted"]),
        ("apgd", "loss = \"dlr-targeted\"", &["loss"]),
    ];
    for (name, choice, skip) in others {
        let entry = catalogue::attacks().into_iter().find(|entry| entry.name == name).unwrap();
        let short = format!("method = \"{name}\"\n{choice}\n");
        let skip = [&["eps", "examples", "stop_at_interval", "cascade", "by"], skip].concat();
        let long = format!("{short}{}", written_out(&entry, &skip).replace(choice, ""));
        let [short, long] = [short, long].map(|attack| {
            let plan = plan(&sweep(DATASET, BACKBONE, RECIPE, &attack), &catalogue::pinned_facts()).unwrap();
            plan.tasks.last().unwrap().spec.clone()
        });
        assert_eq!(short, long, "{name}");
    }
}

#[test]
fn recipes_with_their_defaults_written_out_are_the_same_recipes() {
    for entry in catalogue::recipes() {
        let needs_eps = entry.parameters.iter().any(|key| key.key == "inner.eps" && key.default.is_none());
        let eps = if needs_eps { "inner.eps = 0.1\n" } else { "" };
        let sgd = if entry.name == "none" { "" } else { "optimizer.kind = \"sgd\"\noptimizer.learning_rate = 0.1\n" };
        let short = format!("method = \"{}\"\n{sgd}{eps}", entry.name);
        let skip = [
            "iterations",
            "augment.resized_crop",
            "optimizer",
            "optimizer.betas",
            "optimizer.epsilon",
            "optimizer.weight_decay",
            "optimizer.head_learning_rate",
            "coefficient",
            "schedule.final_learning_rate",
            "schedule.gamma",
            "schedule.pct_start",
            "schedule.div_factor",
            "schedule.final_div_factor",
            "eps_schedule.zero",
            "eps_schedule.ramp",
            "head_first.epochs",
            "head_first.learning_rate",
            "head_first.adversarial",
        ];
        let long = format!("{short}{}", written_out(&entry, &skip));
        let [short, long] = [short, long].map(|recipe| sweep(DATASET, BACKBONE, &recipe, ATTACK).recipes.remove(0));
        assert_eq!(short.training, long.training, "{}", entry.name);
    }
}

#[test]
fn glyphs_with_their_defaults_written_out_are_the_same_glyphs() {
    let formats = catalogue::formats();
    let glyphs = formats.iter().find(|format| format.name == "glyphs").unwrap();
    let others = [
        "train_examples",
        "test_examples",
        "classes",
        "image_size",
        "channels",
        "keep_classes",
        "train_examples_per_class",
        "test_examples_per_class",
        "frequencies",
        "cue",
    ];
    let long = format!("{DATASET}\n{}", written_out(glyphs, &others));
    let [short, long] = [DATASET, &long].map(|dataset| sweep(dataset, BACKBONE, RECIPE, ATTACK).datasets.remove(0));
    assert_eq!((short.origin, short.fit), (long.origin, long.fit));
}

#[test]
fn pinned_files_have_the_digests_of_those_that_set_up_brings() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gauntlet/data");
    let facts = catalogue::pinned_facts();
    assert_eq!(facts.files.len(), 5);
    for (place, facts) in facts.files {
        let FilePlace::Data(path) = place else { panic!("{place} is not below the data directory") };
        match std::fs::read(data.join(&path)) {
            Ok(content) => assert_eq!(Digest::of(&content), facts.digest, "{path}"),
            Err(error) => eprintln!("not compared: {path}: {error}"),
        }
    }
}

#[test]
fn the_lists_that_people_read_can_be_printed_as_json() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&catalogue::backbones()).unwrap());
    assert!(
        serde_json::to_string(&(
            catalogue::datasets(),
            catalogue::formats(),
            catalogue::recipes(),
            catalogue::attacks(),
            catalogue::analyses()
        ))
        .is_ok()
    );
}
