//! Corruptions: agreement with the package imagecorruptions, on values of `reference/golden_corruptions.py`, and what must hold of every corruption.
//!
//! `cargo test -p gauntlet-lab --test corruptions -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::fmt::Debug;

use gauntlet_domain::experiment::Corruption;
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::corruptions::{Draws, Image, accuracy_by_corruption, corrupt, corrupt_image};
use gauntlet_lab::models::Mode;
use gauntlet_lab::training::Wish;
use safetensors::SafeTensors;
use support::{formula_bytes, formula_pixels, pattern, trained};
use tch::{Kind, Tensor};

/// Numbers from the formula in place of random ones, as the script has them.
struct FormulaDraws {
    numbers: Vec<f32>,
    taken: usize,
}

impl FormulaDraws {
    fn new() -> Self {
        Self { numbers: pattern("corruptions.draws", 100_000), taken: 0 }
    }

    fn symmetric(&mut self) -> f64 {
        self.taken += 1;
        self.numbers[self.taken - 1].into()
    }
}

impl Draws for FormulaDraws {
    fn unit(&mut self) -> f64 {
        (self.symmetric() + 1.0) / 2.0
    }

    fn normal(&mut self) -> f64 {
        3.0_f64.sqrt() * self.symmetric()
    }
}

/// Large squares under noise.
fn squares(height: usize, width: usize) -> Image {
    let name = format!("corruptions.{height}x{width}");
    let across = width / 8 + 1;
    let squares = formula_bytes(&format!("{name}.squares"), (height / 8 + 1) * across * 3);
    let noise = formula_bytes(&format!("{name}.noise"), height * width * 3);
    let byte = |(index, noise): (usize, u8)| {
        let (row, column, channel) = (index / 3 / width, index / 3 % width, index % 3);
        let square = squares[((row / 8) * across + column / 8) * 3 + channel];
        ((3 * u32::from(square) + u32::from(noise)) / 4) as u8
    };
    Image { height, width, channels: 3, bytes: noise.into_iter().enumerate().map(byte).collect() }
}

/// Differences in 1/255: the largest, and which share of the values has one above 1.
fn differences(found: &Image, step: usize, golden: &[u8]) -> (u8, f64) {
    let kept = |index: &usize| {
        let (row, column) = (index / 3 / found.width, index / 3 % found.width);
        row.is_multiple_of(step) && column.is_multiple_of(step)
    };
    let found: Vec<u8> = (0..found.bytes.len()).filter(kept).map(|index| found.bytes[index]).collect();
    assert_eq!(found.len(), golden.len());
    let differences: Vec<u8> = found.iter().zip(golden).map(|(a, b)| a.abs_diff(*b)).collect();
    let beyond = differences.iter().filter(|difference| **difference > 1).count();
    (differences.iter().copied().max().unwrap(), beyond as f64 / differences.len() as f64)
}

#[test]
fn corrupted_images_equal_those_of_the_package_with_the_same_random_numbers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/corruptions.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let mut wrong = Vec::new();
    for corruption in Corruption::ALL.into_iter().filter(|corruption| *corruption != Corruption::Frost) {
        let mut worst = (0, 0.0_f64);
        for (height, width, step) in [(32, 32, 1), (96, 64, 3), (33, 47, 2)] {
            let image = squares(height, width);
            for severity in 1..=5 {
                let found = corrupt_image(&image, corruption, severity, &mut FormulaDraws::new());
                let expected = golden.tensor(&format!("{height}x{width}.{corruption}.{severity}")).unwrap();
                let (largest, beyond) = differences(&found, step, expected.data());
                worst = (worst.0.max(largest), worst.1.max(beyond));
            }
        }
        println!(
            "{corruption}: differs by at most {}/255; by more than 1/255 in {:.4} of the values",
            worst.0, worst.1
        );
        // Cosine transforms in floating point round a few values another way than libjpeg's.
        let (most, share) = if corruption == Corruption::JpegCompression { (2, 0.005) } else { (1, 0.0) };
        if worst.0 > most || worst.1 > share {
            wrong.push(corruption);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} differ by more than they may");
}

/// Images of this shape \[n,C,H,W\]: smooth, of all brightnesses.
fn scenes(size: [i64; 4]) -> Tensor {
    let [count, channels, height, width] = size;
    let places = |length: i64| Tensor::arange(length, (Kind::Double, tch::Device::Cpu)) / length as f64;
    let (rows, columns) = (places(height).view([1, 1, height, 1]) * 6.0, places(width).view([1, 1, 1, width]) * 5.0);
    let phase = formula_pixels("corruptions.phase", &[count, channels, 1, 1]) * 6.3;
    let waves = (rows + &phase).sin() * (columns - &phase).cos();
    (waves * 110.0 + 128.0).floor().to_kind(Kind::Float) / 255.0
}

fn seeded(pixels: &Tensor, corruption: Corruption, severity: u32) -> Tensor {
    corrupt(pixels, corruption, severity, 3, 0).unwrap()
}

/// Whether nothing in it is random.
fn is_fixed(corruption: Corruption) -> bool {
    use Corruption::*;
    let fixed = [DefocusBlur, ZoomBlur, GaussianBlur, Brightness, Contrast, Pixelate, JpegCompression, Saturate];
    fixed.contains(&corruption)
}

#[test]
fn images_of_any_size_and_of_one_channel_come_back_as_bytes_of_their_shape() {
    for size in [[2, 1, 28, 28], [1, 3, 33, 47], [2, 3, 8, 5], [1, 1, 1, 1], [1, 3, 2, 1], [1, 3, 3, 40]] {
        for corruption in Corruption::ALL {
            for severity in [1, 3, 4, 5] {
                let found = seeded(&scenes(size), corruption, severity);
                assert_eq!((found.size(), found.kind()), (size.to_vec(), Kind::Float), "{corruption}");
                let bytes = &found * 255.0;
                let rest = (&bytes - bytes.round()).abs().max().double_value(&[]);
                assert!(rest < 1e-4, "{corruption} {size:?}: a value is {rest} of 1/255 away from a byte");
                assert!(found.min().double_value(&[]) >= 0.0 && found.max().double_value(&[]) <= 1.0, "{corruption}");
            }
        }
    }
}

#[test]
fn a_corrupted_image_depends_on_its_index_and_the_seed_and_not_on_its_batch() {
    let pixels = scenes([5, 3, 16, 20]);
    for corruption in Corruption::ALL {
        let all = corrupt(&pixels, corruption, 3, 7, 10).unwrap();
        let later = corrupt(&pixels.narrow(0, 2, 3), corruption, 3, 7, 12).unwrap();
        assert_eq!(later, all.narrow(0, 2, 3), "{corruption}: the batch matters");
        let same = |seed, first| corrupt(&pixels, corruption, 3, seed, first).unwrap() == all;
        assert!(same(7, 10), "{corruption}: twice the same is not the same");
        assert_eq!(same(8, 10), is_fixed(corruption), "{corruption}: another seed");
        assert_eq!(same(7, 11), is_fixed(corruption), "{corruption}: other indices");
    }
}

#[test]
fn the_more_severe_the_further_from_the_original() {
    use Corruption::*;
    let pixels = scenes([6, 3, 48, 48]);
    for corruption in Corruption::ALL {
        let distance =
            |severity| (seeded(&pixels, corruption, severity) - &pixels).abs().mean(Kind::Double).double_value(&[]);
        let distances: Vec<f64> = (1..=5).map(distance).collect();
        println!("{corruption}: {distances:.4?}");
        assert!(distances[0] > 0.0 && distances[4] > distances[0], "{corruption}: {distances:?}");
        // These change in kind from one severity to the next: the paper orders them by what they do to models.
        if ![Snow, Frost, Spatter, Saturate, GlassBlur].contains(&corruption) {
            assert!(distances.is_sorted(), "{corruption}: {distances:?}");
        }
    }
}

#[test]
fn an_image_of_one_channel_is_what_three_equal_channels_would_become() {
    let grey = scenes([2, 1, 40, 36]);
    let colored = grey.expand([2, 3, 40, 36], false);
    for corruption in Corruption::ALL.into_iter().filter(|corruption| is_fixed(*corruption)) {
        let (one, three) = (seeded(&grey, corruption, 2), seeded(&colored, corruption, 2));
        let difference = (three - one).abs().max().double_value(&[]);
        assert!(difference < 1.5 / 255.0, "{corruption} differs by {difference}");
    }
    assert_eq!(seeded(&grey, Corruption::Saturate, 5), grey);
}

/// Mean and standard deviation.
fn moments(pixels: &Tensor) -> [f64; 2] {
    let pixels = pixels.to_kind(Kind::Double);
    [pixels.mean(Kind::Double), pixels.std(false)].map(|moment| moment.double_value(&[]))
}

#[test]
fn noise_has_the_mean_and_the_deviation_of_its_severity() {
    let grey = Tensor::full([40, 3, 24, 24], 0.4_f64, (Kind::Float, tch::Device::Cpu));
    // 255 · 0.4 is a byte; cutting off to bytes takes half of one away.
    let mean = 0.4 - 0.5 / 255.0;
    for (corruption, deviation) in [
        (Corruption::GaussianNoise, 0.08),
        (Corruption::SpeckleNoise, 0.4 * 0.15),
        (Corruption::ShotNoise, (0.4_f64 / 60.0).sqrt()),
    ] {
        let [found, spread] = moments(&seeded(&grey, corruption, 1));
        println!("{corruption}: mean {found:.5}, deviation {spread:.5}");
        assert!((found - mean).abs() < 2e-3, "{corruption}: mean {found}");
        assert!((spread / deviation - 1.0).abs() < 0.02, "{corruption}: deviation {spread}, expected {deviation}");
    }
    let replaced = seeded(&grey, Corruption::ImpulseNoise, 5);
    let share = |value: f64| replaced.eq(value).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    assert!((share(0.0) - 0.135).abs() < 5e-3 && (share(1.0) - 0.135).abs() < 5e-3);
}

#[test]
fn ice_is_about_as_bright_and_as_rough_as_that_of_the_photographs() {
    let black = Tensor::zeros([60, 3, 32, 32], (Kind::Float, tch::Device::Cpu));
    // Severity 1 adds four tenths of the ice.
    let ice = seeded(&black, Corruption::Frost, 1) / 0.4;
    let [level, _] = moments(&ice);
    let within = ice.mean_dim([1_i64].as_slice(), false, Kind::Double).flatten(1, 2).std_dim(1, false, false);
    let [within, _] = moments(&within);
    let beside = ice.diff::<Tensor>(1, -1, None, None).abs().mean(Kind::Double).double_value(&[]);
    println!("ice: mean {level:.3}, deviation {within:.3} within an image, {beside:.3} between neighbours");
    assert!((0.55..0.75).contains(&level) && (0.04..0.12).contains(&within) && (0.02..0.08).contains(&beside));
}

fn on(_done: u64, _total: u64) -> Wish {
    Wish::GoOn
}

#[test]
fn a_model_is_asked_about_the_images_as_they_are_and_about_every_corruption() {
    let (model, examples) = (trained::model(), trained::examples());
    let asked = [(Corruption::Brightness, 1), (Corruption::GaussianNoise, 5), (Corruption::Contrast, 5)];
    let found = accuracy_by_corruption(&model, &examples, &asked, 3, 32, &mut on).unwrap();
    println!("{found:?}");
    let parts: Vec<_> = found.iter().map(|part| part.corruption).collect();
    assert_eq!(parts, [None, Some(asked[0]), Some(asked[1]), Some(asked[2])]);
    let batch = examples.range(0, trained::EXAMPLES).unwrap();
    let right = |pixels: &Tensor| {
        let logits = tch::no_grad(|| model.forward(pixels, Mode::Eval)).unwrap().logits;
        logits.argmax(1, false).eq_tensor(&batch.labels).sum(Kind::Int64).int64_value(&[]) as u64
    };
    assert_eq!((found[0].correct, found[0].examples), (right(&batch.pixels), 90));
    assert_eq!(found[2].correct, right(&seeded(&batch.pixels, Corruption::GaussianNoise, 5)));
    let others = accuracy_by_corruption(&model, &examples, &asked, 3, 7, &mut on).unwrap();
    assert_eq!(found, others, "batches change what is found");
}

#[test]
fn it_can_be_stopped_and_tells_how_far_it_is() {
    let (model, examples) = (trained::model(), trained::examples());
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 90 { Wish::Stop } else { Wish::GoOn }
    };
    let asked = [(Corruption::Contrast, 1), (Corruption::Contrast, 2)];
    let stopped = accuracy_by_corruption(&model, &examples, &asked, 0, 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(heard, [(0, 270), (45, 270), (90, 270)]);
}

fn assert_refused(result: Result<impl Debug, LabError>, says: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, LabError::Spec(_)) && error.to_string().contains(says), "{error}");
}

#[test]
fn what_cannot_be_corrupted_is_refused() {
    let refused = |size: &[i64], severity| corrupt(&formula_pixels("any", size), Corruption::Fog, severity, 0, 0);
    assert_refused(refused(&[1, 3, 8, 8], 0), "1 to 5");
    assert_refused(refused(&[1, 3, 8, 8], 6), "1 to 5");
    assert_refused(refused(&[1, 2, 8, 8], 1), "1 or 3 channels");
    assert_refused(refused(&[3, 8, 8], 1), "four dimensions");
    assert_refused(refused(&[0, 3, 8, 8], 1), "four dimensions");
}
