//! Agreement with PyTorch, torchvision and torchattacks, on values that `reference/make_golden.py` computed with them.
//!
//! `cargo test -p gauntlet-lab --test golden -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, Backbone, Frozen, InnerAttack, Norm, Objective, Optimizer, Start,
};
use gauntlet_lab::attacks::{Aids, Evaluated, Evaluation, evaluate};
use gauntlet_lab::models::{Mode, Model};
use gauntlet_lab::training::{Branch, Draws, Learner, OptimizerState, Target, craft, losses};
use support::{
    Golden, floats, formula_examples, formula_model, formula_pixels, model_spec, pattern, relative_difference,
};
use tch::{Device, Kind, Tensor};

fn require_gradients(model: &Model) {
    for (_, parameter) in model.parameters().trainable() {
        let _same_tensor = parameter.set_requires_grad(true);
    }
}

fn parameter(model: &Model, name: &str) -> Tensor {
    model.parameters().tensors()[name].shallow_clone()
}

/// Logits, features, gradients and running statistics of a formula-filled model, in both modes.
fn assert_agrees_with_torchvision(case: &str, backbone: Backbone, size: [i64; 4]) {
    let golden = Golden::read("models");
    let labels = Tensor::arange(size[0], (Kind::Int64, tch::Device::Cpu)).remainder(10);
    for (mode, name) in [(Mode::Eval, "eval"), (Mode::TRAIN, "train")] {
        let model = formula_model(backbone, size[1] as u32, 10);
        require_gradients(&model);
        let pixels = formula_pixels(&format!("{case}.pixels"), &size).set_requires_grad(true);
        let output = model.forward(&pixels, mode).unwrap();
        let loss = output.logits.cross_entropy_for_logits(&labels);
        let by = ["conv1.weight", "bn1.weight", "fc.weight"].map(|name| parameter(&model, name));
        let gradients = Tensor::run_backward(&[loss], &[&pixels, &by[0], &by[1], &by[2]], false, false);
        let compared = [
            ("logits", &output.logits, 1e-4),
            ("features", &output.features, 1e-4),
            ("input_gradient", &gradients[0], 1e-3),
            ("conv1_gradient", &gradients[1], 1e-3),
            ("bn1_gradient", &gradients[2], 1e-3),
            ("fc_gradient", &gradients[3], 1e-3),
            ("running_var", &parameter(&model, "layer4.1.bn2.running_var"), 1e-4),
        ];
        for (quantity, found, tolerance) in compared {
            let difference = relative_difference(found, golden.get(&format!("{case}.{name}.{quantity}")));
            println!("{case} {name} {quantity}: {difference:.1e}");
            assert!(difference < tolerance, "{case} {name} {quantity} differs by {difference:e}");
        }
    }
}

#[test]
fn resnet18_gives_torchvisions_logits_and_gradients_at_32_pixels() {
    assert_agrees_with_torchvision("resnet18.32", Backbone::ResNet18, [8, 3, 32, 32]);
}

#[test]
fn resnet18_gives_torchvisions_logits_and_gradients_at_64_pixels() {
    assert_agrees_with_torchvision("resnet18.64", Backbone::ResNet18, [2, 3, 64, 64]);
}

#[test]
fn the_narrow_net_is_torchvisions_resnet_with_fewer_channels_and_a_small_stem() {
    assert_agrees_with_torchvision("resnet18-w16.32", Backbone::ResNet18W16, [8, 1, 32, 32]);
}

fn config(method: AttackMethod, norm: Norm) -> AttackConfig {
    let eps = if norm == Norm::Linf { 4.0 / 255.0 } else { 0.3 };
    AttackConfig { method, norm, eps: Some(eps), target: None, early_stop: false, stop_at_interval: None }
}

fn pgd(norm: Norm, steps: u32) -> AttackConfig {
    let step_size = if norm == Norm::Linf { 1.0 / 255.0 } else { 0.06 };
    config(AttackMethod::Pgd { steps, step_size, random_start: false, restarts: 1 }, norm)
}

fn attacked(golden: &Golden, images: &str, labels: &str, attack: &AttackConfig) -> Evaluated {
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let examples = formula_examples(images, golden.classes(labels), 10);
    let evaluation = Evaluation {
        model: &model,
        examples: &examples,
        attack,
        aids: Aids::default(),
        seed: 0,
        batch_size: 64,
        keep_images: true,
    };
    evaluate(&evaluation, &mut |_| ()).unwrap()
}

#[test]
fn adversarial_images_equal_torchattacks_step_by_step() {
    let golden = Golden::read("attacks");
    let mut cases = vec![("fgsm".to_owned(), config(AttackMethod::Fgsm, Norm::Linf))];
    cases.extend([1, 2, 3].map(|steps| (format!("pgd.linf.{steps}"), pgd(Norm::Linf, steps))));
    cases.extend([1, 2, 4].map(|steps| (format!("pgd.l2.{steps}"), pgd(Norm::L2, steps))));
    for (name, attack) in cases {
        let images = attacked(&golden, "attack.pixels", "few.labels", &attack).images.unwrap();
        let differences = (images - golden.get(&name)).abs();
        let largest = differences.max().double_value(&[]);
        // Where a gradient is as good as zero its sign is rounding, and the pixel may go the other way.
        let other = differences.gt(1e-5).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        println!("{name}: largest difference {largest:.1e}, share of other pixels {other:.5}");
        assert!(other <= 0.001, "{name}: {other} of the pixels differ");
        assert!(attack.norm == Norm::Linf || largest < 1e-5, "{name}: {largest:e}");
    }
}

#[test]
fn after_ten_steps_the_same_examples_are_fooled_as_by_torchattacks() {
    let golden = Golden::read("attacks");
    let cases = [
        ("fgsm", config(AttackMethod::Fgsm, Norm::Linf)),
        ("pgd.linf", pgd(Norm::Linf, 10)),
        ("pgd.l2", pgd(Norm::L2, 10)),
    ];
    for (name, attack) in cases {
        let outcomes = attacked(&golden, "attack.many", "many.labels", &attack).result.outcomes;
        assert_eq!(outcomes.clean_correct(), 256);
        let theirs = golden.classes(&format!("many.{name}.predictions"));
        let same = outcomes.adversarial_prediction.iter().zip(&theirs).filter(|(a, b)| a == b).count();
        let losses = floats(golden.get(&format!("many.{name}.losses")));
        let gap = outcomes.adversarial_loss.iter().zip(&losses).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let fooled = 256 - outcomes.robust_correct();
        println!("{name}: {same} of 256 predictions equal, {fooled} fooled, largest difference of losses {gap:.1e}");
        assert!(same >= 255, "{name}: only {same} of 256 predictions are equal");
    }
}

#[test]
fn inner_attacks_craft_what_pytorch_crafts() {
    let golden = Golden::read("objectives");
    let size = [16, 1, 32, 32];
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let spec = model_spec(Backbone::ResNet18W16, 1, 10);
    let learner = Learner::new(&model, &spec, &Objective::Standard, Frozen::NOTHING, size, Device::Cpu).unwrap();
    let pixels = formula_pixels("objective.pixels", &size);
    let labels = Tensor::arange(16, (Kind::Int64, tch::Device::Cpu)).remainder(10);
    let other = formula_pixels("objective.other", &size);
    let features = tch::no_grad(|| model.forward(&other, Mode::Eval)).unwrap().features;
    let attack =
        |steps| InnerAttack { norm: Norm::Linf, eps: 4.0 / 255.0, steps, step_size: 5.0 / 255.0, start: Start::Clean };
    let cases = [
        ("craft.features", Target::Features(&features), attack(1)),
        ("craft.cross_entropy", Target::CrossEntropy(&labels), attack(2)),
    ];
    for (name, target, attack) in cases {
        let draws = Draws { seed: 0, iteration: 0, examples: &(0..16).collect::<Vec<_>>() };
        let route = learner.route(Branch::Own, Mode::Eval).unwrap();
        let crafted = craft(&route, &pixels, &target, &attack, &draws).unwrap().narrow(0, 0, 4);
        let other = (crafted - golden.get(name)).abs().gt(1e-5).to_kind(Kind::Double).mean(Kind::Double);
        let other = other.double_value(&[]);
        println!("{name}: share of other pixels {other:.5}");
        assert!(other <= 0.001, "{name}: {other} of the pixels differ");
    }
}

#[test]
fn the_discrepancy_loss_and_its_gradients_equal_pytorchs() {
    let golden = Golden::read("objectives");
    let size = [16, 1, 32, 32];
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    require_gradients(&model);
    let pixels = formula_pixels("objective.pixels", &size);
    let other = formula_pixels("objective.other", &size);
    let noisy = (&pixels + (other - 0.5) * 0.05).clamp(0.0, 1.0);
    let labels = Tensor::arange(16, (Kind::Int64, tch::Device::Cpu)).remainder(10);
    let both = model.forward(&Tensor::cat(&[pixels, noisy], 0), Mode::TRAIN).unwrap();
    let [clean, perturbed] = [0, 16].map(|first| both.features.narrow(0, first, 16));
    let logits = both.logits.narrow(0, 0, 16);
    let loss = losses::discrepancy(&logits, [&clean, &perturbed], &labels, 10.0, 0.0).unwrap();
    let by = ["conv1.weight", "layer4.1.bn2.weight", "fc.weight"].map(|name| parameter(&model, name));
    let gradients = Tensor::run_backward(&[&loss], &by, false, false);
    let compared = [
        ("dm.loss", &loss, 1e-5),
        ("dm.conv1_gradient", &gradients[0], 1e-3),
        ("dm.layer4_gradient", &gradients[1], 1e-3),
        ("dm.fc_gradient", &gradients[2], 1e-3),
    ];
    for (name, found, tolerance) in compared {
        let difference = relative_difference(found, golden.get(name));
        println!("{name}: {difference:.1e}");
        assert!(difference < tolerance, "{name} differs by {difference:e}");
    }
}

#[test]
fn five_steps_of_each_optimiser_equal_pytorchs() {
    let golden = Golden::read("optimizers");
    let sgd = |momentum, nesterov| Optimizer::Sgd { learning_rate: 0.1, momentum, nesterov, weight_decay: 5e-4 };
    let rules = [
        ("sgd", sgd(0.0, false)),
        ("momentum", sgd(0.9, false)),
        ("nesterov", sgd(0.9, true)),
        ("adam", Optimizer::Adam { learning_rate: 0.1, weight_decay: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8 }),
    ];
    let shapes: [(&str, &[i64]); 2] = [("first", &[5, 3]), ("second", &[7])];
    let values = |name: &str, shape: &[i64]| {
        Tensor::from_slice(&pattern(name, shape.iter().product::<i64>() as usize)).view(shape)
    };
    for (rule, optimizer) in rules {
        let mut parameters = shapes.map(|(name, shape)| (name.to_owned(), values(name, shape)));
        let mut state = OptimizerState::new(&optimizer, true, &parameters).unwrap();
        for step in 0..5 {
            let gradients = shapes.map(|(name, shape)| values(&format!("{name}.{step}"), shape));
            state.step(&mut parameters, &gradients, &[0.1 / f64::from(step + 1); 2], step + 1).unwrap();
        }
        for (name, parameter) in &parameters {
            let difference = relative_difference(parameter, golden.get(&format!("{rule}.{name}")));
            println!("{rule} {name}: {difference:.1e}");
            assert!(difference < 1e-6, "{rule} {name} differs by {difference:e}");
        }
    }
}
