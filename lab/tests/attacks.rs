//! Attacks: the rules of the game hold, and the game is worth playing.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackResult, AttackSpec, Head, NUMERICS_VERSION, Norm, TaskSpec, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use gauntlet_lab::attacks::{Aids, Ball, Evaluation, evaluate, lengths};
use gauntlet_lab::random::{Purpose, Stream};
use gauntlet_lab::{Lab, Settings, TaskOutput};
use proptest::prelude::*;
use support::trained::{EXAMPLES, examples, model, spec, trained};
use support::{Bench, Notes, floats, given};
use tch::Tensor;

fn pgd(norm: Norm, eps: f64, restarts: u32) -> AttackConfig {
    let method = AttackMethod::Pgd { steps: 8, step_size: eps / 4.0, random_start: true, restarts };
    AttackConfig { method, norm, eps: Some(eps), target: None, early_stop: true, stop_at_interval: None }
}

fn run(attack: &AttackConfig, batch_size: usize) -> (AttackResult, Tensor) {
    let (model, examples) = (model(), examples());
    let evaluation = Evaluation {
        model: &model,
        examples: &examples,
        attack,
        aids: Aids::default(),
        seed: 5,
        batch_size,
        keep_images: true,
    };
    let evaluated = evaluate(&evaluation, &mut |_| ()).unwrap();
    evaluated.result.outcomes.check(EXAMPLES).unwrap();
    (evaluated.result, evaluated.images.unwrap())
}

fn robust(attack: &AttackConfig) -> usize {
    run(attack, 64).0.outcomes.robust_correct()
}

/// A radius at which this attack's gradient version fools some examples and not all.
fn radius(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 20.0 / 255.0,
        Norm::L2 => 1.6,
        Norm::L1 => 40.0,
    }
}

#[test]
fn outcomes_do_not_depend_on_the_size_of_the_batches() {
    for norm in Norm::ALL {
        for early_stop in [true, false] {
            let attack = AttackConfig { early_stop, ..pgd(norm, radius(norm), 2) };
            let (whole, _) = run(&attack, EXAMPLES);
            for batch_size in [1, 7, 64] {
                let (parts, _) = run(&attack, batch_size);
                assert_eq!(parts.outcomes.clean_prediction, whole.outcomes.clean_prediction);
                assert_eq!(parts.outcomes.adversarial_prediction, whole.outcomes.adversarial_prediction);
                assert_eq!(parts.model_queries, whole.model_queries);
            }
        }
    }
}

#[test]
fn random_noise_is_weaker_than_one_step_and_one_step_than_many() {
    for norm in Norm::ALL {
        let eps = radius(norm);
        let with = |method| AttackConfig {
            method,
            norm,
            eps: Some(eps),
            target: None,
            early_stop: true,
            stop_at_interval: None,
        };
        let clean = run(&with(AttackMethod::Fgsm), 64).0.outcomes.clean_correct();
        let noise = robust(&with(AttackMethod::Noise { draws: 4 }));
        let (fgsm, many) = (robust(&with(AttackMethod::Fgsm)), robust(&pgd(norm, eps, 1)));
        println!("{norm}: clean {clean}, noise {noise}, fgsm {fgsm}, pgd {many} of {EXAMPLES}");
        assert!(clean >= noise && noise > fgsm && fgsm >= many && many < clean, "{clean} {noise} {fgsm} {many}");
    }
}

#[test]
fn more_restarts_and_larger_balls_never_help_the_model() {
    for norm in Norm::ALL {
        let eps = radius(norm);
        let half = robust(&pgd(norm, eps / 2.0, 1));
        let (once, thrice) = (robust(&pgd(norm, eps, 1)), robust(&pgd(norm, eps, 3)));
        assert!(half >= once && once >= thrice, "{half} {once} {thrice}");
    }
}

#[test]
fn stopping_early_fools_no_fewer_and_asks_less() {
    for norm in Norm::ALL {
        let early = pgd(norm, radius(norm), 1);
        let (stopped, _) = run(&early, 64);
        let (full, _) = run(&AttackConfig { early_stop: false, ..early }, 64);
        assert!(stopped.outcomes.robust_correct() <= full.outcomes.robust_correct());
        assert!(stopped.model_queries < full.model_queries);
        // Eight steps of two passes and one last judgement for every example that was right before.
        assert_eq!(full.model_queries, 17 * full.outcomes.clean_correct() as u64);
    }
}

#[test]
fn what_an_attack_gives_back_is_what_its_outcomes_say() {
    for norm in Norm::ALL {
        let attack = pgd(norm, radius(norm), 2);
        let (result, images) = run(&attack, 64);
        let outcomes = result.outcomes;
        assert_eq!(outcomes.distance[4], 0.0);
        assert_eq!(outcomes.adversarial_prediction[4], outcomes.clean_prediction[4]);
        assert_eq!(outcomes.adversarial_loss[4].to_bits(), outcomes.clean_loss[4].to_bits());
        assert!(outcomes.distance.iter().all(|distance| f64::from(*distance) <= attack.eps.unwrap() * (1.0 + 1e-5)));
        assert!(images.min().double_value(&[]) >= 0.0 && images.max().double_value(&[]) <= 1.0);
        let change = images - examples().range(0, EXAMPLES).unwrap().pixels;
        let apart = (lengths(&change, norm).unwrap() - Tensor::from_slice(&outcomes.distance)).abs().max();
        assert!(apart.double_value(&[]) < 1e-5);
    }
}

#[test]
fn a_lab_attacks_the_checkpoint_of_a_task_and_reads_nothing_twice() {
    let bench = Bench::new(30);
    let task = TaskId::from_digest(Digest::of(b"parent"));
    let path = bench.folder.path().join("parent.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let mut inputs = given(&bench.inputs, task, path);
    let spec = |eps| {
        TaskSpec::Attack(AttackSpec {
            dataset: bench.dataset.clone(),
            model: spec(),
            weights: Weights::Task { task, head: Head::Keep },
            attack: pgd(Norm::Linf, eps, 1),
            seed: 0,
            numerics: NUMERICS_VERSION,
            shard: None,
            cascade: None,
        })
    };
    let mut lab = Lab::new(Settings::default());
    let mut notes = Notes::default();
    let TaskOutput::Attacked(first) = lab.execute(&spec(0.01), &inputs, &mut notes).unwrap() else {
        panic!("an attack gave something else")
    };
    assert_eq!(first.outcomes.examples(), 30);
    assert_eq!(notes.progress, [(0, 30, "examples"), (30, 30, "examples")]);
    inputs.places.files.clear();
    inputs.places.task_artifacts.clear();
    assert!(lab.execute(&spec(0.02), &inputs, &mut notes).is_ok());
}

fn norms() -> impl Strategy<Value = Norm> {
    prop_oneof![Just(Norm::Linf), Just(Norm::L2), Just(Norm::L1)]
}

proptest! {
    #[test]
    fn no_step_leaves_the_ball_or_the_pixels_range(
        norm in norms(), eps in 1e-4..3.0f64, length in 0.0..5.0f64, seed in any::<u64>(), steps in 1..4u32,
    ) {
        let ball = Ball { norm, eps };
        let mut stream = Stream::new(seed, Purpose::Shuffle { epoch: 0 });
        let mut draw = |low: f32, high: f32| {
            let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|_| low + (high - low) * stream.unit()).collect();
            Tensor::from_slice(&values).view([2, 3, 4, 5])
        };
        let originals = draw(0.0, 1.0);
        let mut points = &originals + draw(-1.0, 1.0);
        for _ in 0..steps {
            let gradient = draw(-1.0, 1.0) * 1e-3;
            points = ball.bound(&ball.ascend(&points, &gradient, length).unwrap(), &originals).unwrap();
        }
        let change = floats(&lengths(&(&points - &originals), norm).unwrap());
        prop_assert!(change.iter().all(|length| f64::from(*length) <= eps * (1.0 + 1e-5) + 1e-6), "{change:?}");
        prop_assert!(floats(&points).iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    }

    #[test]
    fn random_starts_lie_in_the_ball(norm in norms(), eps in 1e-4..3.0f64, seed in any::<u64>()) {
        let mut stream = Stream::new(seed, Purpose::Shuffle { epoch: 0 });
        let start = Tensor::from_slice(&Ball { norm, eps }.uniform(&mut stream, 60)).view([1, 60]);
        let length = f64::from(floats(&lengths(&start, norm).unwrap())[0]);
        prop_assert!(length <= eps * (1.0 + 1e-5), "{length}");
        // In 60 dimensions nearly all of a ball is near its surface, and a cube's largest of 60 coordinates near its face.
        prop_assert!(length >= 0.5 * eps, "{length}");
    }
}
