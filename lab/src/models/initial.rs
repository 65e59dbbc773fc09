//! First values of parameters: torchvision's initialisation.

use gauntlet_domain::experiment::{Backbone, ParameterShape};
use tch::{Device, Tensor};

use crate::random::{Purpose, Stream};

/// The freshly drawn parameter, as torchvision's ResNet draws it: convolutions from the Kaiming normal of their fan-out, batch normalisation at weight 1
/// and bias 0, the head as `nn.Linear` (uniform within ±1/√inputs). Each from a stream of its own, so that the parameters of one name are equal in
/// all models of a seed that share its shape.
pub(super) fn draw(backbone: Backbone, parameter: &ParameterShape, seed: u64, device: Device) -> tch::Result<Tensor> {
    let count: u64 = parameter.shape.iter().product();
    let mut stream = Stream::new(seed, Purpose::Weights(&parameter.name));
    let values: Vec<f32> = match rule(backbone, parameter) {
        Rule::Constant(value) => vec![value; count as usize],
        Rule::Normal { std } => (0..count).map(|_| stream.normal() * std).collect(),
        Rule::Uniform { bound } => (0..count).map(|_| stream.symmetric(bound)).collect(),
    };
    let size: Vec<i64> = parameter.shape.iter().map(|length| *length as i64).collect();
    Tensor::f_from_slice(&values)?.f_view(size.as_slice())?.f_to_device(device)
}

#[derive(Debug, PartialEq)]
enum Rule {
    Constant(f32),
    Normal { std: f32 },
    Uniform { bound: f32 },
}

fn rule(backbone: Backbone, parameter: &ParameterShape) -> Rule {
    match backbone {
        Backbone::ResNet18 | Backbone::ResNet18W16 => resnet_rule(backbone, parameter),
    }
}

fn resnet_rule(backbone: Backbone, parameter: &ParameterShape) -> Rule {
    let (module, part) = parameter.name.rsplit_once('.').unwrap_or(("", &parameter.name));
    match (part, parameter.shape.as_slice()) {
        _ if module == backbone.head() => Rule::Uniform { bound: 1.0 / (backbone.layout().features() as f32).sqrt() },
        (_, [outputs, _, height, width]) => Rule::Normal { std: (2.0 / (outputs * height * width) as f32).sqrt() },
        ("weight" | "running_var", _) => Rule::Constant(1.0),
        _ => Rule::Constant(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_gets_the_rule_of_its_kind() {
        let rule_of = |name: &str, shape: &[u64]| {
            rule(Backbone::ResNet18, &ParameterShape { name: name.into(), shape: shape.into() })
        };
        let std = (2.0f32 / (64.0 * 9.0)).sqrt();
        assert_eq!(rule_of("layer1.0.conv1.weight", &[64, 64, 3, 3]), Rule::Normal { std });
        assert_eq!(rule_of("bn1.weight", &[64]), Rule::Constant(1.0));
        assert_eq!(rule_of("layer2.0.downsample.1.running_var", &[128]), Rule::Constant(1.0));
        assert_eq!(rule_of("bn1.bias", &[64]), Rule::Constant(0.0));
        let bound = 1.0 / 512f32.sqrt();
        assert_eq!(rule_of("fc.weight", &[10, 512]), Rule::Uniform { bound });
        assert_eq!(rule_of("fc.bias", &[10]), Rule::Uniform { bound });
    }

    #[test]
    fn drawn_weights_have_the_spread_of_their_rule() {
        let parameter = ParameterShape { name: "conv1.weight".into(), shape: vec![64, 3, 7, 7] };
        let tensor = draw(Backbone::ResNet18, &parameter, 3, Device::Cpu).unwrap();
        let spread = tensor.std(true).double_value(&[]);
        let expected = (2.0f64 / (64.0 * 49.0)).sqrt();
        assert!((spread / expected - 1.0).abs() < 0.03, "{spread} against {expected}");
    }
}
