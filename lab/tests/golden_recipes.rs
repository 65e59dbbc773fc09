//! Agreement of the recipes with PyTorch, on values that `reference/golden_recipes.py` computed from the published formulas.
//!
//! `cargo test -p gauntlet-lab --test golden_recipes -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{Backbone, EpsilonSchedule, Frozen, InnerAttack, Norm, Objective, Start};
use gauntlet_lab::Batch;
use gauntlet_lab::models::{Mode, Model};
use gauntlet_lab::training::{Branch, Draws, Learner, Step, Target, craft, losses};
use support::{Golden, floats, formula_model, formula_pixels, model_spec, pattern, relative_difference};
use tch::{Device, Kind, Tensor};

const SIZE: [i64; 4] = [16, 1, 32, 32];
const EXAMPLES: [i64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const EPS: f64 = 4.0 / 255.0;

fn model() -> Model {
    formula_model(Backbone::ResNet18W16, 1, 10)
}

fn learner<'a>(model: &'a Model, objective: &Objective) -> Learner<'a> {
    let spec = model_spec(Backbone::ResNet18W16, 1, 10);
    Learner::new(model, &spec, objective, Frozen::NOTHING, SIZE, Device::Cpu).unwrap()
}

fn step<'a>(learner: &'a Learner<'a>, objective: &'a Objective) -> Step<'a> {
    let draws = Draws { seed: 0, iteration: 0, examples: &EXAMPLES };
    Step {
        learner,
        objective,
        label_smoothing: 0.0,
        dropout: true,
        batch_norm_momentum: None,
        strength: 1.0,
        draws,
        first_row: 0,
    }
}

fn inner(steps: u32) -> InnerAttack {
    InnerAttack { norm: Norm::Linf, eps: EPS, steps, step_size: 5.0 / 255.0, start: Start::Clean }
}

fn labels() -> Tensor {
    Tensor::arange(16, (Kind::Int64, Device::Cpu)).remainder(10)
}

fn batch() -> Batch {
    Batch { pixels: formula_pixels("objective.pixels", &SIZE), labels: labels() }
}

fn fixed(name: &str, size: [i64; 2], scale: f64) -> Tensor {
    let values = pattern(name, (size[0] * size[1]) as usize);
    (Tensor::from_slice(&values).view(size) * scale).set_requires_grad(true)
}

fn assert_close(golden: &Golden, name: &str, found: &Tensor, tolerance: f64) {
    let difference = relative_difference(found, golden.get(name));
    println!("{name}: {difference:.1e}");
    assert!(difference < tolerance, "{name} differs by {difference:e}");
}

/// At most one pixel in a thousand may differ: where a gradient is as good as zero its sign is rounding.
fn assert_same_pixels(golden: &Golden, name: &str, found: &Tensor) {
    let first = found.narrow(0, 0, 4);
    let other = (first - golden.get(name)).abs().gt(1e-5).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    println!("{name}: share of other pixels {other:.5}");
    assert!(other <= 0.001, "{name}: {other} of the pixels differ");
}

#[test]
fn losses_and_their_gradients_equal_the_published_formulas() {
    let golden = Golden::read("recipes");
    let logits = ["clean", "adversarial", "again"].map(|part| fixed(&format!("logits.{part}"), [16, 10], 4.0));
    let features = ["clean", "perturbed"].map(|part| fixed(&format!("features.{part}"), [16, 8], 1.0));
    let ([clean, adversarial, again], y) = (logits.each_ref(), labels());
    let cases = [
        ("trades", losses::trades([clean, adversarial, again], &y, 6.0, 0.0), vec![clean, adversarial, again]),
        ("mart", losses::mart([clean, adversarial], &y, 5.0, 0.0), vec![clean, adversarial]),
        (
            "dm",
            losses::discrepancy(clean, [&features[0], &features[1]], &y, 10.0, 0.0),
            vec![clean, &features[0], &features[1]],
        ),
        ("smoothed", losses::cross_entropy(clean, &y, 0.1), vec![clean]),
    ];
    for (name, loss, inputs) in cases {
        let loss = loss.unwrap();
        assert_close(&golden, &format!("{name}.loss"), &loss, 1e-6);
        for (number, gradient) in Tensor::run_backward(&[loss], &inputs, false, false).iter().enumerate() {
            assert_close(&golden, &format!("{name}.gradient.{number}"), gradient, 1e-5);
        }
    }
}

#[test]
fn steps_of_trades_and_mart_pass_through_the_network_as_published() {
    let golden = Golden::read("recipes");
    let Batch { pixels, labels } = batch();
    let other = formula_pixels("objective.other", &SIZE);
    let noisy = (&pixels + (other - 0.5) * 0.05).clamp(0.0, 1.0);
    for objective in
        [Objective::Trades { beta: 6.0, inner: inner(1) }, Objective::Mart { lambda: 5.0, inner: inner(1) }]
    {
        let (name, model) = (objective.name(), model());
        let learner = learner(&model, &objective);
        let step = step(&learner, &objective);
        // What the step shows, with the golden script's perturbation in the place of its own.
        let shown = step.show(&Batch { pixels: pixels.shallow_clone(), labels: labels.shallow_clone() }).unwrap();
        let outputs = shown.passes.iter().map(|pass| {
            let shown = if pass.pixels == pixels { &pixels } else { &noisy };
            learner.forward(shown, pass.branch, pass.mode).unwrap()
        });
        let (loss, _) = step.loss_of(&outputs.collect::<Vec<_>>(), &labels).unwrap();
        let by = ["conv1.weight", "layer4.1.bn2.weight", "fc.weight"];
        let by = by.map(|name| model.parameters().tensors()[name].shallow_clone());
        let gradients = Tensor::run_backward(&[&loss], &by, false, false);
        assert_close(&golden, &format!("{name}.step.loss"), &loss, 1e-5);
        for (part, gradient) in ["conv1", "layer4", "fc"].iter().zip(&gradients) {
            assert_close(&golden, &format!("{name}.step.{part}_gradient"), gradient, 1e-3);
        }
        let statistics = &model.parameters().tensors()["layer4.1.bn2.running_var"];
        assert_close(&golden, &format!("{name}.step.running_var"), statistics, 1e-4);
    }
}

#[test]
fn first_steps_of_inner_attacks_equal_pytorchs() {
    let golden = Golden::read("recipes");
    let draws = Draws { seed: 0, iteration: 0, examples: &EXAMPLES };
    let Batch { pixels, labels } = batch();
    let model = model();
    let learner = learner(&model, &Objective::Standard);
    let other = formula_pixels("objective.other", &SIZE);
    let away = tch::no_grad(|| learner.forward(&other, Branch::Own, Mode::Eval)).unwrap().logits;
    let away = away.softmax(1, Kind::Float);
    for steps in [1, 2] {
        let target = Target::Divergence(&away);
        let crafted =
            craft(&learner.route(Branch::Own, Mode::Eval).unwrap(), &pixels, &target, &inner(steps), &draws).unwrap();
        assert_same_pixels(&golden, &format!("craft.divergence.{steps}"), &crafted);
    }
    // fast-at crafts in train mode, and the statistics move meanwhile.
    let target = Target::CrossEntropy(&labels);
    let crafted =
        craft(&learner.route(Branch::Own, Mode::TRAIN).unwrap(), &pixels, &target, &inner(1), &draws).unwrap();
    assert_same_pixels(&golden, "craft.train_mode", &crafted);
    let statistics = &model.parameters().tensors()["layer4.1.bn2.running_var"];
    assert_close(&golden, "craft.train_mode.running_var", statistics, 1e-4);
}

#[test]
fn the_perturbation_of_free_at_moves_as_published() {
    let golden = Golden::read("recipes");
    let objective = Objective::FreeAt { eps: EPS, step_size: EPS, replays: 2 };
    let model = model();
    let learner = learner(&model, &objective);
    let step = step(&learner, &objective);
    for replay in [1, 2] {
        let found = step.loss(&batch()).unwrap();
        assert_close(&golden, &format!("free.loss.{replay}"), &found.loss, 1e-4);
        let leaf = found.leaf.unwrap();
        let gradients = Tensor::run_backward(&[found.loss], &[leaf], false, false);
        step.ascend(&gradients[0]).unwrap();
        assert_same_pixels(&golden, &format!("free.perturbation.{replay}"), &learner.carried()["perturbation"]);
    }
}

#[test]
fn twins_is_the_weighted_sum_of_two_networks_with_tied_convolutions() {
    let golden = Golden::read("recipes");
    let objective = Objective::Twins { lambda: 0.5, inner: inner(1) };
    let model = model();
    let learner = learner(&model, &objective);
    // Without perturbation the halves are the images themselves.
    let found = Step { strength: 0.0, ..step(&learner, &objective) }.loss(&batch()).unwrap();
    assert_close(&golden, "twins.loss", &found.loss, 1e-5);
    assert_eq!(found.logits.size(), [16, 10]);
    let trained = learner.trained();
    let by = ["conv1.weight", "fc.weight", "bn1.weight", "twin.bn1.weight"];
    let by = by.map(|wanted| trained.iter().find(|(name, _)| name == wanted).unwrap().1.shallow_clone());
    let gradients = Tensor::run_backward(&[found.loss], &by, false, false);
    for (name, gradient) in ["conv1", "fc", "bn1", "frozen_bn1"].iter().zip(&gradients) {
        assert_close(&golden, &format!("twins.{name}_gradient"), gradient, 1e-3);
    }
    let statistics = &model.parameters().tensors()["layer4.1.bn2.running_var"];
    assert_close(&golden, "twins.running_var", statistics, 1e-4);
    assert!(learner.carried()["twin.layer4.1.bn2.running_var"] != *statistics, "the twin's statistics moved");
}

#[test]
fn the_share_of_epsilon_follows_the_published_ramp() {
    let golden = Golden::read("recipes");
    for (name, zero, ramp) in [("paper", 0.25, 0.5), ("warmup", 0.0, 0.5), ("late", 0.75, 0.25)] {
        let schedule = EpsilonSchedule::Ramp { zero, ramp };
        let shares: Vec<f32> = (0..20).map(|step| schedule.share(step, 20) as f32).collect();
        assert_eq!(shares, floats(golden.get(&format!("schedule.{name}"))), "{name}");
    }
}

#[test]
fn every_pass_of_a_step_names_random_masks_of_its_own_unless_dropout_is_off() {
    let objective = Objective::Trades { beta: 6.0, inner: inner(1) };
    let model = model();
    let learner = learner(&model, &objective);
    let masks = |dropout, iteration| -> Vec<Option<(u64, u32)>> {
        let draws = Draws { seed: 7, iteration, examples: &EXAMPLES };
        let shown = Step { dropout, draws, ..step(&learner, &objective) }.show(&batch()).unwrap();
        let named = shown.passes.iter().map(|pass| match pass.mode {
            Mode::Train(train) => train.dropout.map(|dropout| (dropout.seed, dropout.iteration)),
            Mode::Eval => None,
        });
        named.collect()
    };
    let (first, second) = (masks(true, 0), masks(true, 1));
    let mut all = [first.clone(), second].concat();
    assert_eq!(first, masks(true, 0));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "two steps of three passes each");
    assert_eq!(masks(false, 0), [None; 3]);
}

#[test]
fn labels_are_smoothed_in_the_cross_entropy_of_a_step() {
    let model = model();
    let learner = learner(&model, &Objective::Standard);
    let found = Step { label_smoothing: 0.1, ..step(&learner, &Objective::Standard) }.loss(&batch()).unwrap();
    let smoothed = losses::cross_entropy(&found.logits, &labels(), 0.1).unwrap();
    let plain = losses::cross_entropy(&found.logits, &labels(), 0.0).unwrap();
    assert_eq!(found.loss.double_value(&[]), smoothed.double_value(&[]));
    assert_ne!(found.loss.double_value(&[]), plain.double_value(&[]));
}
