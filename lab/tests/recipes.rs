//! Every recipe: the loss falls, a resumed training equals an uninterrupted one, and what is frozen does not move.
#![allow(clippy::unwrap_used, clippy::panic)] // A test may stop at once.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gauntlet_domain::experiment::{
    EpochMetrics, EpsilonSchedule, Frozen, HeadFirst, InnerAttack, Length, Norm, Objective, Optimizer, Recipe, Start,
    TaskSpec, TrainSpec,
};
use gauntlet_lab::models::{Checkpoints, starting_weights};
use gauntlet_lab::{Inputs, Lab, Observer, Settings, TaskOutput};
use safetensors::SafeTensors;
use support::{Bench, Notes};
use tch::Device;

/// What a training told, and copies of all its resumable checkpoints: it removes the older ones itself.
#[derive(Default)]
struct Watch {
    notes: Notes,
    kept: Vec<PathBuf>,
}

impl Observer for Watch {
    fn progress(&mut self, done: u64, total: u64, unit: &'static str) {
        self.notes.progress(done, total, unit);
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        self.notes.epoch(metrics);
    }

    fn checkpoint(&mut self, path: &Path, _epoch: u32) {
        let copy = path.with_extension("kept");
        fs::copy(path, &copy).unwrap();
        self.kept.push(copy);
    }
}

fn train(spec: &TrainSpec, inputs: &Inputs) -> (PathBuf, Watch) {
    let settings = Settings { checkpoint_interval: Duration::ZERO, ..Settings::default() };
    let mut watch = Watch::default();
    let output = Lab::new(settings).execute(&TaskSpec::Train(spec.clone()), inputs, &mut watch).unwrap();
    let TaskOutput::Trained { checkpoint } = output else { panic!("a training gave {output:?}") };
    (checkpoint, watch)
}

fn inner(start: Start) -> InnerAttack {
    InnerAttack { norm: Norm::Linf, eps: 4.0 / 255.0, steps: 2, step_size: 2.0 / 255.0, start }
}

fn one_step() -> InnerAttack {
    InnerAttack { steps: 1, step_size: 5.0 / 255.0, ..inner(Start::Uniform) }
}

fn recipe(objective: Objective) -> Recipe {
    Bench::recipe(objective, Length::Epochs(3))
}

fn head_first(learning_rate: f64, objective: Objective) -> Option<HeadFirst> {
    Some(HeadFirst { length: Length::Iterations(4), learning_rate, objective })
}

/// One of every recipe, and of everything that a recipe may say of its objective.
fn recipes() -> Vec<(&'static str, Recipe)> {
    let pgd_at = || Objective::PgdAt { inner: inner(Start::Uniform) };
    let sgd = |learning_rate| Optimizer::Sgd { learning_rate, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };
    let ramp = EpsilonSchedule::Ramp { zero: 0.25, ramp: 0.5 };
    let probe = Recipe { frozen: Frozen::Backbone, optimizer: sgd(0.3), ..recipe(Objective::Standard) };
    let trades = Objective::Trades { beta: 1.0, inner: inner(Start::Gaussian) };
    vec![
        ("standard", recipe(Objective::Standard)),
        ("linear-probe", probe.clone()),
        ("adversarial-probe", Recipe { objective: pgd_at(), ..probe }),
        ("frozen", Recipe { frozen: Frozen::Stages(2), head_learning_rate: Some(0.1), ..recipe(Objective::Standard) }),
        ("lp-ft", Recipe { head_first: head_first(0.3, Objective::Standard), ..recipe(Objective::Standard) }),
        ("pgd-at", recipe(pgd_at())),
        ("robust-linear-init", Recipe { head_first: head_first(0.3, pgd_at()), ..recipe(pgd_at()) }),
        ("fast-at", recipe(Objective::FastAt { inner: one_step() })),
        ("free-at", recipe(Objective::FreeAt { eps: 4.0 / 255.0, step_size: 4.0 / 255.0, replays: 2 })),
        ("trades", recipe(trades.clone())),
        ("mart", recipe(Objective::Mart { lambda: 5.0, inner: inner(Start::Gaussian) })),
        ("dm", recipe(Objective::Dm { coefficient: 10.0, inner: inner(Start::Gaussian) })),
        ("twins", recipe(Objective::Twins { lambda: 0.4, inner: inner(Start::Uniform) })),
        ("ramp", Recipe { epsilon_schedule: ramp, ..recipe(trades) }),
    ]
}

fn spec(bench: &Bench, recipe: &Recipe) -> TrainSpec {
    TrainSpec { recipe: recipe.clone(), ..bench.train_spec(Objective::Standard, Length::Epochs(1)) }
}

/// The recipes of every third place from `first` on: the tests of one process share the cores.
fn assert_trains_and_resumes(first: usize) {
    let bench = Bench::new(48);
    for (name, recipe) in recipes().into_iter().skip(first).step_by(3) {
        let spec = spec(&bench, &recipe);
        let (whole, told) = train(&spec, &bench.inputs_for(name));
        let epochs = &told.notes.epochs;
        let (before, after) = (epochs[0].train_loss, epochs.last().unwrap().train_loss);
        println!("{name}: loss {before} → {after}");
        assert!(after < 0.9 * before, "{name}: {before} → {after}");
        let (done, total, _) = told.notes.progress.last().unwrap();
        assert_eq!(done, total, "{name}");
        // The first checkpoint, and where there are two phases also the one at their border.
        let resumed_from = if recipe.head_first.is_some() { 2 } else { 1 };
        for (number, resumable) in told.kept.iter().take(resumed_from).enumerate() {
            let inputs = bench.inputs_for(&format!("{name}-{number}"));
            let (resumed, again) = train(&spec, &Inputs { resume_from: Some(resumable.clone()), ..inputs });
            assert!(fs::read(&whole).unwrap() == fs::read(resumed).unwrap(), "{name} from {number}");
            assert_eq!(again.notes.epochs, *epochs, "{name} from {number}");
        }
    }
}

#[test]
fn a_third_of_the_recipes_train_and_resume_bit_for_bit() {
    assert_trains_and_resumes(0);
}

#[test]
fn another_third_of_the_recipes_train_and_resume_bit_for_bit() {
    assert_trains_and_resumes(1);
}

#[test]
fn the_last_third_of_the_recipes_train_and_resume_bit_for_bit() {
    assert_trains_and_resumes(2);
}

/// Names of the tensors that a training changed.
fn moved(bench: &Bench, name: &str, recipe: &Recipe) -> Vec<String> {
    let spec = spec(bench, recipe);
    let (tasks, files) = ([].into(), [].into());
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let before = starting_weights(&spec.model, &spec.weights, spec.seed, checkpoints, Device::Cpu).unwrap();
    let bytes = fs::read(train(&spec, &bench.inputs_for(name)).0).unwrap();
    let after = SafeTensors::deserialize(&bytes).unwrap();
    let changed = before.tensors().iter().filter(|(name, tensor)| {
        let bytes: Vec<u8> = support::floats(tensor).into_iter().flat_map(f32::to_le_bytes).collect();
        after.tensor(name).unwrap().data() != bytes
    });
    changed.map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_linear_probe_moves_the_head_alone_and_no_statistics() {
    let bench = Bench::new(32);
    let recipes = recipes();
    for name in ["linear-probe", "adversarial-probe"] {
        let recipe = &recipes.iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!(moved(&bench, name, recipe), ["fc.bias", "fc.weight"], "{name}");
    }
}

#[test]
fn frozen_stages_and_their_statistics_stay_bit_for_bit_and_everything_else_moves() {
    let bench = Bench::new(32);
    let all = moved(&bench, "all", &recipe(Objective::Standard));
    let objectives = [
        Objective::Standard,
        Objective::FastAt { inner: one_step() },
        Objective::Trades { beta: 6.0, inner: inner(Start::Gaussian) },
        Objective::Dm { coefficient: 10.0, inner: inner(Start::Gaussian) },
    ];
    for objective in objectives {
        let name = objective.name();
        let moved = moved(&bench, name, &Recipe { frozen: Frozen::Stages(2), ..recipe(objective) });
        let frozen = |name: &str| ["conv1.", "bn1.", "layer1."].iter().any(|prefix| name.starts_with(prefix));
        let rest: Vec<String> = all.iter().filter(|name| !frozen(name)).cloned().collect();
        assert!(rest.len() + 20 <= all.len(), "the first two stages have twenty tensors and more");
        assert_eq!(moved, rest, "{name}");
    }
}

/// Those that a step of no length leaves as they are: biases start at zero, where no step is too short.
fn weights(moved: &[String]) -> Vec<&str> {
    moved.iter().map(String::as_str).filter(|name| name.ends_with("weight")).collect()
}

#[test]
fn a_head_that_comes_first_leaves_the_backbone_alone_until_its_phase_is_over() {
    let bench = Bench::new(32);
    let first = HeadFirst { length: Length::Epochs(3), learning_rate: 0.1, objective: Objective::Standard };
    let mut recipe = Recipe { head_first: Some(first), ..Bench::recipe(Objective::Standard, Length::Iterations(1)) };
    // A rate that moves nothing: what moved, moved in the first phase.
    recipe.optimizer = Optimizer::Sgd { learning_rate: 1e-30, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let moved = moved(&bench, "head-first", &recipe);
    assert_eq!(weights(&moved), ["fc.weight"]);
    assert!(moved.contains(&"bn1.running_mean".to_owned()), "the statistics move in the second phase");
}

#[test]
fn the_head_and_the_backbone_have_learning_rates_of_their_own() {
    let bench = Bench::new(32);
    let still = Optimizer::Sgd { learning_rate: 1e-30, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let head = Recipe { optimizer: still, head_learning_rate: Some(0.1), ..recipe(Objective::Standard) };
    assert_eq!(weights(&moved(&bench, "head", &head)), ["fc.weight"]);
    let backbone = Recipe { head_learning_rate: Some(1e-30), ..recipe(Objective::Standard) };
    let moved = moved(&bench, "backbone", &backbone);
    let moved = weights(&moved);
    assert!(!moved.contains(&"fc.weight") && moved.contains(&"conv1.weight"), "{moved:?}");
}

#[test]
fn without_epsilon_an_adversarial_step_is_one_of_standard_training() {
    let bench = Bench::new(32);
    let never = EpsilonSchedule::Ramp { zero: 1.0, ramp: 0.0 };
    let bytes =
        |name: &str, recipe: &Recipe| fs::read(train(&spec(&bench, recipe), &bench.inputs_for(name)).0).unwrap();
    let standard = bytes("standard", &recipe(Objective::Standard));
    let objectives = [
        Objective::PgdAt { inner: inner(Start::Uniform) },
        Objective::FastAt { inner: one_step() },
        Objective::FreeAt { eps: 0.1, step_size: 0.1, replays: 1 },
        Objective::Trades { beta: 6.0, inner: inner(Start::Gaussian) },
        Objective::Mart { lambda: 5.0, inner: inner(Start::Gaussian) },
        Objective::Dm { coefficient: 10.0, inner: inner(Start::Gaussian) },
    ];
    for objective in objectives {
        let name = objective.name();
        let found = bytes(name, &Recipe { epsilon_schedule: never, ..recipe(objective) });
        assert!(found == standard, "{name}");
    }
}
