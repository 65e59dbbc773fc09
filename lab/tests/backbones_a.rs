//! Backbones agree with torchvision's and RobustBench's networks, on values that `reference/golden_backbones_a.py` computed with them.
//!
//! `cargo test -p gauntlet-lab --test backbones_a -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used, reason = "a test may stop at once")]

mod support;

use std::collections::BTreeMap;

use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackSpec, Backbone, DatasetSpec, Head, ImageShape, Length, ModelSpec,
    NUMERICS_VERSION, Norm, Objective, ParameterShape, Recipe, Stem, TaskSpec, TrainSpec, Weights,
};
use gauntlet_domain::{Digest, TaskId};
use gauntlet_lab::models::{Dropout, Mode, Model, Parameters, Train};
use gauntlet_lab::{Lab, Settings, TaskOutput};
use support::{Bench, Golden, Notes, formula_pixels, given, model_spec, pattern, relative_difference};
use tch::{Device, Kind, Tensor};

/// A prime number: no two rows of a matrix are equal.
const PERIOD: usize = 65_537;
/// At most so many values of a tensor are compared.
const SAMPLED: usize = 600;

/// The first values of the pattern, over and over: as `tiled` in the script.
fn tiled(parameter: &ParameterShape) -> Tensor {
    let count = parameter.shape.iter().product::<u64>() as i64;
    let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
    let first = Tensor::from_slice(&pattern(&parameter.name, (count as usize).min(PERIOD)));
    let times = (count as usize).div_ceil(PERIOD) as i64;
    first.repeat([times]).narrow(0, 0, count).view(size.as_slice())
}

fn filled(parameter: &ParameterShape, gain: f64) -> Tensor {
    let mut values = tiled(parameter);
    if let [_, inputs @ ..] = parameter.shape.as_slice()
        && !inputs.is_empty()
    {
        let bound = (gain / inputs.iter().product::<u64>() as f64).sqrt();
        values *= f64::from(bound as f32);
    } else if parameter.name.ends_with("running_var") {
        values = 0.5 * values + 1.0;
    } else if parameter.name.ends_with("bn3.weight") {
        // Branches of half the weight in deep nets would add rounding up to a thousandth.
        values = 0.03125 * values + 0.125;
    } else if parameter.name.ends_with("weight") {
        values = 0.125 * values + 0.5;
    } else {
        values *= f64::from(0.1f32);
    }
    values
}

fn spec(backbone: Backbone, stem: Stem) -> ModelSpec {
    ModelSpec { stem, ..model_spec(backbone, 3, 10) }
}

/// The model that the script fills.
fn filled_model(spec: &ModelSpec, gain: f64, kind: Kind) -> Model {
    let tensor = |parameter: ParameterShape| (parameter.name.clone(), filled(&parameter, gain).to_kind(kind));
    let tensors: BTreeMap<String, Tensor> = spec.state_dict().into_iter().map(tensor).collect();
    Model::new(spec, Parameters::new(tensors), Device::Cpu).unwrap()
}

/// Evenly spaced values, as `sample` in the script.
fn sample(tensor: &Tensor) -> Tensor {
    let flat = tensor.detach().flatten(0, -1);
    let step = (flat.numel()).div_ceil(SAMPLED) as i64;
    flat.slice(0, None, None, step)
}

fn running_variances(model: &Model, spec: &ModelSpec) -> Vec<Tensor> {
    let names = spec.state_dict().into_iter().map(|parameter| parameter.name);
    names.filter(|name| name.ends_with("running_var")).map(|name| model.parameters().tensors()[&name].copy()).collect()
}

fn assert_close(what: &str, found: &Tensor, tolerance: f64) {
    let golden = Golden::read("backbones_a");
    let golden = golden.get(what);
    assert_eq!(found.numel(), golden.numel(), "{what}");
    let difference = relative_difference(found, golden);
    println!("{what} in {:?}: {difference:.1e}", found.kind());
    assert!(difference < tolerance, "{what} in {:?} differs by {difference:e}", found.kind());
}

/// Logits and features of the model whose normalisations are folded into its convolutions.
fn assert_folded_agrees(case: &str, model: &Model, spec: &ModelSpec, [count, side]: [i64; 2]) {
    let tensors = model.parameters().tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let folded = Model::new(spec, Parameters::new(tensors.collect()).frozen(), Device::Cpu).unwrap();
    let output =
        folded.forward(&formula_pixels(&format!("{case}.pixels"), &[count, 3, side, side]), Mode::Eval).unwrap();
    assert_close(&format!("{case}.eval.logits"), &output.logits, 1e-4);
    assert_close(&format!("{case}.eval.features"), &sample(&output.features), 1e-4);
}

/// Logits, features and running statistics, in both modes.
fn assert_outputs_agree(case: &str, model: &Model, spec: &ModelSpec, [count, side]: [i64; 2]) {
    let pixels = formula_pixels(&format!("{case}.pixels"), &[count, 3, side, side]);
    for (mode, name) in [(Mode::Eval, "eval"), (Mode::TRAIN, "train")] {
        let output = model.forward(&pixels, mode).unwrap();
        assert_close(&format!("{case}.{name}.logits"), &output.logits, 1e-4);
        assert_close(&format!("{case}.{name}.features"), &sample(&output.features), 1e-4);
        let variances = running_variances(model, spec);
        if !variances.is_empty() {
            assert_close(&format!("{case}.{name}.running_var"), &sample(&Tensor::cat(&variances, 0)), 1e-4);
        }
    }
}

/// Gradients with respect to the pixels, in both modes.
fn assert_gradients_agree(case: &str, model: &Model, [count, side]: [i64; 2]) {
    let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(10);
    for (mode, name) in [(Mode::Eval, "eval"), (Mode::TRAIN, "train")] {
        let pixels = formula_pixels(&format!("{case}.pixels"), &[count, 3, side, side]).to_kind(Kind::Double);
        let pixels = pixels.set_requires_grad(true);
        let output = model.forward(&pixels, mode).unwrap();
        let loss = output.logits.cross_entropy_for_logits(&labels);
        let gradient = Tensor::run_backward(&[loss], &[&pixels], false, false).remove(0);
        assert_close(&format!("{case}.{name}.input_gradient"), &sample(&gradient), 1e-3);
    }
}

fn assert_takes_images_from_its_smallest_size_on(model: &Model, spec: &ModelSpec) {
    let least = i64::from(spec.backbone.min_image_size(spec.stem));
    let output = model.forward(&formula_pixels("least", &[1, 3, least, least]), Mode::Eval).unwrap();
    assert_eq!(output.logits.size(), [1, 10]);
    assert!(bool::try_from(output.logits.isfinite().all()).unwrap());
}

/// Outputs are compared in f32. Gradients are compared in f64, where no ReLU turns over by rounding.
fn assert_agrees_and_takes_small_images(
    case: &str,
    (backbone, stem): (Backbone, Stem),
    gain: f64,
    size: [i64; 2],
) -> Model {
    let spec = spec(backbone, stem);
    assert_gradients_agree(case, &filled_model(&spec, gain, Kind::Double), size);
    let model = filled_model(&spec, gain, Kind::Float);
    assert_folded_agrees(case, &model, &spec, size);
    assert_outputs_agree(case, &model, &spec, size);
    assert_takes_images_from_its_smallest_size_on(&model, &spec);
    model
}

fn fails_one_pixel_below(model: &Model, backbone: Backbone) -> bool {
    let side = i64::from(backbone.min_image_size(Stem::Standard)) - 1;
    model.forward(&formula_pixels("below", &[1, 3, side, side]), Mode::Eval).is_err()
}

/// Dropout scales what it keeps, follows its step, and is off without one.
fn assert_drops_in_training_only(model: &Model, side: i64) {
    let pixels = formula_pixels("dropout", &[2, 3, side, side]);
    let at = |iteration: Option<u32>| {
        let dropout = iteration.map(|iteration| Dropout { seed: 1, iteration, first_row: 0 });
        model
            .forward(&pixels, Mode::Train(Train { moves_statistics: false, batch_norm_momentum: None, dropout }))
            .unwrap()
            .logits
    };
    assert_eq!(at(Some(0)), at(Some(0)));
    assert_ne!(at(Some(0)), at(Some(1)));
    assert_ne!(at(Some(0)), at(None));
    assert_eq!(at(None), at(None));
}

#[test]
fn alexnet_agrees_with_torchvision() {
    let backbone = (Backbone::AlexNet, Stem::Standard);
    let model = assert_agrees_and_takes_small_images("alexnet", backbone, 6.0, [2, 96]);
    assert!(fails_one_pixel_below(&model, backbone.0));
    assert_drops_in_training_only(&model, 63);
}

#[test]
fn vgg16_with_batch_norm_agrees_with_torchvision() {
    let backbone = (Backbone::Vgg16Bn, Stem::Standard);
    let model = assert_agrees_and_takes_small_images("vgg16_bn", backbone, 24.0, [2, 64]);
    assert!(fails_one_pixel_below(&model, backbone.0));
    assert_drops_in_training_only(&model, 32);
}

#[test]
fn densenet121_agrees_with_torchvision() {
    let backbone = (Backbone::DenseNet121, Stem::Standard);
    let model = assert_agrees_and_takes_small_images("densenet121", backbone, 24.0, [2, 64]);
    assert!(fails_one_pixel_below(&model, backbone.0));
}

#[test]
fn deeper_resnets_agree_with_torchvision() {
    for backbone in [Backbone::ResNet34, Backbone::ResNet50, Backbone::ResNet101, Backbone::WideResNet50x2] {
        assert_agrees_and_takes_small_images(backbone.name(), (backbone, Stem::Standard), 12.0, [2, 48]);
    }
}

#[test]
fn resnets_with_a_stem_for_cifar_agree_with_torchvisions_of_that_stem() {
    for backbone in [Backbone::ResNet18, Backbone::ResNet50] {
        let case = format!("{backbone}.cifar");
        assert_agrees_and_takes_small_images(&case, (backbone, Stem::Cifar), 12.0, [2, 32]);
    }
}

#[test]
fn nets_with_pre_activation_agree_with_robustbench() {
    for (backbone, images) in [(Backbone::PreActResNet18, 2), (Backbone::Wrn28x10, 2), (Backbone::Wrn34x10, 1)] {
        assert_agrees_and_takes_small_images(backbone.name(), (backbone, Stem::Standard), 12.0, [images, 32]);
    }
}

#[test]
fn a_stem_for_cifar_is_refused_where_the_backbone_has_none() {
    let spec = spec(Backbone::PreActResNet18, Stem::Cifar);
    let tensors = spec.state_dict().into_iter().map(|parameter| (parameter.name.clone(), filled(&parameter, 1.0)));
    let error = Model::new(&spec, Parameters::new(tensors.collect()), Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("preact-resnet18 has no stem for CIFAR"), "{error}");
}

/// A tensor of a narrow net within that of a wider one: its channels come first, and those beyond are nothing.
fn widened(name: &str, narrow: &Tensor, shape: &[u64]) -> Tensor {
    let size: Vec<i64> = shape.iter().map(|length| *length as i64).collect();
    let rest = if name.ends_with("running_var") { 1.0 } else { 0.0 };
    let wide = Tensor::full(size.as_slice(), rest, (narrow.kind(), Device::Cpu));
    let place = narrow
        .size()
        .iter()
        .enumerate()
        .fold(wide.shallow_clone(), |place, (axis, length)| place.narrow(axis as i64, 0, *length));
    place.shallow_clone().copy_(narrow);
    wide
}

#[test]
fn a_narrow_resnet_computes_what_the_published_one_does_whose_other_channels_are_nothing() {
    for (backbone, features) in [(Backbone::ResNet18, 256), (Backbone::ResNet50, 1024), (Backbone::PreActResNet18, 256)]
    {
        let published = spec(backbone, Stem::Standard);
        let narrow = ModelSpec { width: Some(32), ..published.clone() };
        let model = filled_model(&narrow, 6.0, Kind::Double);
        let shapes = model.parameters().tensors().iter().map(|(name, tensor)| (name.clone(), tensor.size()));
        let size = |tensor: ParameterShape| (tensor.name, tensor.shape.iter().map(|length| *length as i64).collect());
        let said: BTreeMap<String, Vec<i64>> = narrow.state_dict().into_iter().map(size).collect();
        assert_eq!(shapes.collect::<BTreeMap<_, _>>(), said, "{backbone}");

        let own = model.parameters().tensors();
        let tensors = published.state_dict().into_iter().map(|wide| {
            let tensor = widened(&wide.name, &own[&wide.name], &wide.shape);
            (wide.name, tensor)
        });
        let wide = Model::new(&published, Parameters::new(tensors.collect()), Device::Cpu).unwrap();
        let pixels = formula_pixels("width", &[2, 3, 64, 64]).to_kind(Kind::Double);
        let [narrow, wide] = [&model, &wide].map(|model| model.forward(&pixels, Mode::Eval).unwrap());
        assert_eq!(narrow.features.size(), [2, features], "{backbone}");
        assert!(relative_difference(&narrow.logits, &wide.logits) < 1e-5, "{backbone}");
        assert!(relative_difference(&narrow.features, &wide.features.narrow(1, 0, features)) < 1e-5, "{backbone}");
        assert_eq!(wide.features.narrow(1, features, features).abs().max().double_value(&[]), 0.0, "{backbone}");
    }
}

#[test]
fn a_width_is_refused_where_the_backbone_has_none() {
    let spec = ModelSpec { width: Some(32), ..spec(Backbone::Wrn28x10, Stem::Standard) };
    let tensors = spec.state_dict().into_iter().map(|parameter| (parameter.name.clone(), filled(&parameter, 1.0)));
    let error = Model::new(&spec, Parameters::new(tensors.collect()), Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("wrn-28-10 has no width of 32"), "{error}");
}

#[test]
fn densenet_a_resnet_for_cifar_and_a_narrow_one_are_trained_and_attacked() {
    let narrow = ModelSpec { width: Some(8), ..spec(Backbone::ResNet50, Stem::Standard) };
    for model in [spec(Backbone::DenseNet121, Stem::Standard), spec(Backbone::ResNet18, Stem::Cifar), narrow] {
        let bench = Bench::new(16);
        let image = ImageShape { channels: 3, ..bench.dataset.image };
        let dataset = DatasetSpec { image, examples: 8, ..bench.dataset.clone() };
        let model = ModelSpec { classes: 3, ..model };
        let recipe = Recipe { batch_size: 8, ..Bench::recipe(Objective::Standard, Length::Iterations(1)) };
        let train = bench.train_spec(Objective::Standard, Length::Iterations(1));
        let train = TrainSpec { dataset: dataset.clone(), model: model.clone(), recipe, ..train };
        let mut lab = Lab::new(Settings::default());
        let output = lab.execute(&TaskSpec::Train(train), &bench.inputs, &mut Notes::default()).unwrap();
        let TaskOutput::Trained { checkpoint } = output else { panic!("a training gave something else") };

        let task = TaskId::from_digest(Digest::of(b"training"));
        let inputs = given(&bench.inputs, task, checkpoint);
        let method = AttackMethod::Pgd { steps: 2, step_size: 0.1, random_start: true, restarts: 1 };
        let attack = AttackConfig {
            method,
            norm: Norm::Linf,
            eps: Some(0.2),
            target: None,
            early_stop: false,
            stop_at_interval: None,
        };
        let weights = Weights::Task { task, head: Head::Keep };
        let attack = AttackSpec {
            dataset,
            model,
            weights,
            attack,
            seed: 0,
            numerics: NUMERICS_VERSION,
            shard: None,
            cascade: None,
        };
        let output = lab.execute(&TaskSpec::Attack(attack), &inputs, &mut Notes::default()).unwrap();
        let TaskOutput::Attacked(result) = output else { panic!("an attack gave something else") };
        result.outcomes.check(8).unwrap();
        assert_eq!(result.model_queries, 5 * result.outcomes.clean_correct() as u64);
    }
}
