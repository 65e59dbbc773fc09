//! Agreement with torchvision and `efficientnet_lite_pytorch`, on values that `reference/golden_backbones_b.py` computed with them.
//!
//! `cargo test -p gauntlet-lab --test backbones_b -- --nocapture` prints the largest differences.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use gauntlet_domain::Digest;
use gauntlet_domain::catalogue;
use gauntlet_domain::experiment::{Backbone, Head, ModelSpec, Normalize, ParameterShape, Weights};
use gauntlet_lab::models::{Checkpoints, Dropout, Mode, Model, Parameters, Train, starting_weights};
use support::{Golden, formula_pixels, model_spec, relative_difference};
use tch::{Device, Kind, Tensor};

const CLASSES: u32 = 10;
/// Of long tensors the golden file keeps every so many-th value.
const KEPT: i64 = 13;
const LONG: usize = 5000;

/// `pattern` of `reference/make_golden.py`, computed by libtorch: a debug build takes too long for a hundred million values.
fn pattern(name: &str, count: i64) -> Tensor {
    let seed = name.bytes().fold(0x811C_9DC5_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let low = |x: Tensor| x.bitwise_and(0xFFFF_FFFF);
    let shifted = |x: &Tensor, bits: i64| x.bitwise_right_shift_tensor_scalar(bits);
    let mut h = low(Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 0x9E37_79B9_i64 + i64::from(seed));
    h = low(h.bitwise_xor_tensor(&shifted(&h, 16)) * 0x85EB_CA6B_i64);
    h = low(h.bitwise_xor_tensor(&shifted(&h, 13)) * 0xC2B2_AE35_i64);
    h = h.bitwise_xor_tensor(&shifted(&h, 16));
    shifted(&h, 8).to_kind(Kind::Float) * (2.0 / 16_777_216.0) - 1.0
}

/// `values_for` of `reference/golden_backbones_b.py`.
fn values_for(parameter: &ParameterShape, head: &str) -> Tensor {
    let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
    let values = pattern(&parameter.name, size.iter().product()).view(size.as_slice());
    let fan_in: i64 = size[1..].iter().product();
    let times = |factor: f64| &values * f64::from(factor as f32);
    let name = parameter.name.as_str();
    match size.len() {
        _ if name.starts_with(&format!("{head}.")) => times(1.0 / 1000f64.sqrt()),
        _ if name.ends_with("layer_scale") => times(0.25) + 0.5,
        4 => times((6.0 / fan_in as f64).sqrt()),
        2 => times((3.0 / fan_in as f64).sqrt()),
        _ if name.ends_with("running_var") => times(0.5) + 1.0,
        _ if name.ends_with("weight") => times(0.25) + 1.0,
        _ => times(0.1),
    }
}

fn filled(backbone: Backbone) -> BTreeMap<String, Tensor> {
    let list = spec(backbone).state_dict();
    list.iter().map(|parameter| (parameter.name.clone(), values_for(parameter, backbone.head()))).collect()
}

fn spec(backbone: Backbone) -> ModelSpec {
    model_spec(backbone, 3, CLASSES)
}

/// In double precision up to the head, as the reference computes the nets with ReLU6: an activation within single precision of a kink has one gradient
/// or the other by chance.
fn precise(backbone: Backbone) -> BTreeMap<String, Tensor> {
    let head = format!("{}.", backbone.head());
    let kind = |name: &str| if name.starts_with(&head) { Kind::Float } else { Kind::Double };
    filled(backbone).into_iter().map(|(name, tensor)| (name.clone(), tensor.to_kind(kind(&name)))).collect()
}

fn model(backbone: Backbone, tensors: BTreeMap<String, Tensor>) -> Model {
    Model::new(&spec(backbone), Parameters::new(tensors), Device::Cpu).unwrap()
}

fn sampled(tensor: &Tensor) -> Tensor {
    let flat = tensor.detach().flatten(0, -1);
    if flat.numel() > LONG { flat.slice(0, 0, None, KEPT) } else { flat }
}

fn compare(what: &str, found: &Tensor, golden: &Tensor, tolerance: f64) {
    let difference = relative_difference(found, golden);
    println!("{what}: {difference:.1e}");
    assert!(difference < tolerance, "{what} differs by {difference:e}");
}

/// Logits, features, gradients and running statistics, in these modes one after the other.
fn assert_agrees(golden: &Golden, case: &str, model: &Model, size: [i64; 4], modes: &[(Mode, &str)]) {
    let labels = Tensor::arange(size[0], (Kind::Int64, Device::Cpu)).remainder(i64::from(CLASSES));
    let tensors = model.parameters().tensors();
    for (mode, mode_name) in modes {
        let prefix = format!("{case}.{mode_name}.gradient.");
        let named: Vec<&str> = golden.names().filter_map(|name| name.strip_prefix(&prefix)).collect();
        assert!(!named.is_empty(), "{case}");
        let parameters: Vec<Tensor> =
            named.iter().map(|name| tensors[*name].shallow_clone().set_requires_grad(true)).collect();
        let pixels = formula_pixels(&format!("{case}.pixels"), &size).to_kind(kind_of(model)).set_requires_grad(true);
        let output = model.forward(&pixels, *mode).unwrap();
        let loss = output.logits.cross_entropy_for_logits(&labels);
        let by: Vec<&Tensor> = std::iter::once(&pixels).chain(&parameters).collect();
        let gradients = Tensor::run_backward(&[loss], &by, false, false);
        let value = |quantity: &str| golden.get(&format!("{case}.{mode_name}.{quantity}"));
        let what = |quantity: &str| format!("{case} {mode_name} {quantity}");
        compare(&what("logits"), &output.logits, value("logits"), 1e-4);
        compare(&what("features"), &output.features, value("features"), 1e-4);
        compare(&what("input gradient"), &sampled(&gradients[0]), value("input_gradient"), 1e-3);
        for (name, gradient) in named.iter().zip(&gradients[1..]) {
            compare(&what(name), &sampled(gradient), value(&format!("gradient.{name}")), 1e-3);
        }
    }
    let prefix = format!("{case}.after.");
    for name in golden.names().filter_map(|name| name.strip_prefix(&prefix)) {
        compare(&format!("{case} {name}"), &tensors[name], golden.get(&format!("{prefix}{name}")), 1e-4);
    }
}

fn kind_of(model: &Model) -> Kind {
    let precise = model.parameters().tensors().values().any(|tensor| tensor.kind() == Kind::Double);
    if precise { Kind::Double } else { Kind::Float }
}

/// As [`assert_agrees`], with gradients in double precision, and the logits of single precision beside them.
fn assert_agrees_precisely(case: &str, backbone: Backbone, size: [i64; 4]) {
    let golden = Golden::read("backbones_b");
    let single = model(backbone, filled(backbone));
    for (mode, name) in BOTH {
        let logits = single.forward(&formula_pixels(&format!("{case}.pixels"), &size), mode).unwrap().logits;
        compare(&format!("{case} {name} f32 logits"), &logits, golden.get(&format!("{case}.{name}.logits")), 1e-4);
    }
    let folded = Model::new(&spec(backbone), Parameters::new(filled(backbone)).frozen(), Device::Cpu).unwrap();
    let logits = folded.forward(&formula_pixels(&format!("{case}.pixels"), &size), Mode::Eval).unwrap().logits;
    compare(&format!("{case} folded logits"), &logits, golden.get(&format!("{case}.eval.logits")), 1e-4);
    assert_agrees(&golden, case, &model(backbone, precise(backbone)), size, &BOTH);
}

const BOTH: [(Mode, &str); 2] = [(Mode::Eval, "eval"), (Mode::TRAIN, "train")];

fn assert_backbone_agrees(case: &str, backbone: Backbone, size: [i64; 4]) {
    assert_agrees(&Golden::read("backbones_b"), case, &model(backbone, filled(backbone)), size, &BOTH);
}

#[test]
fn mobilenet_v2_gives_torchvisions_logits_and_gradients() {
    assert_agrees_precisely("mobilenet_v2.64", Backbone::MobileNetV2, [4, 3, 64, 64]);
}

#[test]
fn efficientnet_b0_gives_torchvisions_logits_and_gradients() {
    assert_backbone_agrees("efficientnet_b0.64", Backbone::EfficientNetB0, [4, 3, 64, 64]);
}

#[test]
fn efficientnet_lite0_gives_its_packages_logits_and_gradients_at_even_and_odd_sizes() {
    assert_agrees_precisely("efficientnet_lite0.64", Backbone::EfficientNetLite0, [4, 3, 64, 64]);
    assert_agrees_precisely("efficientnet_lite0.45", Backbone::EfficientNetLite0, [4, 3, 45, 45]);
}

#[test]
fn convnext_tiny_gives_torchvisions_logits_and_gradients() {
    assert_backbone_agrees("convnext_tiny.64", Backbone::ConvNeXtTiny, [2, 3, 64, 64]);
}

#[test]
fn vit_b_16_gives_torchvisions_logits_and_gradients_with_positions_for_the_images_or_interpolated_ones() {
    let golden = Golden::read("backbones_b");
    let tensors = filled(Backbone::VitB16);
    let with_rows = |rows| {
        let mut own: BTreeMap<String, Tensor> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        let positions = own.get_mut("encoder.pos_embedding").unwrap();
        *positions = positions.narrow(1, 0, rows).contiguous();
        model(Backbone::VitB16, own)
    };
    // 4 × 4 patches, as torchvision sets it up for images of 64 pixels.
    assert_agrees(&golden, "vit_b_16.64", &with_rows(17), [2, 3, 64, 64], &BOTH);
    let whole = with_rows(197);
    assert_agrees(&golden, "vit_b_16.interpolated.48", &whole, [2, 3, 48, 48], &BOTH[..1]);
    assert_agrees(&golden, "vit_b_16.224", &whole, [1, 3, 224, 224], &BOTH[..1]);
}

#[test]
fn the_catalogues_imagenet_weights_give_the_logits_of_their_package() {
    let entry = catalogue::checkpoints().remove(0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gauntlet/data").join(&entry.file.path);
    if !path.exists() {
        eprintln!("not compared: set-up did not bring {}", path.display());
        return;
    }
    let checkpoint: Digest = entry.file.sha256.unwrap().parse().unwrap();
    let normalize = Normalize { mean: vec![entry.mean; 3], std: vec![entry.std; 3] };
    let spec = ModelSpec { classes: entry.classes, normalize, ..spec(entry.backbone) };
    let weights = Weights::Imported { checkpoint, format: entry.format, head: Head::Keep };
    let (tasks, files) = (BTreeMap::new(), BTreeMap::from([(checkpoint, path)]));
    let checkpoints = Checkpoints { tasks: &tasks, files: &files };
    let parameters = starting_weights(&spec, &weights, 0, checkpoints, Device::Cpu).unwrap();
    let model = Model::new(&spec, parameters, Device::Cpu).unwrap();
    let output = model.forward(&formula_pixels("imagenet.pixels", &[2, 3, 64, 64]), Mode::Eval).unwrap();
    compare("imagenet logits", &output.logits, Golden::read("backbones_b").get("imagenet.logits"), 1e-4);
}

#[test]
fn dropout_and_stochastic_depth_follow_from_seed_and_step() {
    let none = BTreeMap::new();
    let files = BTreeMap::new();
    let checkpoints = Checkpoints { tasks: &none, files: &files };
    for backbone in
        [Backbone::MobileNetV2, Backbone::EfficientNetB0, Backbone::EfficientNetLite0, Backbone::ConvNeXtTiny]
    {
        let mut parameters = starting_weights(&spec(backbone), &Weights::Scratch, 1, checkpoints, Device::Cpu).unwrap();
        if backbone == Backbone::ConvNeXtTiny {
            // Its blocks begin as almost nothing, so that leaving one out could not be seen.
            for (name, tensor) in parameters.tensors() {
                if name.ends_with("layer_scale") {
                    let _same_tensor = tensor.shallow_clone().fill_(0.5);
                }
            }
            parameters = Parameters::new(
                parameters.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect(),
            );
        }
        let model = Model::new(&spec(backbone), parameters, Device::Cpu).unwrap();
        let pixels = formula_pixels("dropped.pixels", &[8, 3, 32, 32]);
        let logits = |dropout| {
            let mode = Mode::Train(Train { moves_statistics: false, batch_norm_momentum: None, dropout });
            model.forward(&pixels, mode).unwrap().logits
        };
        let step = |seed, iteration| Some(Dropout { seed, iteration, first_row: 0 });
        let first = logits(step(3, 7));
        assert_eq!(first, logits(step(3, 7)), "{backbone}");
        for other in [step(4, 7), step(3, 8), None] {
            assert_ne!(first, logits(other), "{backbone}: {other:?}");
        }
    }
}
