//! Attacks that spare memory, and attacks that are asked to stop.
//!
//! `cargo test -p gauntlet-lab --test memory -- --nocapture` prints how far smaller batches change results, which is why they are no way to spare memory.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{
    ApgdLoss, AttackConfig, AttackMethod, AttackSpec, DatasetSource, DatasetSpec, Fit, Head, ImageShape, Length,
    NUMERICS_VERSION, Norm, Objective, OtherModel, Subset, TargetClass, TaskSpec, UapMethod, Weights,
};
use gauntlet_domain::task::{FailureClass, MemoryPlan};
use gauntlet_lab::attacks::{Aids, Evaluated, Evaluation, evaluate};
use gauntlet_lab::models::Activations;
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Inputs, Lab, LabError, Settings, TaskOutput};
use support::trained::{EXAMPLES, examples, model, spec};
use support::{Bench, Notes, given};

fn run(attack: &AttackConfig, activations: Activations, batch_size: usize) -> Evaluated {
    tch::set_num_threads(1);
    let (model, source) = (model().with_activations(activations), model().with_activations(activations));
    let examples = examples();
    let aids = Aids { source: Some(&source), crafted_on: Some(&examples) };
    let evaluation =
        Evaluation { model: &model, examples: &examples, attack, aids, seed: 5, batch_size, keep_images: true };
    evaluate(&evaluation, &mut |_| ()).unwrap()
}

fn attacks() -> Vec<AttackConfig> {
    let linf = |method| AttackConfig {
        method,
        norm: Norm::Linf,
        eps: Some(20.0 / 255.0),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let l2 = |method| AttackConfig { norm: Norm::L2, eps: None, ..linf(method) };
    let pgd = AttackMethod::Pgd { steps: 4, step_size: 5.0 / 255.0, random_start: true, restarts: 2 };
    let apgd = |loss| AttackMethod::Apgd { loss, steps: 8, restarts: 1, rho: 0.75, target_classes: 1 };
    let fab = AttackMethod::Fab {
        targeted: false,
        steps: 5,
        restarts: 1,
        target_classes: 1,
        alpha_max: 0.1,
        beta: 0.9,
        eta: 1.05,
    };
    let crafted_on = DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::SafeTensors { file: Digest::of(b"") },
        examples: EXAMPLES as u32,
        classes: 3,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Pad,
        frequencies: None,
    };
    let uap = AttackMethod::Uap {
        crafted_on: Box::new(crafted_on),
        by: UapMethod::Gradient { step_size: 5.0 / 255.0, batch_size: 32 },
        passes: 2,
        fooling_rate: 0.8,
    };
    let source = OtherModel { model: spec(), weights: Weights::Scratch };
    vec![
        linf(AttackMethod::Fgsm),
        linf(pgd.clone()),
        AttackConfig { target: Some(TargetClass::LeastLikely), early_stop: false, ..linf(pgd.clone()) },
        linf(AttackMethod::MiFgsm { steps: 4, step_size: 5.0 / 255.0, decay: 1.0 }),
        linf(AttackMethod::DiFgsm {
            steps: 4,
            step_size: 5.0 / 255.0,
            decay: 0.8,
            resize_rate: 0.8,
            diversity_probability: 0.7,
            random_start: true,
        }),
        linf(apgd(ApgdLoss::Ce)),
        linf(apgd(ApgdLoss::Dlr)),
        linf(AttackMethod::Square { queries: 10, p_init: 0.8, restarts: 1 }),
        linf(AttackMethod::Feature { steps: 4, step_size: 5.0 / 255.0, restarts: 1 }),
        linf(uap),
        linf(AttackMethod::Transfer { source: Box::new(source), by: Box::new(pgd) }),
        l2(AttackMethod::Cw {
            confidence: 0.0,
            steps: 6,
            learning_rate: 0.05,
            initial_const: 1.0,
            binary_search_steps: 2,
        }),
        l2(AttackMethod::DeepFool { steps: 6, overshoot: 0.02, candidates: 3 }),
        l2(fab),
    ]
}

#[test]
fn recomputed_activations_change_no_bit_of_any_attack() {
    for attack in attacks() {
        let [kept, again] = [Activations::Keep, Activations::Recompute].map(|way| run(&attack, way, 64));
        assert_eq!(kept.result, again.result, "{:?}", attack.method);
        assert!(kept.images == again.images, "{:?}", attack.method);
    }
}

/// Not a promise but a measurement: on one machine no loss differed in batches of 32 and 7, and 40 of 90 in batches of 1. libtorch chooses its kernels by the
/// size of a batch, so that no size is safe on every network and device.
#[test]
fn smaller_batches_change_at_most_the_rounding_and_are_not_used_to_spare_memory() {
    for attack in attacks().into_iter().take(2) {
        let whole = run(&attack, Activations::Keep, 64).result.outcomes;
        for size in [32, 7, 1] {
            let parts = run(&attack, Activations::Keep, size).result.outcomes;
            let pairs = whole.adversarial_loss.iter().zip(&parts.adversarial_loss);
            let differ = pairs.filter(|(one, two)| one.to_bits() != two.to_bits()).count();
            println!(
                "{:?} in batches of {size}: {differ} of {EXAMPLES} losses differ from those in batches of 64",
                attack.method
            );
            let robust = whole.robust_correct().abs_diff(parts.robust_correct());
            assert!(robust <= 2, "{:?}: {robust} outcomes differ", attack.method);
        }
    }
}

/// An attack on the model of `task`, as a task.
fn attack_on(bench: &Bench, weights: Weights) -> TaskSpec {
    let pgd = AttackMethod::Pgd { steps: 3, step_size: 5.0 / 255.0, random_start: true, restarts: 1 };
    let attack = AttackConfig {
        method: pgd,
        norm: Norm::Linf,
        eps: Some(16.0 / 255.0),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let (dataset, model) = (bench.dataset.clone(), spec());
    TaskSpec::Attack(AttackSpec {
        dataset,
        model,
        weights,
        attack,
        seed: 5,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    })
}

#[test]
fn tasks_under_a_plan_that_spares_memory_have_the_same_results_in_a_lab_that_did_others_before() {
    let bench = Bench::new(96);
    let train = bench.train_spec(Objective::Standard, Length::Iterations(8));
    let task = TaskSpec::Train(train.clone()).id();
    let attack = attack_on(&bench, Weights::Task { task, head: Head::Keep });
    let mut results = Vec::new();
    let mut lab = Lab::new(Settings::default());
    for (name, memory) in
        [("usual", MemoryPlan::default()), ("sparing", MemoryPlan::SPARING), ("again", MemoryPlan::default())]
    {
        let inputs = Inputs { memory, ..bench.inputs_for(name) };
        let trained = lab.execute(&TaskSpec::Train(train.clone()), &inputs, &mut Notes::default()).unwrap();
        let TaskOutput::Trained { checkpoint } = trained else { panic!("{trained:?}") };
        let bytes = std::fs::read(&checkpoint).unwrap();
        let inputs = given(&inputs, task, checkpoint);
        let attacked = lab.execute(&attack, &inputs, &mut Notes::default()).unwrap();
        results.push((bytes, attacked));
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_attack_that_is_asked_to_stop_ends_between_two_batches_and_starts_over_elsewhere() {
    let bench = Bench::new(96);
    let attack = attack_on(&bench, Weights::Scratch);
    let mut lab = Lab::new(Settings { attack_batch_size: 8, ..Settings::default() });
    let whole = lab.execute(&attack, &bench.inputs_for("whole"), &mut Notes::default()).unwrap();
    let mut told = Notes::default();
    lab.execute(&attack, &bench.inputs_for("told"), &mut told).unwrap();
    let second = told.progress[2].0;
    let mut notes = Notes { wishes: [(second, Wish::Stop)].into(), ..Notes::default() };
    let error = lab.execute(&attack, &bench.inputs_for("stopped"), &mut notes).unwrap_err();
    assert!(matches!(error, LabError::Interrupted) && error.class() == FailureClass::Transient, "{error}");
    assert_eq!(notes.progress.last().map(|(done, ..)| *done), Some(second));
    assert_eq!(lab.execute(&attack, &bench.inputs_for("again"), &mut Notes::default()).unwrap(), whole);
}
