//! Layers that the architectures share, with torchvision's defaults.

use tch::{Device, Kind, Tensor};

use super::parameters::Parameters;
use super::precision::operand;
use super::{Mode, Train};
use crate::error::LabError;

/// Batch normalisation as an architecture sets it up.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchNormSettings {
    /// Added to the variance.
    pub(super) epsilon: f64,
    /// Weight of the batch in the running statistics.
    pub(super) momentum: f64,
}

impl BatchNormSettings {
    /// PyTorch's defaults.
    pub(super) const DEFAULT: Self = Self { epsilon: 1e-5, momentum: 0.1 };
}

/// A convolution without dilation; with a bias if the state dict has one.
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: Padding,
    groups: i64,
}

/// Zeros around an image.
#[derive(Debug, Clone, Copy)]
enum Padding {
    /// So many on every side.
    Even(i64),
    /// As many as make the output ⌈input / stride⌉, of an odd number the greater part at the bottom and on the right: TensorFlow's `SAME`.
    Same,
}

impl Convolution {
    pub(super) fn new(prefix: &str, stride: i64, padding: i64, parameters: &Parameters) -> Result<Self, LabError> {
        Self::grouped(prefix, stride, padding, 1, parameters)
    }

    pub(super) fn grouped(
        prefix: &str,
        stride: i64,
        padding: i64,
        groups: i64,
        parameters: &Parameters,
    ) -> Result<Self, LabError> {
        Self::padded(prefix, stride, Padding::Even(padding), groups, parameters)
    }

    /// With TensorFlow's `SAME` padding.
    pub(super) fn same_padded(
        prefix: &str,
        stride: i64,
        groups: i64,
        parameters: &Parameters,
    ) -> Result<Self, LabError> {
        Self::padded(prefix, stride, Padding::Same, groups, parameters)
    }

    fn padded(
        prefix: &str,
        stride: i64,
        padding: Padding,
        groups: i64,
        parameters: &Parameters,
    ) -> Result<Self, LabError> {
        let weight = parameters.share(&format!("{prefix}.weight"))?;
        Ok(Self { weight, bias: parameters.share_if_any(&format!("{prefix}.bias")), stride, padding, groups })
    }

    pub(super) fn forward(&self, input: &Tensor) -> tch::Result<Tensor> {
        let over = |input: &Tensor, padding: [i64; 2]| {
            let (input, weight) = (operand(input)?, operand(&self.weight)?);
            let bias = self.bias.as_ref().map(operand).transpose()?;
            input.f_conv2d(&weight, bias.as_ref(), [self.stride; 2], padding, [1, 1], self.groups)
        };
        match self.padding {
            Padding::Even(padding) => over(input, [padding; 2]),
            Padding::Same => {
                let [rows, columns] = [2, 3].map(|axis| self.missing(input.size()[axis], self.weight.size()[axis]));
                if rows % 2 == 0 && columns % 2 == 0 {
                    return over(input, [rows / 2, columns / 2]);
                }
                let sides = [columns / 2, columns - columns / 2, rows / 2, rows - rows / 2];
                over(&input.f_constant_pad_nd(sides)?, [0, 0])
            }
        }
    }

    /// Zeros that `SAME` padding adds along an axis.
    const fn missing(&self, input: i64, kernel: i64) -> i64 {
        let outputs = (input + self.stride - 1) / self.stride;
        let needed = (outputs - 1) * self.stride + kernel - input;
        if needed > 0 { needed } else { 0 }
    }
}

/// Batch normalisation over images.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    settings: BatchNormSettings,
}

impl BatchNorm {
    pub(super) fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        Self::with(BatchNormSettings::DEFAULT, prefix, parameters)
    }

    pub(super) fn with(settings: BatchNormSettings, prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        let part = |name: &str| parameters.share(&format!("{prefix}.{name}"));
        Ok(Self {
            weight: part("weight")?,
            bias: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
            settings,
        })
    }

    pub(super) fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let BatchNormSettings { epsilon, momentum } = self.settings;
        let momentum = match mode {
            Mode::Train(Train { batch_norm_momentum: Some(chosen), .. }) => chosen,
            Mode::Train(_) | Mode::Eval => momentum,
        };
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let normalise = |mean: Option<&Tensor>, variance: Option<&Tensor>, by_batch| {
            input.f_batch_norm(weight, bias, mean, variance, by_batch, momentum, epsilon, true)
        };
        match mode {
            Mode::Eval => normalise(Some(&self.mean), Some(&self.variance), false),
            Mode::Train(Train { moves_statistics: true, .. }) => {
                normalise(Some(&self.mean), Some(&self.variance), true)
            }
            Mode::Train(Train { moves_statistics: false, .. }) => normalise(None, None, true),
        }
    }
}

impl BatchNorm {
    /// The convolution that does what `convolution` and this normalisation by the running statistics do together.
    fn folded_into(&self, convolution: &Convolution) -> tch::Result<Convolution> {
        let _guard = tch::no_grad_guard();
        // In double precision: the product of rounded factors would be one rounding further from the unfolded net.
        let double = |x: &Tensor| x.f_to_kind(Kind::Double);
        let scale =
            double(&self.variance)?.f_add_scalar(self.settings.epsilon)?.f_rsqrt()?.f_mul(&double(&self.weight)?)?;
        let before = match &convolution.bias {
            Some(bias) => double(bias)?.f_sub(&double(&self.mean)?)?,
            None => double(&self.mean)?.f_neg()?,
        };
        let bias = before.f_mul(&scale)?.f_add(&double(&self.bias)?)?.f_to_kind(Kind::Float)?;
        let weight = double(&convolution.weight)?.f_mul(&scale.f_view([-1, 1, 1, 1])?)?.f_to_kind(Kind::Float)?;
        // What a convolution gives lies in memory as its weights do.
        let weight = channels_innermost(&weight)?;
        Ok(Convolution { weight, bias: Some(bias), ..*convolution })
    }
}

/// A convolution and the normalisation of its outputs.
#[derive(Debug)]
pub(super) struct ConvNorm {
    convolution: Convolution,
    /// None where the convolution does its work too.
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// With frozen parameters the normalisation is folded into the convolution, which saves a pass over the activations in each direction.
    pub(super) fn new(convolution: Convolution, norm: BatchNorm, parameters: &Parameters) -> tch::Result<Self> {
        if parameters.are_frozen() {
            return Ok(Self { convolution: norm.folded_into(&convolution)?, norm: None });
        }
        Ok(Self { convolution, norm: Some(norm) })
    }

    pub(super) fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let x = self.convolution.forward(input)?;
        match &self.norm {
            Some(norm) => norm.forward(&x, mode),
            None => Ok(x),
        }
    }

    /// As [`Self::forward`]; from here on the channels may lie innermost in memory.
    pub(super) fn forward_as(&self, input: &Tensor, innermost: bool, mode: Mode) -> tch::Result<Tensor> {
        let x = self.convolution.forward(input)?;
        let x = if innermost { channels_innermost(&x)? } else { x };
        match &self.norm {
            Some(norm) => norm.forward(&x, mode),
            None => Ok(x),
        }
    }
}

/// The convolution and the normalisation of these prefixes.
pub(super) fn conv_norm(
    [convolution, norm]: [&str; 2],
    stride: i64,
    padding: i64,
    parameters: &Parameters,
) -> Result<ConvNorm, LabError> {
    let convolution = Convolution::new(convolution, stride, padding, parameters)?;
    Ok(ConvNorm::new(convolution, BatchNorm::new(norm, parameters)?, parameters)?)
}

/// A fully connected layer.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        Self::named(&format!("{prefix}.weight"), &format!("{prefix}.bias"), parameters)
    }

    /// With tensors of these names.
    pub(super) fn named(weight: &str, bias: &str, parameters: &Parameters) -> Result<Self, LabError> {
        Ok(Self { weight: parameters.share(weight)?, bias: parameters.share(bias)? })
    }

    pub(super) fn forward(&self, input: &Tensor) -> tch::Result<Tensor> {
        operand(input)?.f_linear(&operand(&self.weight)?, Some(&operand(&self.bias)?))
    }
}

/// Layer normalisation over the last axis (Ba et al. 2016, arXiv 1607.06450).
#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// `epsilon` is added to the variance.
    pub(super) fn new(prefix: &str, epsilon: f64, parameters: &Parameters) -> Result<Self, LabError> {
        let part = |name: &str| parameters.share(&format!("{prefix}.{name}"));
        Ok(Self { weight: part("weight")?, bias: part("bias")?, epsilon })
    }

    pub(super) fn forward(&self, input: &Tensor) -> tch::Result<Tensor> {
        let input = input.f_to_kind(self.weight.kind())?;
        input.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}

/// The same tensor, laid out as \[n,H,W,C\] in memory on a CPU; what is computed from it keeps that layout.
fn channels_innermost(x: &Tensor) -> tch::Result<Tensor> {
    if x.device() != Device::Cpu {
        return Ok(x.shallow_clone());
    }
    x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}
