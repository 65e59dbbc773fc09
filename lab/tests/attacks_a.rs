//! Gradient attacks with momentum, with an adaptive pace, and ensembles of attacks.
//!
//! `cargo test -p gauntlet-lab --test attacks_a -- --nocapture` prints the largest differences from the references. The climbs of APGD are compared
//! with the published ones inside the crate, where they can be watched.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{
    ApgdLoss, AttackConfig, AttackMethod, AutoAttackVersion, Backbone, Norm, TargetClass,
};
use gauntlet_lab::attacks::{Aids, Ball, Evaluated, Evaluation, evaluate, lengths};
use gauntlet_lab::models::Model;
use gauntlet_lab::random::{Purpose, Stream};
use gauntlet_lab::{Examples, LabError};
use proptest::prelude::*;
use support::trained::{EXAMPLES, examples, model};
use support::{Golden, floats, formula_examples, formula_model};
use tch::{Kind, Tensor};

const GOLDEN_EPS: f64 = 4.0 / 255.0;
const GOLDEN_STEP: f64 = 1.0 / 255.0;

fn evaluation<'a>(model: &'a Model, examples: &'a Examples, attack: &'a AttackConfig) -> Evaluation<'a> {
    // The examples are few: threads would wait for each other.
    tch::set_num_threads(1);
    Evaluation { model, examples, attack, aids: Aids::default(), seed: 5, batch_size: 64, keep_images: true }
}

fn config(method: AttackMethod, norm: Norm, eps: f64) -> AttackConfig {
    AttackConfig { method, norm, eps: Some(eps), target: None, early_stop: true, stop_at_interval: None }
}

/// An attack on the model that was trained for a moment, whose output must obey the rules.
fn attacked(attack: &AttackConfig, batch_size: usize) -> Evaluated {
    let (model, examples) = (model(), examples());
    let evaluated = evaluate(&Evaluation { batch_size, ..evaluation(&model, &examples, attack) }, &mut |_| ()).unwrap();
    evaluated.result.outcomes.check(EXAMPLES).unwrap();
    let images = evaluated.images.as_ref().unwrap();
    let change = lengths(&(images - examples.range(0, EXAMPLES).unwrap().pixels), attack.norm).unwrap();
    assert!(floats(&change).iter().all(|length| f64::from(*length) <= attack.eps.unwrap() * (1.0 + 1e-5)));
    assert!(images.min().double_value(&[]) >= 0.0 && images.max().double_value(&[]) <= 1.0);
    evaluated
}

fn robust(attack: &AttackConfig) -> usize {
    attacked(attack, 64).result.outcomes.robust_correct()
}

/// A radius at which gradient attacks fool some examples and not all.
fn radius(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 20.0 / 255.0,
        Norm::L2 => 1.6,
        Norm::L1 => 40.0,
    }
}

fn mi(steps: u32, step_size: f64, decay: f64) -> AttackMethod {
    AttackMethod::MiFgsm { steps, step_size, decay }
}

fn di(steps: u32, step_size: f64, resize_rate: f64, diversity_probability: f64) -> AttackMethod {
    AttackMethod::DiFgsm { steps, step_size, decay: 0.8, resize_rate, diversity_probability, random_start: false }
}

fn pgd(steps: u32, step_size: f64) -> AttackMethod {
    AttackMethod::Pgd { steps, step_size, random_start: false, restarts: 1 }
}

fn apgd(loss: ApgdLoss, steps: u32) -> AttackMethod {
    AttackMethod::Apgd { loss, steps, restarts: 1, rho: 0.75, target_classes: 9 }
}

fn golden_attacked(golden: &Golden, images: &str, labels: &str, attack: &AttackConfig) -> Evaluated {
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let examples = formula_examples(images, golden.classes(labels), 10);
    evaluate(&evaluation(&model, &examples, attack), &mut |_| ()).unwrap()
}

#[test]
fn adversarial_images_equal_the_references_step_by_step() {
    let golden = Golden::read("attacks_a");
    let linf = |method| AttackConfig { early_stop: false, ..config(method, Norm::Linf, GOLDEN_EPS) };
    let least_likely = |method| AttackConfig { target: Some(TargetClass::LeastLikely), ..linf(method) };
    for steps in [1, 2, 3] {
        let cases = [
            ("mi", linf(mi(steps, GOLDEN_STEP, 0.8))),
            ("di", linf(di(steps, GOLDEN_STEP, 31.0 / 32.0, 1.0))),
            ("mi.least-likely", least_likely(mi(steps, GOLDEN_STEP, 0.8))),
            ("pgd.least-likely", least_likely(pgd(steps, GOLDEN_STEP))),
            ("pgd.l1", AttackConfig { early_stop: false, ..config(pgd(steps, 2.0), Norm::L1, 100.0) }),
        ];
        for (name, attack) in cases {
            let images = golden_attacked(&golden, "attack.pixels", "few.labels", &attack).images.unwrap();
            let differences = (images - golden.get(&format!("{name}.{steps}"))).abs();
            let largest = differences.max().double_value(&[]);
            // Where a gradient is as good as zero its sign is rounding, and the pixel may go the other way.
            let other = differences.gt(1e-5).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            println!("{name}.{steps}: largest difference {largest:.1e}, share of other pixels {other:.5}");
            assert!(other <= 0.001, "{name}.{steps}: {other} of the pixels differ");
        }
    }
}

#[test]
fn after_ten_steps_with_momentum_the_same_examples_are_fooled_as_by_torchattacks() {
    let golden = Golden::read("attacks_a");
    let attack = AttackConfig { early_stop: false, ..config(mi(10, GOLDEN_STEP, 1.0), Norm::Linf, GOLDEN_EPS) };
    let outcomes = golden_attacked(&golden, "attack.many", "many.labels", &attack).result.outcomes;
    let theirs = golden.classes("many.mi.predictions");
    let same = outcomes.adversarial_prediction.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    println!("mi: {same} of {} predictions equal, {} right", theirs.len(), outcomes.robust_correct());
    assert!(same * 1000 >= theirs.len() * 995, "only {same} predictions are equal");
}

#[test]
fn outcomes_do_not_depend_on_the_size_of_the_batches() {
    let methods = [di(5, 0.02, 0.8, 0.7), apgd(ApgdLoss::Ce, 8), apgd(ApgdLoss::Dlr, 8)];
    for (method, norm) in methods.into_iter().zip([Norm::Linf, Norm::L2, Norm::L1]) {
        for early_stop in [true, false] {
            let attack = AttackConfig { early_stop, ..config(method.clone(), norm, radius(norm)) };
            let whole = attacked(&attack, EXAMPLES).result;
            for batch_size in [7, 64] {
                let parts = attacked(&attack, batch_size).result;
                assert_eq!(parts.outcomes.adversarial_prediction, whole.outcomes.adversarial_prediction);
                assert_eq!(parts.model_queries, whole.model_queries);
            }
        }
    }
}

#[test]
fn an_adaptive_pace_fools_no_fewer_than_a_fixed_one() {
    for norm in Norm::ALL {
        let eps = radius(norm);
        let fixed = robust(&config(pgd(10, eps / 4.0), norm, eps));
        let ce = robust(&config(apgd(ApgdLoss::Ce, 10), norm, eps));
        println!("{norm}: {fixed} survive pgd, {ce} apgd, of {EXAMPLES}");
        assert!(ce <= fixed, "{norm}: {fixed} survive pgd, {ce} apgd");
    }
}

#[test]
fn a_targeted_loss_tries_one_wrong_class_after_the_other() {
    let golden = Golden::read("attacks_a");
    let attack = |target_classes| {
        let method =
            AttackMethod::Apgd { loss: ApgdLoss::DlrTargeted, steps: 4, restarts: 1, rho: 0.75, target_classes };
        config(method, Norm::Linf, 2.0 / 255.0)
    };
    let [one, three, ten, many] =
        [1, 3, 9, 20].map(|classes| golden_attacked(&golden, "attack.pixels", "few.labels", &attack(classes)).result);
    assert!(one.outcomes.robust_correct() >= three.outcomes.robust_correct());
    assert!(one.outcomes.robust_correct() > 0, "nobody is left to lead to a second class");
    assert!(one.model_queries < three.model_queries);
    // The model has nine wrong classes.
    assert_eq!(ten, many);
}

#[test]
fn an_ensemble_goes_on_where_its_first_part_fails() {
    let labels = Golden::read("attacks_a").classes("many.labels")[..40].to_vec();
    let examples = formula_examples("attack.many", labels, 10);
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    // The published code leaves three of these to its first part, and none to its second.
    let run = |method| {
        let attack = config(method, Norm::Linf, 6.0 / 255.0);
        evaluate(&evaluation(&model, &examples, &attack), &mut |_| ()).unwrap().result
    };
    let first = run(apgd(ApgdLoss::Ce, 100));
    let whole = run(AttackMethod::AutoAttack { version: AutoAttackVersion::Standard });
    let (left, survivors) = (first.outcomes.robust_correct(), whole.outcomes.robust_correct());
    println!("{left} survive apgd-ce, {survivors} autoattack");
    assert!(left > 0 && survivors < left, "{left} survive apgd-ce, {survivors} autoattack");
    assert!(whole.model_queries > first.model_queries);
    // Nothing has changed for whom the first part fooled.
    for (row, after) in first.outcomes.adversarial_prediction.iter().enumerate() {
        let fooled = *after != first.outcomes.label[row];
        assert!(!fooled || whole.outcomes.adversarial_prediction[row] == *after);
    }
}

#[test]
fn losses_that_compare_more_classes_than_there_are_or_lead_elsewhere_are_refused() {
    let (model, examples) = (model(), examples());
    let problem = |attack: &AttackConfig| -> String {
        let refused = evaluate(&evaluation(&model, &examples, attack), &mut |_| ());
        match refused {
            Err(error @ LabError::Spec(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let targeted = config(apgd(ApgdLoss::DlrTargeted, 4), Norm::Linf, 0.1);
    assert!(problem(&targeted).contains("the targeted DLR loss needs at least 4 classes, the model has 3"));
    let led = AttackConfig { target: Some(TargetClass::RunnerUp), ..config(apgd(ApgdLoss::Dlr, 4), Norm::Linf, 0.1) };
    assert!(problem(&led).contains("cannot be led to a class"));
}

#[test]
fn all_steps_find_those_that_some_step_fools() {
    for norm in Norm::ALL {
        let early = config(apgd(ApgdLoss::Ce, 10), norm, radius(norm));
        let [stopped, full] =
            [true, false].map(|early_stop| attacked(&AttackConfig { early_stop, ..early.clone() }, 64).result);
        assert_eq!(stopped.outcomes.robust_correct(), full.outcomes.robust_correct(), "{norm}");
        assert!(stopped.model_queries < full.model_queries);
        let right = full.outcomes.clean_correct() as u64;
        // The start and every step of a phase but its last ask for a gradient; the last step and the judgement do not.
        let passes = if norm == Norm::L1 { 3 * (2 + 2 * 2 + 1) + 1 + 2 } else { 2 + 9 * 2 + 1 + 1 };
        assert_eq!(full.model_queries, passes * right, "{norm}");
    }
}

#[test]
fn examples_whose_first_gradient_is_zero_everywhere_are_counted_once() {
    let model = model();
    let attack = AttackMethod::Pgd { steps: 2, step_size: 0.01, random_start: true, restarts: 2 };
    let attack = AttackConfig { early_stop: false, ..config(attack, Norm::Linf, 0.01) };
    let examples = examples();
    let evaluation = Evaluation { batch_size: 40, ..evaluation(&model, &examples, &attack) };
    assert_eq!(evaluate(&evaluation, &mut |_| ()).unwrap().result.zero_gradient_examples, 0);
    // Logits so far apart that the cross-entropy is 0 in f32, and so is its gradient.
    let _scaled = tch::no_grad(|| model.parameters().tensors()["fc.weight"].shallow_clone().g_mul_scalar_(1e6));
    let masked = evaluate(&evaluation, &mut |_| ()).unwrap().result;
    let right = masked.outcomes.clean_correct() as u64;
    assert!(right > 30 && masked.zero_gradient_examples == right, "{} of {right}", masked.zero_gradient_examples);
}

proptest! {
    #[test]
    fn apgd_brings_points_back_to_the_nearest_one_in_the_l1_ball_and_the_box(
        eps in 1e-3..30.0f64, reach in 1e-3..3.0f32, seed in any::<u64>(),
    ) {
        let mut stream = Stream::new(seed, Purpose::Shuffle { epoch: 0 });
        let originals: Vec<f32> = (0..40).map(|_| stream.unit()).collect();
        let changes: Vec<f32> = (0..40).map(|_| stream.symmetric(reach)).collect();
        let [x, change] = [&originals, &changes].map(|values| Tensor::from_slice(values).view([1, 1, 5, 8]));
        let found = floats(&Ball { norm: Norm::L1, eps }.bound_for_apgd(&(&x + change), &x).unwrap());
        // Lagrange: each value keeps what exceeds a common threshold, as far as the box allows; the threshold is found by bisection.
        let kept = |threshold: f64| -> Vec<f64> {
            let room = |(x, change): (&f32, &f32)| f64::from(if *change > 0.0 { 1.0 - x } else { *x });
            let pairs = originals.iter().zip(&changes);
            pairs.map(|pair| (f64::from(pair.1.abs()) - threshold).clamp(0.0, room(pair))).collect()
        };
        let (mut low, mut high) = (0.0, f64::from(reach));
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if kept(middle).iter().sum::<f64>() > eps { low = middle } else { high = middle }
        }
        let threshold = if kept(0.0).iter().sum::<f64>() > eps { high } else { 0.0 };
        for (row, kept) in kept(threshold).into_iter().enumerate() {
            let nearest = f64::from(originals[row]) + kept * f64::from(changes[row].signum());
            prop_assert!((f64::from(found[row]) - nearest).abs() < 1e-5, "{} {nearest}", found[row]);
        }
    }
}
