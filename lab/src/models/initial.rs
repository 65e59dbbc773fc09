//! First values of parameters: each family's own initialisation.

use gauntlet_domain::experiment::{EfficientNet, Family, ParameterShape};
use tch::{Device, Tensor};

use crate::random::{Purpose, Stream};

/// The freshly drawn parameter of a state dict, as torchvision's or RobustBench's constructor draws it. Each comes from a stream of its own, so that the
/// parameters of one name are equal in all models of a seed that share its shape and rule.
pub(super) fn draw(
    family: Family,
    parameter: &ParameterShape,
    state_dict: &[ParameterShape],
    seed: u64,
    device: Device,
) -> tch::Result<Tensor> {
    let count: u64 = parameter.shape.iter().product();
    let mut stream = Stream::new(seed, Purpose::Weights(&parameter.name));
    let values: Vec<f32> = match rule(family, parameter, state_dict) {
        Rule::Constant(value) => vec![value; count as usize],
        Rule::Normal { std } => (0..count).map(|_| stream.normal() * std).collect(),
        Rule::Uniform { bound } => (0..count).map(|_| stream.symmetric(bound)).collect(),
    };
    let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
    Tensor::f_from_slice(&values)?.f_view(size.as_slice())?.f_to_device(device)
}

/// ConvNeXt's blocks begin as almost nothing beside their shortcuts.
const LAYER_SCALE: f32 = 1e-6;

#[derive(Debug, PartialEq)]
enum Rule {
    Constant(f32),
    Normal { std: f32 },
    Uniform { bound: f32 },
}

fn rule(family: Family, parameter: &ParameterShape, state_dict: &[ParameterShape]) -> Rule {
    let (module, part) = parameter.name.rsplit_once('.').unwrap_or(("", &parameter.name));
    match part {
        "layer_scale" => return Rule::Constant(LAYER_SCALE),
        "pos_embedding" => return Rule::Normal { std: 0.02 },
        "in_proj_weight" => return xavier_uniform(&parameter.shape),
        _ => {}
    }
    let weight_name = format!("{module}.weight");
    let weight = state_dict.iter().find(|other| other.name == weight_name).unwrap_or(parameter);
    let is_weight = part == "weight";
    match weight.shape.as_slice() {
        [outputs, inputs, height, width] => {
            let area = height * width;
            convolution(family, is_weight, outputs * area, inputs * area)
        }
        [outputs, inputs] => linear(family, parameter, [*outputs, *inputs]),
        _ if is_weight || part == "running_var" => Rule::Constant(1.0),
        _ => Rule::Constant(0.0),
    }
}

fn convolution(family: Family, is_weight: bool, fan_out: u64, fan_in: u64) -> Rule {
    match family {
        Family::AlexNet(_) | Family::PreActResNet(_) | Family::EfficientNet(EfficientNet::Lite0) => {
            pytorch_default(fan_in)
        }
        _ if !is_weight => Rule::Constant(0.0),
        Family::Vgg(_)
        | Family::ResNet(_)
        | Family::WideResNet(_)
        | Family::MobileNetV2(_)
        | Family::EfficientNet(EfficientNet::B0) => kaiming_normal(fan_out),
        Family::DenseNet(_) => kaiming_normal(fan_in),
        Family::ConvNeXt(_) => Rule::Normal { std: 0.02 },
        Family::VisionTransformer(_) => Rule::Normal { std: 1.0 / (fan_in as f32).sqrt() },
    }
}

fn linear(family: Family, parameter: &ParameterShape, [outputs, inputs]: [u64; 2]) -> Rule {
    let is_weight = parameter.name.ends_with(".weight");
    match family {
        Family::AlexNet(_)
        | Family::ResNet(_)
        | Family::PreActResNet(_)
        | Family::EfficientNet(EfficientNet::Lite0) => pytorch_default(inputs),
        Family::VisionTransformer(_) => transformer_linear(parameter, [outputs, inputs]),
        _ if !is_weight => Rule::Constant(0.0),
        Family::Vgg(_) | Family::MobileNetV2(_) => Rule::Normal { std: 0.01 },
        Family::DenseNet(_) | Family::WideResNet(_) => pytorch_default(inputs),
        Family::EfficientNet(EfficientNet::B0) => Rule::Uniform { bound: 1.0 / (outputs as f32).sqrt() },
        Family::ConvNeXt(_) => Rule::Normal { std: 0.02 },
    }
}

fn transformer_linear(parameter: &ParameterShape, shape: [u64; 2]) -> Rule {
    let is_weight = parameter.name.ends_with(".weight");
    if parameter.name.contains(".mlp.") {
        return if is_weight { xavier_uniform(&shape) } else { Rule::Normal { std: 1e-6 } };
    }
    // The head starts at zero, and so do the biases of the attention.
    if is_weight && parameter.name.contains(".out_proj.") { pytorch_default(shape[1]) } else { Rule::Constant(0.0) }
}

/// Glorot and Bengio 2010.
fn xavier_uniform(shape: &[u64]) -> Rule {
    Rule::Uniform { bound: (6.0 / shape.iter().sum::<u64>() as f32).sqrt() }
}

/// For layers before a ReLU (He et al. 2015, arXiv 1502.01852).
fn kaiming_normal(fan: u64) -> Rule {
    Rule::Normal { std: (2.0 / fan as f32).sqrt() }
}

/// What `nn.Conv2d` and `nn.Linear` do to weight and bias.
fn pytorch_default(fan_in: u64) -> Rule {
    Rule::Uniform { bound: 1.0 / (fan_in as f32).sqrt() }
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::experiment::{Backbone, Stem};

    use super::*;

    fn rule_of(backbone: Backbone, name: &str) -> Rule {
        let list = backbone.state_dict(Stem::Standard, 3, 10);
        let parameter = list.iter().find(|parameter| parameter.name == name).unwrap();
        rule(backbone.family(Stem::Standard), parameter, &list)
    }

    #[test]
    fn every_parameter_of_a_resnet_gets_the_rule_of_its_kind() {
        let rule_of = |name| rule_of(Backbone::ResNet18, name);
        let std = (2.0f32 / (64.0 * 9.0)).sqrt();
        assert_eq!(rule_of("layer1.0.conv1.weight"), Rule::Normal { std });
        assert_eq!(rule_of("bn1.weight"), Rule::Constant(1.0));
        assert_eq!(rule_of("layer2.0.downsample.1.running_var"), Rule::Constant(1.0));
        assert_eq!(rule_of("bn1.bias"), Rule::Constant(0.0));
        let bound = 1.0 / 512f32.sqrt();
        assert_eq!(rule_of("fc.weight"), Rule::Uniform { bound });
        assert_eq!(rule_of("fc.bias"), Rule::Uniform { bound });
    }

    #[test]
    fn each_family_is_drawn_as_its_published_constructor_draws_it() {
        let uniform = |fan_in: f32| Rule::Uniform { bound: 1.0 / fan_in.sqrt() };
        let normal = |fan: f32| Rule::Normal { std: (2.0 / fan).sqrt() };
        let zero = || Rule::Constant(0.0);
        for (backbone, name, expected) in [
            (Backbone::AlexNet, "features.3.weight", uniform(64.0 * 25.0)),
            (Backbone::AlexNet, "features.3.bias", uniform(64.0 * 25.0)),
            (Backbone::AlexNet, "classifier.6.bias", uniform(4096.0)),
            (Backbone::Vgg16Bn, "features.3.weight", normal(64.0 * 9.0)),
            (Backbone::Vgg16Bn, "features.3.bias", zero()),
            (Backbone::Vgg16Bn, "features.4.weight", Rule::Constant(1.0)),
            (Backbone::Vgg16Bn, "classifier.0.weight", Rule::Normal { std: 0.01 }),
            (Backbone::Vgg16Bn, "classifier.6.bias", zero()),
            (Backbone::ResNet50, "layer1.0.conv3.weight", normal(256.0)),
            (Backbone::DenseNet121, "features.denseblock1.denselayer1.conv2.weight", normal(128.0 * 9.0)),
            (Backbone::DenseNet121, "classifier.weight", uniform(1024.0)),
            (Backbone::DenseNet121, "classifier.bias", zero()),
            (Backbone::Wrn28x10, "block1.layer.0.conv1.weight", normal(160.0 * 9.0)),
            (Backbone::Wrn28x10, "fc.weight", uniform(640.0)),
            (Backbone::Wrn28x10, "fc.bias", zero()),
            (Backbone::MobileNetV2, "features.3.conv.1.0.weight", normal(144.0 * 9.0)),
            (Backbone::MobileNetV2, "classifier.1.weight", Rule::Normal { std: 0.01 }),
            (Backbone::MobileNetV2, "classifier.1.bias", zero()),
            (Backbone::EfficientNetB0, "features.2.0.block.2.fc1.weight", normal(4.0)),
            (Backbone::EfficientNetB0, "features.2.0.block.2.fc1.bias", zero()),
            (Backbone::EfficientNetB0, "classifier.1.weight", uniform(10.0)),
            (Backbone::EfficientNetLite0, "_blocks.1._depthwise_conv.weight", uniform(9.0)),
            (Backbone::EfficientNetLite0, "_fc.bias", uniform(1280.0)),
            (Backbone::ConvNeXtTiny, "features.1.0.layer_scale", Rule::Constant(1e-6)),
            (Backbone::ConvNeXtTiny, "features.1.0.block.0.weight", Rule::Normal { std: 0.02 }),
            (Backbone::ConvNeXtTiny, "features.1.0.block.2.weight", Rule::Constant(1.0)),
            (Backbone::ConvNeXtTiny, "features.1.0.block.3.weight", Rule::Normal { std: 0.02 }),
            (Backbone::ConvNeXtTiny, "classifier.2.bias", zero()),
            (Backbone::VitB16, "class_token", zero()),
            (Backbone::VitB16, "encoder.pos_embedding", Rule::Normal { std: 0.02 }),
            (Backbone::VitB16, "conv_proj.weight", Rule::Normal { std: 1.0 / 768f32.sqrt() }),
            (
                Backbone::VitB16,
                "encoder.layers.encoder_layer_3.self_attention.in_proj_weight",
                Rule::Uniform { bound: (6.0f32 / 3072.0).sqrt() },
            ),
            (Backbone::VitB16, "encoder.layers.encoder_layer_3.self_attention.in_proj_bias", zero()),
            (Backbone::VitB16, "encoder.layers.encoder_layer_3.self_attention.out_proj.weight", uniform(768.0)),
            (Backbone::VitB16, "encoder.layers.encoder_layer_3.self_attention.out_proj.bias", zero()),
            (
                Backbone::VitB16,
                "encoder.layers.encoder_layer_3.mlp.0.weight",
                Rule::Uniform { bound: (6.0f32 / 3840.0).sqrt() },
            ),
            (Backbone::VitB16, "encoder.layers.encoder_layer_3.mlp.3.bias", Rule::Normal { std: 1e-6 }),
            (Backbone::VitB16, "encoder.ln.weight", Rule::Constant(1.0)),
            (Backbone::VitB16, "heads.head.weight", zero()),
            (Backbone::PreActResNet18, "layer2.0.shortcut.0.weight", uniform(64.0)),
            (Backbone::PreActResNet18, "linear.bias", uniform(512.0)),
            (Backbone::PreActResNet18, "bn.running_mean", zero()),
        ] {
            assert_eq!(rule_of(backbone, name), expected, "{backbone}: {name}");
        }
    }

    #[test]
    fn drawn_weights_have_the_spread_of_their_rule() {
        let parameter = ParameterShape { name: "conv1.weight".into(), shape: vec![64, 3, 7, 7] };
        let family = Backbone::ResNet18.family(Stem::Standard);
        let tensor = draw(family, &parameter, std::slice::from_ref(&parameter), 3, Device::Cpu).unwrap();
        let spread = tensor.std(true).double_value(&[]);
        let expected = (2.0f64 / (64.0 * 49.0)).sqrt();
        assert!((spread / expected - 1.0).abs() < 0.03, "{spread} against {expected}");
    }
}
