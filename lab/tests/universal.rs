//! Universal perturbations of two models beside each other: agreement with PyTorch, on values of `reference/golden_universal.py`, and what must hold of
//! every perturbation.
//!
//! `cargo test -p gauntlet-lab --test universal -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{Backbone, Norm, UapMethod};
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::universal::{Crafted, Recipe, universal};
use gauntlet_lab::attacks::{Ball, lengths};
use gauntlet_lab::models::Model;
use gauntlet_lab::random::{Purpose, Stream};
use gauntlet_lab::training::Wish;
use support::trained::{self, constant, shaken};
use support::{Golden, formula_examples, formula_model};
use tch::{Kind, Tensor};

const DEEPFOOL: UapMethod = UapMethod::DeepFool { steps: 10, overshoot: 0.02, candidates: 3 };
const BALL: Ball = Ball { norm: Norm::Linf, eps: 0.1 };

fn recipe(ball: Ball, by: &UapMethod) -> Recipe<'_> {
    Recipe { ball, by, passes: 3, fooling_rate: 1.0, craft_examples: None, seed: 0 }
}

fn gradient(ball: Ball) -> UapMethod {
    UapMethod::Gradient { step_size: ball.eps / 4.0, batch_size: 16 }
}

fn crafted(models: [&Model; 2], recipe: &Recipe<'_>, batch_size: usize) -> Crafted {
    universal(models, &trained::examples(), recipe, batch_size, &mut |_, _| Wish::GoOn).unwrap()
}

/// What the reference goes by where the lab draws.
const ORDERS: [[i64; 4]; 2] = [[1, 3, 0, 2], [1, 3, 0, 2]];

#[test]
fn perturbations_equal_those_of_pytorch() {
    let order = |pass| Stream::new(0, Purpose::UniversalOrder { pass }).permutation(4);
    assert_eq!([order(0), order(1)], ORDERS.map(Vec::from));
    let golden = Golden::read("universal");
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let examples = formula_examples("universal", vec![0; 5], 10);
    for (norm, eps) in [(Norm::Linf, 0.05), (Norm::L2, 1.0)] {
        let gradient = UapMethod::Gradient { step_size: eps / 2.0, batch_size: 4 };
        let deepfool = UapMethod::DeepFool { steps: 10, overshoot: 0.02, candidates: 10 };
        for (way, by) in [("deepfool", deepfool), ("gradient", gradient)] {
            let recipe = Recipe { passes: 2, craft_examples: Some(4), ..recipe(Ball { norm, eps }, &by) };
            let found = universal([&model, &model], &examples, &recipe, 5, &mut |_, _| Wish::GoOn).unwrap();
            let expected = golden.get(&format!("{way}.{norm}"));
            let difference = (&found.perturbations[0] - expected).abs();
            let [mean, most] = [difference.mean(Kind::Double), difference.max()].map(|it| it.double_value(&[]) / eps);
            println!("{way} {norm}: differs by {mean:.1e} of the radius in the mean, by {most:.1e} at most");
            assert!(mean < 1e-4, "{way} {norm} differs by {mean:e} of the radius");
        }
    }
}

#[test]
fn perturbations_lie_in_the_ball_and_fool_more_than_noise_on_images_they_have_not_seen() {
    let (model, other) = (trained::model(), shaken(0.4));
    for ball in [Ball { eps: 0.2, ..BALL }, Ball { norm: Norm::L2, eps: 5.0 }] {
        for by in [DEEPFOOL, gradient(ball)] {
            let found = crafted([&model, &other], &recipe(ball, &by), 45);
            println!("{ball:?} {by:?}: {:?}, noise {:?} of {}", found.fooled, found.noise, found.examples);
            assert_eq!(found.examples, 45);
            for perturbation in &found.perturbations {
                let length = lengths(perturbation, ball.norm).unwrap().double_value(&[0]);
                assert!(length > 0.0 && length <= ball.eps * (1.0 + 1e-5), "{ball:?} {by:?}: {length}");
            }
            for model in 0..2 {
                let (own, noise) = (found.fooled[model][model], found.noise[model]);
                assert!(own > noise, "{ball:?} {by:?}: {own} of its own, {noise} by noise");
            }
        }
    }
}

#[test]
fn a_copy_is_fooled_as_the_model_is_and_batches_do_not_matter() {
    let [model, copy] = [trained::model(), trained::model()];
    let by = gradient(BALL);
    let found = crafted([&model, &copy], &recipe(BALL, &by), 45);
    let [[own, ..], _] = found.fooled;
    assert_eq!((found.fooled, found.noise[0]), ([[own; 2]; 2], found.noise[1]));
    assert_eq!(found.perturbations[0], found.perturbations[1]);
    let other = crafted([&model, &copy], &recipe(BALL, &by), 7);
    assert_eq!((found.fooled, found.noise), (other.fooled, other.noise));
}

#[test]
fn a_perturbation_of_nearly_nothing_fools_nobody_and_nothing_fools_a_model_that_always_says_one_class() {
    let (model, says_one) = (trained::model(), constant(1));
    let by = gradient(BALL);
    let found = crafted([&model, &says_one], &recipe(BALL, &by), 45);
    assert_eq!((found.fooled[0][1], found.fooled[1], found.noise[1]), (0, [0, 0], 0));
    let faint = Ball { eps: 1e-7, ..BALL };
    let found = crafted([&model, &says_one], &recipe(faint, &DEEPFOOL), 45);
    assert_eq!((found.fooled, found.noise), ([[0; 2]; 2], [0; 2]));
}

#[test]
fn it_is_judged_on_what_it_was_not_crafted_on_and_some_of_both_is_needed() {
    let model = trained::model();
    let by = gradient(BALL);
    let few = Recipe { craft_examples: Some(10), passes: 1, ..recipe(BALL, &by) };
    assert_eq!(crafted([&model, &model], &few, 45).examples, 80);
    for count in [0, 90, 91] {
        let recipe = Recipe { craft_examples: Some(count), ..few };
        let error = universal([&model, &model], &trained::examples(), &recipe, 45, &mut |_, _| Wish::GoOn);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("of 90 examples {count} would be crafted on")), "{error}");
    }
}

#[test]
fn it_can_be_stopped_in_the_middle_of_a_crafting() {
    let (model, other) = (trained::model(), constant(0));
    for (by, expected) in [(DEEPFOOL, vec![0, 1, 2]), (gradient(BALL), vec![0, 16])] {
        let mut heard = Vec::new();
        let mut go_on = |done, total| {
            assert_eq!(total, 2 * 3 * 45 + 45);
            heard.push(done);
            if done >= 2 { Wish::Stop } else { Wish::GoOn }
        };
        let stopped = universal([&model, &other], &trained::examples(), &recipe(BALL, &by), 45, &mut go_on);
        assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
        assert_eq!(heard, expected);
    }
}

#[test]
fn noise_is_as_long_as_the_radius_in_every_norm_and_goes_both_ways() {
    for norm in Norm::ALL {
        let ball = Ball { norm, eps: 0.25 };
        let drawn = Tensor::from_slice(&ball.rim(&mut Stream::new(0, Purpose::Direction { example: 3 }), 200));
        let length = lengths(&drawn.view([1, -1]), norm).unwrap().double_value(&[0]);
        assert!((length - 0.25).abs() < 1e-6, "{norm}: {length}");
        let up = drawn.gt(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!((70..130).contains(&up), "{norm}: {up} of 200 are above zero");
    }
}
