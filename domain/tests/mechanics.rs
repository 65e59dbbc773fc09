//! Keys of a recipe about how its weights move, read and planned.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use std::collections::BTreeSet;

use common::{STUDY, parse_mistakes, parsed, plan_mistakes, planned};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    Criterion, Decay, Drops, Ema, HeldOut, Optimizer, Precision, Recipe, Schedule, TaskSpec, Validation,
};

/// The study with these lines in its standard recipe.
fn study(lines: &str) -> String {
    STUDY.replacen("epochs = 2", &format!("epochs = 2\n{lines}"), 1)
}

fn recipe(lines: &str) -> Recipe {
    let mut sweep = parsed(&study(lines));
    sweep.recipes.remove(0).training.unwrap()
}

#[test]
fn optimisers_have_pytorchs_defaults_and_every_key_is_read() {
    let optimizer = |text: &str| recipe(&format!("optimizer = {text}")).optimizer;
    assert_eq!(
        optimizer("{ kind = \"adamw\" }"),
        Optimizer::AdamW { learning_rate: 1e-3, weight_decay: 1e-2, betas: [0.9, 0.999], epsilon: 1e-8 }
    );
    assert_eq!(
        optimizer("{ kind = \"adam\", betas = [0.5, 0], epsilon = 1e-3, learning_rate = 2, weight_decay = 3 }"),
        Optimizer::Adam { learning_rate: 2.0, weight_decay: 3.0, betas: [0.5, 0.0], epsilon: 1e-3 }
    );
    assert!(recipe("").decay_norm_and_bias);
    assert!(!recipe("optimizer = { kind = \"adamw\", decay_norm_and_bias = false }").decay_norm_and_bias);
}

#[test]
fn schedules_are_read() {
    let schedule = |text: &str| recipe(&format!("schedule = {text}")).schedule;
    let step = |drops, gamma, warmup| Schedule { warmup, decay: Decay::Step { drops, gamma } };
    assert_eq!(schedule("{ kind = \"step\", every = 30 }"), step(Drops::Every(30), 0.1, 0.0));
    assert_eq!(
        schedule("{ kind = \"step\", milestones = [3, 5], gamma = 0.2, warmup = 0.1 }"),
        step(Drops::Milestones(vec![3, 5]), 0.2, 0.1)
    );
    assert_eq!(
        schedule("{ kind = \"one-cycle\", pct_start = 0.4 }"),
        Schedule {
            warmup: 0.0,
            decay: Decay::OneCycle { pct_start: 0.4, div_factor: 25.0, final_div_factor: 10_000.0 }
        }
    );
}

#[test]
fn what_concerns_single_steps_and_the_choice_of_the_epoch_is_read() {
    let plain = recipe("");
    assert_eq!((plain.micro_batch_size, plain.gradient_clip, plain.ema, &plain.validation), (None, None, None, &None));
    assert_eq!(plain.precision, Precision::F32);
    assert_eq!((plain.batch_norm_momentum, recipe("batch_norm_momentum = 1").batch_norm_momentum), (None, Some(1.0)));
    let full = recipe("micro_batch_size = 32\ngradient_clip = 1\nprecision = \"bf16\"\nema = {}\nvalidation = {}");
    assert_eq!((full.micro_batch_size, full.gradient_clip), (Some(32), Some(1.0)));
    assert_eq!((full.precision, full.ema), (Precision::Bf16, Some(Ema { decay: 0.999 })));
    let default = Validation { held_out: HeldOut::Share(0.1), seed: 0, select_by: Criterion::Accuracy };
    assert_eq!(full.validation, Some(default));
    let chosen = recipe("validation = { examples = 50, seed = 3, select_by = \"loss\" }").validation;
    assert_eq!(chosen, Some(Validation { held_out: HeldOut::Examples(50), seed: 3, select_by: Criterion::Loss }));
}

#[test]
fn each_of_these_keys_makes_another_training() {
    let lines = [
        "",
        "micro_batch_size = 32",
        "gradient_clip = 1",
        "batch_norm_momentum = 0.5",
        "precision = \"bf16\"",
        "ema = {}",
        "validation = {}",
        "validation = { seed = 1 }",
        "validation = { select_by = \"loss\" }",
        "optimizer = { kind = \"adamw\" }",
        "optimizer = { kind = \"adamw\", decay_norm_and_bias = false }",
        "schedule = { kind = \"step\", every = 1 }",
        "schedule = { kind = \"one-cycle\" }",
    ];
    let ids = lines.map(|lines| {
        let plan = planned(&study(lines), &pinned_facts());
        plan.tasks.iter().find(|task| matches!(task.spec, TaskSpec::Train(_))).unwrap().spec.id()
    });
    assert_eq!(BTreeSet::from(ids).len(), lines.len());
}

#[test]
fn examples_kept_for_validation_are_not_trained_on_and_cost_a_pass_per_epoch() {
    let cost = |lines: &str| {
        let plan = planned(&study(lines), &pinned_facts());
        let own = |task: &&gauntlet_domain::plan::PlannedTask| {
            task.label.starts_with("glyphs") && task.label.contains("scratch")
        };
        plan.tasks.iter().find(own).unwrap().cost
    };
    // 500 examples in batches of 50, two epochs: 20 steps of 50 images and 3 passes each.
    let whole = cost("batch_size = 50");
    let held_out = cost("batch_size = 50\nvalidation = { examples = 100 }");
    let passes = |training: f64, validation: f64| training * 3.0 + validation;
    assert!((held_out / whole - passes(800.0, 200.0) / passes(1000.0, 0.0)).abs() < 1e-9, "{held_out} of {whole}");
}

#[test]
fn mistakes_in_these_keys_are_told_in_words() {
    let cases = [
        "micro_batch_size = 128",
        "micro_batch_size = 48",
        "micro_batch_size = 1",
        "gradient_clip = 0",
        "batch_norm_momentum = 0",
        "precision = \"fp16\"",
        "ema = { decay = 1 }",
        "ema = 0.9",
        "validation = { share = 0.1, examples = 3 }",
        "validation = { share = 1.0 }",
        "validation = { select_by = \"robust-accuracy\" }",
        "validation = { select_by = \"robustness\" }",
        "optimizer = { kind = \"adamw\", momentum = 0.9, betas = [0.9] }",
        "optimizer = { kind = \"adam\", betas = [0.9, 1.0], epsilon = 0 }",
        "optimizer = { kind = \"sgd\", learning_rate = 0.1, betas = [0.9, 0.9] }",
        "schedule = { kind = \"step\" }",
        "schedule = { kind = \"step\", every = 3, milestones = [3] }",
        "schedule = { kind = \"step\", milestones = [5, 3], gamma = 2 }",
        "schedule = { kind = \"one-cycle\", warmup = 0.1, pct_start = 2, every = 3 }",
        "schedule = { kind = \"cosine\", gamma = 0.1, div_factor = 3 }",
    ];
    let told = cases.map(|lines| format!("# {lines}\n{}\n", parse_mistakes(&study(lines))));
    insta::assert_snapshot!(told.concat());
}

#[test]
fn a_validation_that_leaves_a_class_without_training_examples_is_refused() {
    let cases = [
        "validation = { examples = 480 }",
        "validation = { examples = 5000 }",
        "validation = { share = 0.0001 }",
        "batch_size = 150\nmicro_batch_size = 3\nvalidation = { examples = 400 }",
    ];
    let told = cases.map(|lines| format!("# {lines}\n{}\n", plan_mistakes(&study(lines), &pinned_facts())));
    insta::assert_snapshot!(told.concat());
}
