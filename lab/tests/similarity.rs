//! Similarity of layers: agreement with whole matrices and with published code, on values of `reference/golden_similarity.py`, and what must hold of
//! every pair of layers.
//!
//! `cargo test -p gauntlet-lab --test similarity -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::experiment::{Backbone, Weights};
use gauntlet_lab::analyses::moments::Moments;
use gauntlet_lab::analyses::similarity::{LayerSimilarity, Similarity, compare};
use gauntlet_lab::models::{Checkpoints, Model, starting_weights};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Examples, LabError};
use support::{Golden, floats, formula_examples, model_spec, pattern};
use tch::{Device, Kind, Tensor};

const THRESHOLD: f64 = Similarity::THRESHOLD;

/// f64 values of the formula.
fn values(name: &str, shape: &[i64]) -> Tensor {
    Tensor::from_slice(&pattern(name, shape.iter().product::<i64>() as usize)).view(shape).to_kind(Kind::Double)
}

fn low_rank(factors: &Tensor, name: &str, points: i64, channels: i64, noise: f64) -> Tensor {
    let loadings = values(&format!("{name}.loadings"), &[factors.size()[1], channels]);
    let noise = values(&format!("{name}.noise"), &[points, channels]) * noise;
    factors.matmul(&loadings) + noise + values(&format!("{name}.mean"), &[channels])
}

fn reflected(x: &Tensor, name: &str) -> Tensor {
    let v = values(name, &[x.size()[1]]);
    x - x.matmul(&v).outer(&v) * (2.0 / v.dot(&v).double_value(&[]))
}

fn first() -> Tensor {
    low_rank(&values("shared", &[400, 6]), "low-rank.0", 400, 24, 0.2)
}

fn second() -> Tensor {
    low_rank(&values("shared", &[400, 6]), "low-rank.1", 400, 16, 0.2)
}

/// With a constant channel, one that is twice another, and one that hardly varies.
fn dead() -> Tensor {
    let x = first();
    let twice = x.select(1, 5) * 2.0;
    let faint = x.select(1, 11) * 1e-7;
    let _constant = x.select(1, 3).fill_(0.7);
    x.select(1, 7).copy_(&twice);
    x.select(1, 11).copy_(&faint);
    x
}

/// The cases of the reference.
fn cases() -> Vec<(&'static str, Tensor, Tensor)> {
    let few = values("few", &[20, 3]);
    let rotated = reflected(&first(), "mirror") * 3.0 + values("rotated.noise", &[400, 24]) * 0.3 - 1.0;
    let maps = values("maps", &[20, 8, 5, 4]);
    let over_channels = |x: &Tensor, by: &Tensor| x.permute([0, 2, 3, 1]).matmul(by).permute([0, 3, 1, 2]);
    let mixed =
        over_channels(&maps, &values("maps.mixing", &[8, 8])).relu() + values("maps.noise", &[20, 8, 5, 4]) * 0.1;
    let tokens = values("tokens", &[30, 7, 10]);
    let mixed_tokens = tokens.relu().matmul(&values("tokens.mixing", &[10, 10]));
    vec![
        ("low-rank", first(), second()),
        ("low-rank.reversed", second(), first()),
        ("rotated", first(), rotated),
        ("independent", values("independent.0", &[400, 12]), values("independent.1", &[400, 20])),
        ("wide", low_rank(&few, "wide.0", 20, 30, 0.1), low_rank(&few, "wide.1", 20, 40, 0.1)),
        ("dead", dead(), second()),
        ("convolution", maps, mixed),
        ("tokens", tokens, mixed_tokens),
    ]
}

fn moments(x: &Tensor, y: &Tensor, batch: i64) -> Moments {
    let mut moments = Moments::default();
    for start in (0..x.size()[0]).step_by(batch as usize) {
        let part = |layer: &Tensor| layer.narrow(0, start, batch.min(layer.size()[0] - start));
        moments.add([&part(x), &part(y)]).unwrap();
    }
    moments
}

fn similarity(x: &Tensor, y: &Tensor) -> Similarity {
    Similarity::of(&moments(x, y, 64), THRESHOLD).unwrap()
}

fn measures(similarity: &Similarity) -> [(&'static str, f64); 4] {
    let Similarity { cka, cca, svcca, pwcca, .. } = *similarity;
    [("cka", cka), ("cca", cca), ("svcca", svcca), ("pwcca", pwcca)]
}

fn assert_close(what: &str, found: &Similarity, expected: &Similarity, tolerance: f64) {
    for ((measure, value), (_, other)) in measures(found).into_iter().zip(measures(expected)) {
        assert!((value - other).abs() <= tolerance, "{what}: {measure} is {value}, expected {other}");
    }
    assert_eq!([found.ranks, found.directions], [expected.ranks, expected.directions], "{what}");
}

fn assert_equal_layers(what: &str, similarity: &Similarity) {
    for (measure, value) in measures(similarity) {
        assert!((value - 1.0).abs() < 1e-9, "{what}: {measure} is {value}");
    }
}

#[test]
fn all_measures_equal_those_of_whole_matrices() {
    let golden = Golden::read("similarity");
    for (case, x, y) in cases() {
        let found = similarity(&x, &y);
        let counts = |what: &str| golden.classes(&format!("{case}.{what}"));
        assert_eq!(
            [found.directions.to_vec(), found.ranks.to_vec()],
            [counts("directions"), counts("ranks")],
            "{case}"
        );
        for (measure, value) in measures(&found) {
            let gap = (value - f64::from(floats(golden.get(&format!("{case}.{measure}")))[0])).abs();
            println!("{case} {measure}: {value:.6}, differs by {gap:.1e}");
            assert!(gap < 1e-6, "{case}: {measure} differs by {gap:e}");
        }
    }
}

#[test]
fn layers_of_full_rank_have_the_similarity_that_published_code_gives_them() {
    let golden = Golden::read("similarity");
    let mut compared = 0;
    for (case, x, y) in cases() {
        let found = similarity(&x, &y);
        for (measure, value) in measures(&found) {
            let name = format!("{case}.published.{measure}");
            if golden.names().any(|known| known == name) {
                let gap = (value - f64::from(floats(golden.get(&name))[0])).abs();
                println!("{name}: differs by {gap:.1e}");
                assert!(gap < 1e-4, "{name} differs by {gap:e}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 24);
}

#[test]
fn a_layer_is_similar_to_itself_even_with_dead_and_redundant_channels() {
    for (case, x, y) in cases() {
        assert_equal_layers(case, &similarity(&x, &x));
        assert_equal_layers(case, &similarity(&y, &y));
    }
}

#[test]
fn cka_ignores_orthogonal_maps_and_scales_and_no_other_linear_map() {
    let (x, y) = (first(), second());
    let plain = similarity(&x, &y);
    let moved = similarity(&(reflected(&x, "mirror") * 7.0 + 3.0), &(reflected(&y, "other mirror") * 0.01));
    assert!((plain.cka - moved.cka).abs() < 1e-9, "{} became {}", plain.cka, moved.cka);
    assert!((plain.svcca - moved.svcca).abs() < 1e-9, "{} became {}", plain.svcca, moved.svcca);
    let stretched = similarity(&x.matmul(&values("map", &[24, 24])), &y);
    assert!((plain.cka - stretched.cka).abs() > 1e-3, "{} stayed {}", plain.cka, stretched.cka);
}

#[test]
fn cca_ignores_every_invertible_linear_map() {
    let (x, y) = (first(), second());
    let plain = similarity(&x, &y);
    let mapped = similarity(&x.matmul(&values("map", &[24, 24])), &(y.matmul(&values("other map", &[16, 16])) - 5.0));
    assert!((plain.cca - mapped.cca).abs() < 1e-7, "{} became {}", plain.cca, mapped.cca);
}

#[test]
fn independent_layers_are_hardly_similar() {
    let found = similarity(&values("a", &[20_000, 12]), &values("b", &[20_000, 12]));
    for (measure, value) in measures(&found) {
        assert!(value < 0.03, "{measure} of independent layers is {value}");
    }
}

#[test]
fn batches_of_any_size_come_to_what_one_pass_does() {
    for (case, x, y) in cases() {
        let whole = Similarity::of(&moments(&x, &y, x.size()[0]), THRESHOLD).unwrap();
        for batch in [1, 3, 7, 50] {
            let found = Similarity::of(&moments(&x, &y, batch), THRESHOLD).unwrap();
            assert_close(&format!("{case} in batches of {batch}"), &found, &whole, 1e-9);
        }
    }
}

#[test]
fn large_means_cost_no_digits() {
    let plain = similarity(&first(), &second());
    let far = similarity(&(first() + 1e4), &(second() - 3e4));
    assert_close("far from zero", &far, &plain, 1e-7);
}

#[test]
fn a_constant_layer_is_similar_to_nothing() {
    let constant = Tensor::full([400, 5], 0.1, (Kind::Float, Device::Cpu)).to_kind(Kind::Double);
    for (x, y) in [(&constant, &first()), (&first(), &constant), (&constant, &constant)] {
        let found = similarity(x, y);
        assert_eq!(measures(&found).map(|(_, value)| value), [0.0; 4]);
        assert_eq!((found.points, found.ranks, found.directions), (400, [0; 2], [0; 2]));
    }
    let point = Similarity::of(&moments(&first().narrow(0, 0, 1), &second().narrow(0, 0, 1), 1), THRESHOLD).unwrap();
    assert_eq!((point.points, point.cka, point.cca), (1, 0.0, 0.0));
}

#[test]
fn correlations_that_are_high_by_counting_alone_are_told() {
    let found = similarity(&values("a", &[20, 30]), &values("b", &[20, 40]));
    assert!(found.is_underdetermined() && (found.cca - 1.0).abs() < 1e-9, "{found:?}");
    assert_eq!(found.ranks, [19, 19]);
    assert!(!similarity(&first(), &second()).is_underdetermined());
}

fn assert_refused(result: Result<impl std::fmt::Debug, LabError>, says: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, LabError::Spec(_)) && error.to_string().contains(says), "{error}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let mut moments = Moments::default();
    let maps = |height: i64, width: i64| values("maps", &[2, 3, height, width]);
    assert_refused(moments.add([&maps(4, 6), &maps(6, 4)]), "do not show the same data points");
    assert_refused(moments.add([&maps(4, 4), &values("flat", &[32, 3])]), "do not show the same data points");
    assert_refused(moments.add([&values("line", &[8]), &values("line", &[8])]), "have no channels");
    assert_refused(Similarity::of(&moments, THRESHOLD), "no activations");
    moments.add([&values("a", &[9, 3]), &values("b", &[9, 4])]).unwrap();
    assert_refused(moments.add([&values("a", &[9, 4]), &values("b", &[9, 4])]), "channels changed");
    for threshold in [0.0, 1.1, f64::NAN] {
        assert_refused(Similarity::of(&moments, threshold), "above 0 and at most 1");
    }
    moments.add([&values("a", &[9, 3]), &(values("b", &[9, 4]) / 0.0)]).unwrap();
    assert_refused(Similarity::of(&moments, THRESHOLD), "second model are not finite");
}

/// An untrained model.
fn model(backbone: Backbone, classes: u32, seed: u64) -> Model {
    let spec = model_spec(backbone, 1, classes);
    let (tasks, files) = ([].into(), [].into());
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let parameters = starting_weights(&spec, &Weights::Scratch, seed, checkpoints, Device::Cpu).unwrap();
    Model::new(&spec, parameters, Device::Cpu).unwrap()
}

fn examples(count: u32) -> Examples {
    formula_examples("similarity.pixels", (0..count).map(|index| index % 10).collect(), 10)
}

fn compared(models: [&Model; 2], examples: &Examples, batch_size: usize) -> Vec<LayerSimilarity> {
    compare(models, examples, batch_size, THRESHOLD, &mut |_, _| Wish::GoOn).unwrap()
}

#[test]
fn a_model_equals_itself_at_each_layer_and_one_of_another_seed_does_not() {
    let [model_0, model_1] = [0, 1].map(|seed| model(Backbone::ResNet18W16, 10, seed));
    let examples = examples(600);
    let layers = ["stem", "layer1", "layer2", "layer3", "layer4", "features", "logits"];
    let itself = compared([&model_0, &model_0], &examples, 128);
    assert_eq!(itself.iter().map(|layer| layer.layer.as_str()).collect::<Vec<_>>(), layers);
    let other = compared([&model_0, &model_1], &examples, 128);
    for (same, other) in itself.iter().zip(&other) {
        assert_equal_layers(&same.layer, &same.similarity);
        assert!(!other.similarity.is_underdetermined(), "{other:?}");
        for (measure, value) in measures(&other.similarity) {
            println!("{} {measure}: {value:.4}", other.layer);
            assert!((0.0..0.999).contains(&value), "{} {measure} is {value}", other.layer);
        }
    }
    assert_eq!(itself[0].similarity.points, 600 * 16 * 16);
}

#[test]
fn the_comparison_of_models_depends_on_the_batch_size_by_rounding_alone() {
    let [source, target] = [(0, 10), (1, 3)].map(|(seed, classes)| model(Backbone::ResNet18W16, classes, seed));
    let examples = examples(300);
    let [one, other] = [300, 77].map(|batch_size| compared([&source, &target], &examples, batch_size));
    for (one, other) in one.iter().zip(&other) {
        // The passes themselves are in f32.
        assert_close(&one.layer, &one.similarity, &other.similarity, 1e-5);
    }
    assert!(one[6].similarity.ranks[0] <= 10 && one[6].similarity.ranks[1] <= 3, "{:?}", one[6]);
}

#[test]
fn a_comparison_can_be_stopped_and_tells_how_far_it_is() {
    let model = model(Backbone::ResNet18W16, 10, 0);
    let examples = examples(20);
    let mut heard = Vec::new();
    let mut go_on = |done, total| {
        heard.push((done, total));
        if done == 16 { Wish::Stop } else { Wish::Checkpoint }
    };
    let stopped = compare([&model, &model], &examples, 8, THRESHOLD, &mut go_on);
    assert!(matches!(stopped, Err(LabError::Interrupted)), "{stopped:?}");
    assert_eq!(heard, [(0, 20), (8, 20), (16, 20)]);
}

#[test]
fn models_of_other_stages_are_refused() {
    let [narrow, dense] = [Backbone::ResNet18W16, Backbone::DenseNet121].map(|backbone| model(backbone, 10, 0));
    let refused = compare([&narrow, &dense], &examples(4), 4, THRESHOLD, &mut |_, _| Wish::GoOn);
    assert_refused(refused, "cannot be compared");
}
