//! The minimum-norm attacks agree with Foolbox and torchattacks, on values that `reference/golden_attacks_b.py` computed with them.
//!
//! `cargo test -p gauntlet-lab --test attacks_b -- --nocapture` prints the differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, AttackResult, Backbone, Norm, Outcomes, TargetClass};
use gauntlet_lab::attacks::{Aids, Evaluated, Evaluation, evaluate};
use support::{Golden, floats, formula_examples, formula_model};

const FEW: &str = "attack.pixels";
const MANY: &str = "attack.many";
/// What the golden values say for "never fooled".
const FAR: f32 = 1e6;

fn config(method: AttackMethod, norm: Norm) -> AttackConfig {
    AttackConfig { method, norm, eps: None, target: None, early_stop: false }
}

fn deepfool(steps: u32, candidates: u32) -> AttackMethod {
    AttackMethod::DeepFool { steps, overshoot: 0.02, candidates }
}

fn cw(steps: u32, binary_search_steps: u32, initial_const: f64) -> AttackMethod {
    AttackMethod::Cw { confidence: 0.0, steps, learning_rate: 0.02, initial_const, binary_search_steps }
}

/// The first `count` formula images, labelled as the formula model labels them, under attack.
fn attacked(golden: &Golden, images: &str, count: usize, batch_size: usize, attack: &AttackConfig) -> Evaluated {
    // The tests run side by side already.
    tch::set_num_threads(1);
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let mut labels = golden.classes(if images == FEW { "few.labels" } else { "many.labels" });
    labels.truncate(count);
    let examples = formula_examples(images, labels, 10);
    let evaluation = Evaluation {
        model: &model,
        examples: &examples,
        attack,
        aids: Aids::default(),
        seed: 0,
        batch_size,
        keep_images: true,
    };
    evaluate(&evaluation, &mut |_| ()).unwrap()
}

fn assert_same_images(golden: &Golden, name: &str, attack: &AttackConfig, tolerance: f64) {
    let images = attacked(golden, FEW, 4, 64, attack).images.unwrap();
    let difference = (images - golden.get(name)).abs().max().double_value(&[]);
    println!("{name}: largest difference of pixels {difference:.1e}");
    assert!(difference < tolerance, "{name}: {difference:e}");
}

/// The same examples are fooled as by the reference, and the share of distances that are within a thousandth of its is at least `share`.
fn assert_same_distances(name: &str, outcomes: &Outcomes, golden: &Golden, share: f64) {
    let theirs = floats(golden.get(name));
    let count = theirs.len();
    assert_eq!(outcomes.examples(), count);
    let fooled = outcomes.label.iter().zip(&outcomes.adversarial_prediction).map(|(label, after)| label != after);
    let (mut agree, mut same, mut largest) = (0, 0, 0.0_f32);
    for ((fooled, ours), theirs) in fooled.zip(&outcomes.distance).zip(theirs) {
        agree += usize::from(fooled == (theirs < FAR));
        let difference = if fooled && theirs < FAR { ((ours - theirs) / theirs).abs() } else { 0.0 };
        same += usize::from(difference <= 1e-3);
        largest = largest.max(difference);
    }
    println!(
        "{name}: of {count}, {agree} flags and {same} distances are equal, largest relative difference {largest:.1e}"
    );
    assert!(agree as f64 >= 0.995 * count as f64, "{name}: only {agree} of {count} flags are equal");
    assert!(same as f64 >= share * count as f64, "{name}: only {same} of {count} distances are equal");
}

fn assert_same_attack(golden: &Golden, name: &str, attack: &AttackConfig, share: f64) -> AttackResult {
    let name = format!("{name}.distances");
    let count = golden.get(&name).size()[0] as usize;
    let result = attacked(golden, MANY, count, 64, attack).result;
    assert_same_distances(&name, &result.outcomes, golden, share);
    result
}

#[test]
fn deepfool_goes_foolboxs_way_step_by_step() {
    let golden = Golden::read("attacks_b");
    for (norm, name) in [(Norm::Linf, "linf"), (Norm::L2, "l2")] {
        for steps in 2..=4 {
            assert_same_images(&golden, &format!("deepfool.{name}.{steps}"), &config(deepfool(steps, 10), norm), 1e-5);
        }
        assert_same_attack(&golden, &format!("deepfool.{name}.short"), &config(deepfool(2, 10), norm), 0.99);
        assert_same_attack(&golden, &format!("deepfool.{name}"), &config(deepfool(20, 4), norm), 0.99);
    }
}

#[test]
fn carlini_wagner_goes_foolboxs_way_step_by_step() {
    let golden = Golden::read("attacks_b");
    for steps in [4, 6, 9] {
        assert_same_images(&golden, &format!("cw.{steps}"), &config(cw(steps, 1, 3.0), Norm::L2), 1e-5);
    }
    assert_same_attack(&golden, "cw.torchattacks", &config(cw(9, 1, 3.0), Norm::L2), 0.99);
}

#[test]
fn carlini_wagner_searches_its_constants_as_foolbox_does() {
    let golden = Golden::read("attacks_b");
    assert_same_attack(&golden, "cw", &config(cw(25, 3, 0.3), Norm::L2), 0.99);
    let confident = AttackMethod::Cw {
        confidence: 0.2,
        steps: 25,
        learning_rate: 0.02,
        initial_const: 1.0,
        binary_search_steps: 2,
    };
    assert_same_attack(&golden, "cw.confident", &config(confident, Norm::L2), 0.99);
    let targeted = AttackConfig { target: Some(TargetClass::RunnerUp), ..config(cw(25, 2, 1.0), Norm::L2) };
    assert_same_attack(&golden, "cw.targeted", &targeted, 0.99);
}

#[test]
fn carlini_wagner_gives_up_on_an_example_where_foolbox_gives_up_on_a_batch_of_one() {
    let golden = Golden::read("attacks_b");
    let method = |learning_rate| AttackMethod::Cw {
        confidence: 0.0,
        steps: 40,
        learning_rate,
        initial_const: 0.1,
        binary_search_steps: 4,
    };
    let patient = config(method(0.1), Norm::L2);
    let hasty = AttackConfig { early_stop: true, ..patient.clone() };
    let gave_up = assert_same_attack(&golden, "cw.abort", &hasty, 0.99);
    let went_on = attacked(&golden, MANY, 16, 64, &patient).result;
    assert!(gave_up.model_queries < went_on.model_queries);
}

fn fab(targeted: bool, steps: u32, restarts: u32) -> AttackMethod {
    AttackMethod::Fab { targeted, steps, restarts, target_classes: 3, alpha_max: 0.1, beta: 0.9, eta: 1.05 }
}

#[test]
fn fab_goes_the_published_way_step_by_step() {
    let golden = Golden::read("attacks_b");
    for (norm, name, steps) in
        [(Norm::Linf, "linf", [2, 3, 5]), (Norm::L2, "l2", [2, 3, 5]), (Norm::L1, "l1", [3, 5, 8])]
    {
        for steps in steps {
            let name = format!("fab.{name}.{steps}");
            assert_same_images(&golden, &name, &config(fab(false, steps, 1), norm), 1e-4);
        }
    }
}

#[test]
fn fab_finds_what_the_published_code_finds() {
    let golden = Golden::read("attacks_b");
    for norm in Norm::ALL {
        // A ball that holds everything leaves out the final search, which the published code of AutoAttack has not.
        let everything = |method| AttackConfig { eps: Some(1e4), ..config(method, norm) };
        assert_same_attack(&golden, &format!("fab.{norm}.searched"), &config(fab(false, 8, 1), norm), 0.99);
        assert_same_attack(&golden, &format!("fab.{norm}.targeted"), &config(fab(true, 8, 1), norm), 0.99);
        assert_same_attack(&golden, &format!("fab.{norm}"), &everything(fab(false, 8, 1)), 0.99);
    }
}
