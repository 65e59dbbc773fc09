//! The loss around images.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_lab::LabError;
use gauntlet_lab::analyses::landscape::landscape;
use gauntlet_lab::models::{Mode, Model};
use gauntlet_lab::training::Wish;
use support::trained::{self, constant};
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

#[test]
fn the_loss_at_the_originals_is_theirs_and_grows_faster_along_the_gradient_than_along_random_signs() {
    let model = trained::model();
    let found = landscape(&model, &trained::examples(), &[1e-8, 0.02, 0.05], 3, 45, &mut on).unwrap();
    println!("{found:?}");
    let (logits, labels) = clean(&model);
    let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Sum, -100, 0.0).double_value(&[]);
    let right = logits.argmax(1, false).eq_tensor(&labels).sum(Kind::Int64).int64_value(&[]) as u64;
    assert_eq!((found.len(), found[0].distance, found[0].examples), (4, 0.0, 90));
    for along in [found[0].gradient, found[0].random, found[1].gradient, found[1].random] {
        assert_close(along.loss, loss);
        assert_eq!(along.correct, right);
    }
    for place in &found[2..] {
        assert!(place.gradient.loss > place.random.loss && place.gradient.correct <= place.random.correct, "{place:?}");
    }
    assert!(found[3].gradient.loss > found[2].gradient.loss && found[2].gradient.loss > loss);
    let others = landscape(&model, &trained::examples(), &[0.05], 3, 13, &mut on).unwrap();
    assert_close(others[1].random.loss, found[3].random.loss);
    assert_close(others[1].gradient.loss, found[3].gradient.loss);
    let reseeded = landscape(&model, &trained::examples(), &[0.05], 4, 45, &mut on).unwrap();
    assert_ne!(reseeded[1].random.loss, found[3].random.loss);
    assert_eq!(reseeded[1].gradient, found[3].gradient);
}

#[test]
fn a_model_without_a_slope_has_the_same_loss_everywhere() {
    let found = landscape(&constant(1), &trained::examples(), &[0.1], 0, 45, &mut on).unwrap();
    // One logit of 1 among zeros.
    let normaliser = (2.0 + 1f64.exp()).ln();
    let of_one = trained::examples().labels().unwrap().iter().filter(|label| **label == 1).count() as f64;
    for along in found.iter().flat_map(|place| [place.gradient, place.random]) {
        assert_close(along.loss, 90.0 * normaliser - of_one);
        assert_eq!(along.correct, of_one as u64);
    }
}

#[test]
fn it_can_be_stopped_and_tells_how_far_it_is() {
    let (model, examples) = (trained::model(), trained::examples());
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 90 { Wish::Stop } else { Wish::GoOn }
    };
    let stopped = landscape(&model, &examples, &[0.1], 0, 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(heard, [(0, 270), (45, 270), (90, 270)]);
}
