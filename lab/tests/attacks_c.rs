//! Attacks that need no gradient of the attacked model, that climb features, and that are crafted elsewhere.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackResult, DatasetSource, DatasetSpec, Fit, ImageShape, ModelSpec, Norm, OtherModel,
    Subset, UapMethod, Weights,
};
use gauntlet_lab::attacks::{Aids, Evaluation, evaluate, lengths};
use gauntlet_lab::models::{Checkpoints, Model, starting_weights};
use support::trained::{EXAMPLES, examples, model, spec};
use tch::{Device, Tensor};

fn config(method: AttackMethod, norm: Norm) -> AttackConfig {
    AttackConfig { method, norm, eps: Some(radius(norm)), target: None, early_stop: true, stop_at_interval: None }
}

fn radius(norm: Norm) -> f64 {
    if norm == Norm::Linf { 20.0 / 255.0 } else { 1.6 }
}

/// A larger ball, for the search without gradients.
fn wide(method: AttackMethod, norm: Norm) -> AttackConfig {
    let eps = if norm == Norm::Linf { 36.0 / 255.0 } else { 2.2 };
    AttackConfig { eps: Some(eps), ..config(method, norm) }
}

fn run(attack: &AttackConfig, aids: Aids<'_>, batch_size: usize) -> (AttackResult, Tensor) {
    let (model, examples) = (model(), examples());
    let evaluation =
        Evaluation { model: &model, examples: &examples, attack, aids, seed: 5, batch_size, keep_images: true };
    let evaluated = evaluate(&evaluation, &mut |_| ()).unwrap();
    evaluated.result.outcomes.check(EXAMPLES).unwrap();
    let images = evaluated.images.unwrap();
    let originals = examples.range(0, EXAMPLES).unwrap().pixels;
    let longest = lengths(&(&images - originals), attack.norm).unwrap().max().double_value(&[]);
    assert!(longest <= attack.eps.unwrap() * (1.0 + 1e-5), "{longest}");
    assert!(images.min().double_value(&[]) >= 0.0 && images.max().double_value(&[]) <= 1.0);
    (evaluated.result, images)
}

fn robust(attack: &AttackConfig, aids: Aids<'_>) -> usize {
    run(attack, aids, 64).0.outcomes.robust_correct()
}

fn square(queries: u32) -> AttackMethod {
    AttackMethod::Square { queries, p_init: 0.8, restarts: 1 }
}

fn noise() -> AttackMethod {
    AttackMethod::Noise { draws: 1 }
}

#[test]
fn squares_find_more_than_noise_and_the_more_the_longer_they_search() {
    for norm in [Norm::Linf, Norm::L2] {
        let [blind, short, long] =
            [noise(), square(10), square(100)].map(|method| robust(&wide(method, norm), Aids::default()));
        println!("{norm}: noise {blind}, 10 queries {short}, 100 queries {long} of {EXAMPLES}");
        assert!(blind >= short && short > long, "{norm}: {blind} {short} {long}");
    }
}

#[test]
fn a_search_by_squares_does_not_depend_on_the_size_of_the_batches() {
    for norm in [Norm::Linf, Norm::L2] {
        let attack = wide(square(20), norm);
        let (whole, _) = run(&attack, Aids::default(), EXAMPLES);
        let (parts, _) = run(&attack, Aids::default(), 17);
        assert_eq!(parts.outcomes.adversarial_prediction, whole.outcomes.adversarial_prediction);
        assert_eq!(parts.model_queries, whole.model_queries);
    }
}

#[test]
fn without_early_stopping_squares_fool_the_same_examples() {
    let early = wide(square(30), Norm::Linf);
    let full = AttackConfig { early_stop: false, ..early.clone() };
    let [early, full] = [early, full].map(|attack| run(&attack, Aids::default(), 64).0);
    assert_eq!(early.outcomes.adversarial_prediction, full.outcomes.adversarial_prediction);
    assert!(early.model_queries < full.model_queries);
}

#[test]
fn climbing_features_fools_more_than_noise() {
    let method = |steps| AttackMethod::Feature { steps, step_size: radius(Norm::Linf) / 4.0, restarts: 1 };
    let [blind, climbed] = [noise(), method(20)].map(|method| robust(&config(method, Norm::Linf), Aids::default()));
    println!("noise {blind}, features {climbed} of {EXAMPLES}");
    assert!(climbed < blind, "{climbed} {blind}");
}

fn crafted_on() -> Box<DatasetSpec> {
    Box::new(DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::SafeTensors { file: Digest::of(b"") },
        examples: EXAMPLES as u32,
        classes: 3,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Pad,
        frequencies: None,
    })
}

fn uap(by: UapMethod) -> AttackMethod {
    AttackMethod::Uap { crafted_on: crafted_on(), by, passes: 5, fooling_rate: 0.8 }
}

#[test]
fn one_perturbation_for_all_images_beats_noise_of_its_length() {
    one_perturbation_beats_noise(config, UapMethod::Gradient { step_size: radius(Norm::Linf) / 4.0, batch_size: 32 });
    one_perturbation_beats_noise(wide, UapMethod::DeepFool { steps: 10, overshoot: 0.02, candidates: 3 });
}

fn one_perturbation_beats_noise(within: fn(AttackMethod, Norm) -> AttackConfig, by: UapMethod) {
    let examples = examples();
    let aids = Aids { crafted_on: Some(&examples), ..Aids::default() };
    let blind = robust(&within(noise(), Norm::Linf), Aids::default());
    let (result, images) = run(&within(uap(by), Norm::Linf), aids, 64);
    let robust = result.outcomes.robust_correct();
    println!("noise {blind}, universal {robust} of {EXAMPLES}");
    assert!(robust < blind, "{robust} {blind}");
    // The same change of every attacked image, wherever it does not meet black or white.
    let changes = images - examples.range(0, EXAMPLES).unwrap().pixels;
    let [first, second] = [0, 1].map(|row| changes.select(0, row));
    let same = (first - second).abs().lt(1e-6).to_kind(tch::Kind::Double).mean(tch::Kind::Double);
    assert!(same.double_value(&[]) > 0.5, "{same}");
}

#[test]
fn an_attack_crafted_on_the_model_itself_is_the_attack_and_one_crafted_elsewhere_is_weaker() {
    let pgd = AttackMethod::Pgd { steps: 8, step_size: 5.0 / 255.0, random_start: true, restarts: 1 };
    let source = OtherModel { model: spec(), weights: Weights::Scratch };
    let transfer = AttackMethod::Transfer { source: Box::new(source), by: Box::new(pgd.clone()) };
    let direct = AttackConfig { early_stop: false, ..config(pgd, Norm::Linf) };
    let transferred = AttackConfig { early_stop: false, ..config(transfer, Norm::Linf) };
    let (own, stranger) = (model(), untrained(&spec()));
    let (direct, direct_images) = run(&direct, Aids::default(), 64);
    let (same, same_images) = run(&transferred, Aids { source: Some(&own), ..Aids::default() }, 64);
    assert_eq!(same.outcomes, direct.outcomes);
    assert_eq!(same_images, direct_images);
    let (elsewhere, _) = run(&transferred, Aids { source: Some(&stranger), ..Aids::default() }, 64);
    assert!(elsewhere.outcomes.robust_correct() > direct.outcomes.robust_correct());
    assert!(elsewhere.model_queries < direct.model_queries, "passes through the source are not the model's");
}

fn untrained(spec: &ModelSpec) -> Model {
    let (tasks, files) = ([].into(), [].into());
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let parameters = starting_weights(spec, &Weights::Scratch, 9, checkpoints, Device::Cpu).unwrap();
    Model::new(spec, parameters, Device::Cpu).unwrap()
}
