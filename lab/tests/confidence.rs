//! How sure a model is of the true class, on originals and under attack.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{Ascents, Norm};
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::confidence::confidence;
use gauntlet_lab::models::{Mode, Model};
use gauntlet_lab::training::Wish;
use support::trained::{self, changed};
use tch::{Kind, Tensor};

fn on(_done: u64, _total: u64) -> Wish {
    Wish::GoOn
}

/// Logits of the originals and their labels.
fn clean(model: &Model) -> (Tensor, Tensor) {
    let batch = trained::examples().range(0, trained::EXAMPLES).unwrap();
    (tch::no_grad(|| model.forward(&batch.pixels, Mode::Eval)).unwrap().logits, batch.labels)
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "{found} instead of {expected}");
}

fn ascents(epsilons: &[f64]) -> Ascents {
    Ascents { norm: Norm::Linf, epsilons: epsilons.to_vec(), steps: 5, step_of_eps: 0.3 }
}

#[test]
fn a_model_is_as_sure_of_the_originals_as_its_softmax_says_and_less_sure_the_harder_it_is_attacked() {
    let model = trained::model();
    let found = confidence(&model, &trained::examples(), &ascents(&[1e-8, 0.02, 0.05]), 45, &mut on).unwrap();
    println!("{found:?}");
    let (logits, labels) = clean(&model);
    let sure = logits.softmax(1, Kind::Double).gather(1, &labels.unsqueeze(1), false);
    let shares = Tensor::from_slice(&[0.1, 0.5, 0.9]);
    let deciles: Vec<f64> = Vec::try_from(sure.view([-1]).quantile(&shares, 0, false, "linear")).unwrap();
    assert_eq!((found.len(), found[0].eps), (4, 0.0));
    for at in &found[..2] {
        assert_close(at.mean, sure.mean(Kind::Double).double_value(&[]));
        at.deciles.iter().zip(&deciles).for_each(|(found, expected)| assert_close(*found, *expected));
    }
    for (before, after) in found[1..].iter().zip(&found[2..]) {
        assert!(after.mean < before.mean, "{before:?} {after:?}");
        assert!(after.deciles.is_sorted() && after.deciles[0] <= before.deciles[0], "{before:?} {after:?}");
    }
    let others = confidence(&model, &trained::examples(), &ascents(&[0.05]), 13, &mut on).unwrap();
    assert_close(others[1].mean, found[3].mean);
}

#[test]
fn a_model_that_is_twice_as_sharp_is_surer_of_what_it_gets_right() {
    let sharp = changed(|name, tensor| if name.starts_with("fc.") { tensor * 2.0 } else { tensor.copy() });
    let [plain, sharp] = [&trained::model(), &sharp]
        .map(|model| confidence(model, &trained::examples(), &ascents(&[0.01]), 90, &mut on).unwrap()[0]);
    assert!(sharp.deciles[2] > plain.deciles[2], "{sharp:?} {plain:?}");
}

#[test]
fn it_can_be_stopped_and_tells_how_far_it_is() {
    let (model, examples) = (trained::model(), trained::examples());
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 90 { Wish::Stop } else { Wish::GoOn }
    };
    let stopped = confidence(&model, &examples, &ascents(&[0.1, 0.2, 0.3]), 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(heard, [(0, 360), (45, 360), (90, 360)]);
}
