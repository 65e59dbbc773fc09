//! Frequencies of images: agreement with numpy.fft, on values of `reference/golden_frequency.py`, and what must hold of every split, spectrum and wave.
//!
//! `cargo test -p gauntlet-lab --test frequency -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Debug;

use gauntlet_domain::experiment::{Ascents, Norm};
use gauntlet_lab::LabError;
use gauntlet_lab::analyses::frequency::{Pass, accuracy_by_radius, high_pass, low_pass, spectrum};
use gauntlet_lab::analyses::heat_map::{HeatMap, Waves, fourier_heat_map, wave};
use gauntlet_lab::analyses::spectrum::{Energy, Spectrum, spectrum as spectra};
use gauntlet_lab::models::Mode;
use gauntlet_lab::training::Wish;
use support::{Golden, formula_pixels, trained};
use tch::{Kind, Tensor};

fn images(case: &str) -> Tensor {
    let size = if case == "even" { [2, 1, 32, 32] } else { [2, 3, 9, 12] };
    formula_pixels(&format!("frequency.{case}"), &size)
}

fn largest(difference: &Tensor) -> f64 {
    difference.abs().max().double_value(&[])
}

fn assert_agrees(name: &str, found: &Tensor, golden: &Golden) {
    let difference = largest(&(found.to_kind(Kind::Float) - golden.get(name)));
    println!("{name}: differs by {difference:.1e}");
    assert!(difference < 1e-6, "{name} differs by {difference:e}");
}

#[test]
fn parts_of_images_equal_those_of_numpy() {
    let golden = Golden::read("frequency");
    for (case, radii) in [("even", ["0.0", "4.0", "16.0"]), ("odd", ["1.0", "2.5", "5.0"])] {
        for radius in radii {
            let [low, high] = [low_pass, high_pass].map(|part| part(&images(case), radius.parse().unwrap()).unwrap());
            assert_agrees(&format!("{case}.low.{radius}"), &low, &golden);
            assert_agrees(&format!("{case}.high.{radius}"), &high, &golden);
        }
    }
}

#[test]
fn spectra_equal_those_of_numpy() {
    let golden = Golden::read("frequency");
    for case in ["even", "odd"] {
        let rings = spectrum(&(images(case) - 0.5)).unwrap();
        let rows: Vec<f64> =
            rings.iter().flat_map(|ring| [f64::from(ring.radius), f64::from(ring.frequencies), ring.power]).collect();
        assert_agrees(&format!("{case}.spectrum"), &Tensor::from_slice(&rows).view([-1, 3]), &golden);
    }
}

#[test]
fn waves_equal_those_of_numpy() {
    let golden = Golden::read("frequency");
    let even: &[[i64; 2]] = &[[0, 0], [3, -5], [-16, 7], [-16, -16]];
    let odd: &[[i64; 2]] = &[[4, -6], [-2, 5], [0, -6]];
    for (case, size, waves) in [("even", [32, 32], even), ("odd", [9, 12], odd)] {
        for [vertical, horizontal] in waves {
            let found = wave(size, [*vertical, *horizontal]).unwrap();
            assert_agrees(&format!("{case}.wave.{vertical}.{horizontal}"), &found, &golden);
        }
    }
}

/// Images of so little contrast that nothing is clipped.
fn pale(case: &str) -> Tensor {
    images(case) * 0.1 + 0.45
}

#[test]
fn low_and_high_frequencies_add_up_to_the_image() {
    for case in ["even", "odd"] {
        for radius in [0.0, 1.0, 3.7, 16.0, 100.0] {
            let sum = low_pass(&pale(case), radius).unwrap() + high_pass(&pale(case), radius).unwrap() - 0.5;
            assert!(largest(&(sum - pale(case))) < 1e-6, "{case} {radius}");
        }
    }
}

#[test]
fn each_part_holds_its_frequencies_alone_and_parts_stay_as_they_are() {
    let low = low_pass(&pale("even"), 5.0).unwrap();
    let beyond = spectrum(&low).unwrap().into_iter().filter(|ring| ring.radius > 5);
    assert!(beyond.map(|ring| ring.power).fold(0.0, f64::max) < 1e-12);
    let high = high_pass(&pale("even"), 5.0).unwrap() - 0.5;
    let within = spectrum(&high).unwrap().into_iter().filter(|ring| ring.radius < 5);
    assert!(within.map(|ring| ring.power).fold(0.0, f64::max) < 1e-12);
    assert!(largest(&(low_pass(&low, 5.0).unwrap() - &low)) < 1e-6);
}

#[test]
fn radius_zero_keeps_the_mean_and_a_large_one_everything() {
    let mean = pale("odd").mean_dim([2i64, 3].as_slice(), true, Kind::Float);
    assert!(largest(&(low_pass(&pale("odd"), 0.0).unwrap() - mean)) < 1e-6);
    assert!(largest(&(low_pass(&images("odd"), 7.5).unwrap() - images("odd"))) < 1e-6);
    assert!(largest(&(high_pass(&images("odd"), 7.5).unwrap() - 0.5)) < 1e-6);
}

#[test]
fn what_a_model_is_shown_stays_within_the_range_of_pixels() {
    let stripes = images("even").ge(0.5).to_kind(Kind::Float);
    for part in [low_pass(&stripes, 12.0).unwrap(), high_pass(&stripes, 0.0).unwrap()] {
        assert_eq!(part.kind(), Kind::Float);
        assert!(part.min().double_value(&[]) >= 0.0 && part.max().double_value(&[]) <= 1.0);
    }
}

#[test]
fn the_power_of_all_frequencies_is_the_squared_norm() {
    for case in ["even", "odd"] {
        let perturbations = images(case) - 0.4;
        let squares =
            perturbations.to_kind(Kind::Double).square().sum_dim_intlist([2i64, 3].as_slice(), false, Kind::Double);
        let norm = squares.mean(Kind::Double).double_value(&[]);
        let rings = spectrum(&perturbations).unwrap();
        let sum: f64 = rings.iter().map(|ring| f64::from(ring.frequencies) * ring.power).sum();
        assert!((sum / norm - 1.0).abs() < 1e-12, "{case}: {sum} and {norm}");
        let frequencies: u32 = rings.iter().map(|ring| ring.frequencies).sum();
        assert_eq!(i64::from(frequencies), perturbations.size()[2] * perturbations.size()[3]);
    }
}

#[test]
fn a_wave_has_norm_one_and_its_frequency_alone() {
    for size in [[8, 8], [7, 10], [1, 5]] {
        for vertical in -(size[0] / 2)..(size[0] + 1) / 2 {
            for horizontal in -(size[1] / 2)..(size[1] + 1) / 2 {
                let wave = wave(size, [vertical, horizontal]).unwrap();
                let powers = wave.fft_fft2(None::<i64>, [-2, -1], "ortho").abs().square();
                let at = |sign: i64| {
                    let place = [(sign * vertical).rem_euclid(size[0]), (sign * horizontal).rem_euclid(size[1])];
                    (place, powers.double_value(&place))
                };
                let [(place, power), (opposite, mirrored)] = [at(1), at(-1)];
                let expected = if place == opposite { 1.0 } else { 0.5 };
                assert!((power - expected).abs() < 1e-12 && (mirrored - expected).abs() < 1e-12, "{size:?} {place:?}");
                assert!((powers.sum(Kind::Double).double_value(&[]) - 1.0).abs() < 1e-12, "{size:?} {place:?}");
            }
        }
    }
}

fn on(_done: u64, _total: u64) -> Wish {
    Wish::GoOn
}

/// How many examples the trained model gets right as they are.
fn clean() -> u64 {
    // Made before gradients are off: whoever asks for the model first trains it.
    let model = trained::model();
    let batch = trained::examples().range(0, trained::EXAMPLES).unwrap();
    let logits = tch::no_grad(|| model.forward(&batch.pixels, Mode::Eval)).unwrap().logits;
    logits.argmax(1, false).eq_tensor(&batch.labels).sum(Kind::Int64).int64_value(&[]) as u64
}

#[test]
fn a_model_that_sees_all_frequencies_is_as_right_as_ever_and_one_that_sees_none_guesses() {
    let (model, examples) = (trained::model(), trained::examples());
    let found = accuracy_by_radius(&model, &examples, &[2.0, 23.0], 32, &mut on).unwrap();
    println!("{found:?}; {} are right as they are", clean());
    let [_, _, all, none] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((all.pass, all.radius, all.examples, all.correct), (Pass::Low, 23.0, 90, clean()));
    assert_eq!((none.pass, none.radius, none.examples), (Pass::High, 23.0, 90));
    let labels = examples.labels().unwrap();
    let of_class = |class: i64| labels.iter().filter(|label| **label == class).count() as u64;
    assert!((0..3).any(|class| none.correct == of_class(class)), "one grey image had several predictions: {none:?}");
    let others = accuracy_by_radius(&model, &examples, &[2.0, 23.0], 7, &mut on).unwrap();
    assert_eq!(found, others);
}

fn map(waves: Waves, batch_size: usize) -> HeatMap {
    fourier_heat_map(&trained::model(), &trained::examples(), waves, batch_size, &mut on).unwrap()
}

#[test]
fn a_heat_map_counts_the_errors_of_every_frequency() {
    let waves = Waves { norm: 4.0, seed: 0, reach: Some(2) };
    let found = map(waves, 90);
    println!("{found:?}; {} are right as they are", clean());
    assert_eq!((found.examples, &found.vertical, &found.horizontal), (90, &vec![-2, -1, 0, 1, 2], &found.vertical));
    for (row, column) in (0..5).flat_map(|row| (0..5).map(move |column| (row, column))) {
        assert_eq!(found.errors[row][column], found.errors[4 - row][4 - column], "opposite frequencies differ");
    }
    let batch = trained::examples().range(0, 90).unwrap();
    let model = trained::model();
    // At one frequency, what is counted is checked with signs that do not matter: both are tried.
    let errors = |sign: f64| {
        let pixels =
            (&batch.pixels + wave([32, 32], [1, 2]).unwrap().to_kind(Kind::Float) * 4.0 * sign).clamp(0.0, 1.0);
        let logits = tch::no_grad(|| model.forward(&pixels, Mode::Eval)).unwrap().logits;
        logits.argmax(1, false).ne_tensor(&batch.labels)
    };
    let [plus, minus] = [errors(1.0), errors(-1.0)];
    let count = |errors: Tensor| errors.sum(Kind::Int64).int64_value(&[]) as u64;
    let (least, most) = (count(plus.logical_and(&minus)), count(plus.logical_or(&minus)));
    assert!((least..=most).contains(&found.errors[3][4]), "{} is not in {least}..={most}", found.errors[3][4]);
    assert_eq!(found, map(waves, 13), "batches change the map");
    let nearer = map(Waves { reach: Some(1), ..waves }, 90);
    let inner: Vec<Vec<u64>> = found.errors[1..4].iter().map(|row| row[1..4].to_vec()).collect();
    assert_eq!(nearer.errors, inner, "the reach changes the errors");
}

#[test]
fn faint_waves_change_no_prediction_and_strong_ones_do() {
    let errors = |norm: f64| map(Waves { norm, seed: 0, reach: Some(1) }, 90).errors;
    let wrong = 90 - clean();
    assert_eq!(errors(1e-6), vec![vec![wrong; 3]; 3]);
    assert!(errors(30.0).into_iter().flatten().max() > Some(wrong));
}

#[test]
fn both_can_be_stopped_and_tell_how_far_they_are() {
    let (model, examples) = (trained::model(), trained::examples());
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done >= 90 { Wish::Stop } else { Wish::GoOn }
    };
    let stopped = accuracy_by_radius(&model, &examples, &[3.0, 5.0], 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    let waves = Waves { norm: 1.0, seed: 0, reach: Some(1) };
    let stopped = fourier_heat_map(&model, &examples, waves, 45, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    let (accuracies, maps): (Vec<_>, Vec<_>) = heard.into_iter().partition(|(_, total)| *total == 360);
    assert_eq!(accuracies, [(0, 360), (45, 360), (90, 360)]);
    assert_eq!(maps, [(0, 450), (45, 450), (90, 450)]);
}

fn assert_refused(result: Result<impl Debug, LabError>, says: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, LabError::Spec(_)) && error.to_string().contains(says), "{error}");
}

#[test]
fn what_has_no_frequencies_is_refused() {
    for radius in [-1.0, f64::NAN, f64::INFINITY] {
        assert_refused(low_pass(&images("odd"), radius), "zero or above");
    }
    assert_refused(high_pass(&images("odd").select(0, 0), 1.0), "four dimensions");
    assert_refused(spectrum(&images("odd").narrow(0, 0, 0)), "four dimensions");
    assert_refused(spectrum(&(images("odd") / 0.0)), "not finite");
    assert_refused(wave([0, 3], [0, 0]), "no wave");
    let (model, examples) = (trained::model(), trained::examples());
    let waves = Waves { norm: 0.0, seed: 0, reach: None };
    assert_refused(fourier_heat_map(&model, &examples, waves, 8, &mut on), "above zero");
    assert_refused(accuracy_by_radius(&model, &examples, &[f64::NAN], 8, &mut on), "zero or above");
}

/// Energy of a perturbation's channel by rounded distance from frequency zero, from the sums that define the DFT.
fn direct_energy(values: &[f64], [height, width]: [usize; 2]) -> BTreeMap<u32, f64> {
    let signed = |index: usize, length: usize| {
        let index = index as f64;
        if 2.0 * index >= length as f64 { index - length as f64 } else { index }
    };
    let mut rings = BTreeMap::new();
    for (v, h) in (0..height).flat_map(|v| (0..width).map(move |h| (v, h))) {
        let [mut real, mut imaginary] = [0.0; 2];
        for (place, value) in values.iter().enumerate() {
            let [y, x] = [place / width, place % width].map(|part| part as f64);
            let angle = TAU * (v as f64 * y / height as f64 + h as f64 * x / width as f64);
            real += value * angle.cos();
            imaginary -= value * angle.sin();
        }
        let distance = signed(v, height).hypot(signed(h, width)).round() as u32;
        *rings.entry(distance).or_insert(0.0) += real * real + imaginary * imaginary;
    }
    rings
}

/// Shares of the energy of images, f64 \[n,C,H,W\], by the direct DFT.
fn direct_shares(perturbations: &Tensor) -> Vec<(u32, f64)> {
    let size = perturbations.size();
    let planes = perturbations.view([-1, size[2] * size[3]]);
    let mut rings: BTreeMap<u32, f64> = BTreeMap::new();
    for plane in 0..planes.size()[0] {
        let values: Vec<f64> = Vec::try_from(planes.get(plane)).unwrap();
        for (radius, energy) in direct_energy(&values, [size[2] as usize, size[3] as usize]) {
            *rings.entry(radius).or_default() += energy;
        }
    }
    let whole: f64 = rings.values().sum();
    rings.into_iter().map(|(radius, energy)| (radius, energy / whole)).collect()
}

fn assert_same_shares(found: &[(u32, f64)], expected: &[(u32, f64)], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for ((radius, share), expected) in found.iter().zip(expected) {
        assert!(*radius == expected.0 && (share - expected.1).abs() < tolerance, "{radius}: {share} {expected:?}");
    }
}

#[test]
fn the_shares_of_energy_are_those_of_a_direct_dft_however_the_images_are_split() {
    let perturbations = images("odd").to_kind(Kind::Double) - 0.4;
    let more = formula_pixels("frequency.more", &[3, 3, 9, 12]).to_kind(Kind::Double) * 0.1 - 0.02;
    let mut energy = Energy::default();
    energy.add(&perturbations).unwrap();
    energy.add(&more).unwrap();
    assert_same_shares(&energy.shares(), &direct_shares(&Tensor::cat(&[&perturbations, &more], 0)), 1e-12);
    assert!((energy.shares().iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-12);
    assert_refused(energy.add(&images("even")), "several sizes");
}

fn one_step(norm: Norm, epsilons: &[f64]) -> Ascents {
    Ascents { norm, epsilons: epsilons.to_vec(), steps: 1, step_of_eps: 1.0 }
}

#[test]
fn adversarial_perturbations_lie_where_the_signs_of_the_gradients_do() {
    let model = trained::model();
    let mut images = support::squares("spectrum", 4);
    images.labels[2] = (images.labels[2] + 1) % 3;
    let examples = gauntlet_lab::Examples::from_images(&images, 3, tch::Device::Cpu).unwrap();
    let found = spectra(&model, &examples, &one_step(Norm::Linf, &[0.02, 0.05]), 3, 4, &mut on).unwrap();
    let batch = examples.range(0, 4).unwrap();
    let pixels = batch.pixels.copy().set_requires_grad(true);
    let loss = model.forward(&pixels, Mode::Eval).unwrap().logits.cross_entropy_for_logits(&batch.labels);
    let signs = Tensor::run_backward(&[loss], &[&pixels], false, false)[0].sign();
    for (Spectrum { eps, adversarial, .. }, radius) in found.iter().zip([0.02, 0.05]) {
        assert_eq!(*eps, radius);
        let moved = (&batch.pixels + &signs * radius).clamp(0.0, 1.0).to_kind(Kind::Double);
        let expected = direct_shares(&(moved - batch.pixels.to_kind(Kind::Double)));
        assert_same_shares(&adversarial.shares(), &expected, 1e-4);
    }
}

#[test]
fn noise_has_as_large_a_share_at_each_distance_as_there_are_frequencies() {
    let model = trained::model();
    for norm in [Norm::Linf, Norm::L2] {
        let found = spectra(&model, &trained::examples(), &one_step(norm, &[0.001]), 3, 45, &mut on).unwrap();
        let rings = spectrum(&images("even")).unwrap();
        let white: Vec<(u32, f64)> =
            rings.iter().map(|ring| (ring.radius, f64::from(ring.frequencies) / 1024.0)).collect();
        assert_same_shares(&found[0].noise.shares(), &white, 0.01);
        let parts = spectra(&model, &trained::examples(), &one_step(norm, &[0.001]), 3, 13, &mut on).unwrap();
        assert_same_shares(&parts[0].noise.shares(), &found[0].noise.shares(), 1e-9);
        assert_same_shares(&parts[0].adversarial.shares(), &found[0].adversarial.shares(), 1e-3);
    }
}

#[test]
fn a_model_without_gradients_has_perturbations_of_nothing_and_no_shares() {
    let found =
        spectra(&trained::constant(1), &trained::examples(), &one_step(Norm::Linf, &[0.05]), 3, 90, &mut on).unwrap();
    assert!(found[0].adversarial.shares().is_empty());
    assert!(!found[0].noise.shares().is_empty());
}
