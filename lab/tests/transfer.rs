//! What adversarial examples of one model do to another.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{Ascents, AttackConfig, AttackMethod, Norm, OtherClasses};
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::transfer::{Transferred, transfer};
use gauntlet_lab::attacks::{Aids, Evaluation, evaluate};
use gauntlet_lab::models::Model;
use gauntlet_lab::training::Wish;
use support::trained::{self, constant, shaken};

fn on(_done: u64, _total: u64) -> Wish {
    Wish::GoOn
}

fn ascents(norm: Norm, epsilons: &[f64]) -> Ascents {
    Ascents { norm, epsilons: epsilons.to_vec(), steps: 5, step_of_eps: 0.3 }
}

fn shown(models: [&Model; 2], by: &Ascents, classes: OtherClasses, batch_size: usize) -> Vec<Transferred> {
    transfer(models, &trained::examples(), (by, classes), batch_size, &mut on).unwrap()
}

/// Clean and robust examples of the trained model under the same attack.
fn evaluated(norm: Norm, eps: f64) -> (u64, u64) {
    let method = AttackMethod::Pgd { steps: 5, step_size: 0.3 * eps, random_start: false, restarts: 1 };
    let attack = AttackConfig { method, norm, eps: Some(eps), target: None, early_stop: false, stop_at_interval: None };
    let evaluation = Evaluation {
        model: &trained::model(),
        examples: &trained::examples(),
        attack: &attack,
        aids: Aids::default(),
        seed: 0,
        batch_size: 32,
        keep_images: false,
    };
    let outcomes = evaluate(&evaluation, &mut |_| {}).unwrap().result.outcomes;
    (outcomes.clean_correct() as u64, outcomes.robust_correct() as u64)
}

#[test]
fn a_model_is_fooled_by_what_was_crafted_on_its_copy_as_by_the_attack_itself() {
    let [model, copy] = [trained::model(), trained::model()];
    for (norm, eps) in [(Norm::Linf, 0.05), (Norm::L2, 1.0)] {
        let [at] = shown([&model, &copy], &ascents(norm, &[eps]), OtherClasses::Same, 32)[..] else { panic!() };
        let (clean, robust) = evaluated(norm, eps);
        println!("{norm}: {at:?}; the attack leaves {robust} of {clean}");
        assert_eq!((at.eps, at.eligible, at.fooled), (eps, clean, [[clean - robust; 2]; 2]));
        assert!(robust < clean, "{norm}");
    }
}

#[test]
fn a_perturbation_of_nearly_nothing_fools_nobody_and_a_large_one_passes_on_less_than_it_fools() {
    let [model, other] = [trained::model(), shaken(0.1)];
    let by = ascents(Norm::Linf, &[1e-7, 0.08]);
    let found = shown([&model, &other], &by, OtherClasses::Same, 90);
    println!("{found:?}");
    assert!(found[0].eligible > 45);
    assert_eq!(found[0].fooled, [[0; 2]; 2]);
    let [[own, passed_on], [received, of_other]] = found[1].fooled;
    assert!(passed_on > 0 && received > 0, "{found:?}");
    assert!(passed_on <= own && received <= of_other, "{found:?}");
    let others = shown([&model, &other], &by, OtherClasses::Same, 13);
    assert_eq!(found, others, "batches change what is found");
}

#[test]
fn examples_count_that_both_models_get_right_or_all_where_the_other_has_classes_of_its_own() {
    let (model, says_two) = (trained::model(), constant(2));
    let by = ascents(Norm::Linf, &[0.05]);
    let labels = trained::examples().labels().unwrap();
    let [same] = shown([&model, &says_two], &by, OtherClasses::Same, 45)[..] else { panic!() };
    let of_two = labels.iter().filter(|label| **label == 2).count() as u64;
    println!("{same:?}; {of_two} have the class");
    assert!(same.eligible > 0 && same.eligible <= of_two);
    let [own] = shown([&model, &says_two], &by, OtherClasses::Own, 45)[..] else { panic!() };
    assert_eq!(own.eligible, labels.len() as u64);
    for at in [same, own] {
        assert_eq!(
            (at.fooled[0][1], at.fooled[1]),
            (0, [0, 0]),
            "a model that always says one class is fooled: {at:?}"
        );
        assert!(at.fooled[0][0] > 0, "{at:?}");
    }
}

#[test]
fn it_can_be_stopped_and_tells_how_far_it_is() {
    let (model, other) = (trained::model(), constant(0));
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 90 { Wish::Stop } else { Wish::GoOn }
    };
    let by = ascents(Norm::Linf, &[0.01, 0.02]);
    let stopped =
        transfer([&model, &other], &trained::examples(), (&by, OtherClasses::Same), 45, &mut go_on).unwrap_err();
    assert!(matches!(stopped, LabError::Interrupted), "{stopped:?}");
    assert_eq!(heard, [(0, 360), (45, 360), (90, 360)]);
}
