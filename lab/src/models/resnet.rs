//! Residual nets of basic blocks (He et al. 2016, arXiv 1512.03385), as torchvision has them.

use gauntlet_domain::experiment::{ResNetLayout, Stem};
use tch::{Device, Kind, Tensor};

use super::parameters::Parameters;
use super::{Mode, Output};
use crate::error::LabError;

/// torchvision's defaults of batch normalisation.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Narrower nets than this are computed with the channels innermost: on a CPU with AVX-512 a training step of `resnet18-w16` took a tenth to a fifth
/// less, one of `resnet18` as long as before.
const CHANNELS_LAST_BELOW: u32 = 64;

/// A residual net.
#[derive(Debug)]
pub(super) struct ResNet {
    stem: Stem,
    channels_last: bool,
    convolution: Convolution,
    norm: BatchNorm,
    blocks: Vec<BasicBlock>,
    head_weight: Tensor,
    head_bias: Tensor,
}

impl ResNet {
    /// The net of this layout with these parameters.
    pub(super) fn new(layout: ResNetLayout, parameters: &Parameters) -> Result<Self, LabError> {
        let mut blocks = Vec::new();
        for (stage, count) in layout.blocks.into_iter().enumerate() {
            for block in 0..count {
                let first = block == 0 && stage > 0;
                blocks.push(BasicBlock::new(&format!("layer{}.{block}", stage + 1), first, parameters)?);
            }
        }
        let padding = i64::from(layout.stem.kernel_size() / 2);
        Ok(Self {
            stem: layout.stem,
            channels_last: layout.width < CHANNELS_LAST_BELOW,
            convolution: Convolution::new("conv1", 2, padding, parameters)?,
            norm: BatchNorm::new("bn1", parameters)?,
            blocks,
            head_weight: parameters.share("fc.weight")?,
            head_bias: parameters.share("fc.bias")?,
        })
    }

    /// Features and logits of normalised images, f32 \[n,C,H,W\].
    pub(super) fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Output> {
        let mut x = self.convolution.forward(input)?;
        if self.channels_last && x.device() == Device::Cpu {
            x = channels_innermost(&x)?;
        }
        x = self.norm.forward(&x, mode)?.f_relu()?;
        if self.stem == Stem::ImageNet {
            x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, mode)?;
        }
        let features = x.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
        let logits = features.f_linear(&self.head_weight, Some(&self.head_bias))?;
        Ok(Output { features, logits })
    }
}

/// The same tensor, laid out as \[n,H,W,C\] in memory; what is computed from it keeps that layout.
fn channels_innermost(x: &Tensor) -> tch::Result<Tensor> {
    x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

/// Two 3×3 convolutions beside a shortcut.
#[derive(Debug)]
struct BasicBlock {
    convolutions: [Convolution; 2],
    norms: [BatchNorm; 2],
    shortcut: Option<(Convolution, BatchNorm)>,
}

impl BasicBlock {
    fn new(prefix: &str, halves: bool, parameters: &Parameters) -> Result<Self, LabError> {
        let stride = if halves { 2 } else { 1 };
        let convolution = |name: &str, stride| Convolution::new(&format!("{prefix}.{name}"), stride, 1, parameters);
        let norm = |name: &str| BatchNorm::new(&format!("{prefix}.{name}"), parameters);
        let shortcut = if halves {
            let projection = Convolution::new(&format!("{prefix}.downsample.0"), 2, 0, parameters)?;
            Some((projection, norm("downsample.1")?))
        } else {
            None
        };
        Ok(Self {
            convolutions: [convolution("conv1", stride)?, convolution("conv2", 1)?],
            norms: [norm("bn1")?, norm("bn2")?],
            shortcut,
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let inner = self.norms[0].forward(&self.convolutions[0].forward(input)?, mode)?.f_relu()?;
        let mut sum = self.norms[1].forward(&self.convolutions[1].forward(&inner)?, mode)?;
        let sum = match &self.shortcut {
            Some((projection, norm)) => sum.f_add_(&norm.forward(&projection.forward(input)?, mode)?)?,
            None => sum.f_add_(input)?,
        };
        sum.f_relu()
    }
}

#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Convolution {
    fn new(prefix: &str, stride: i64, padding: i64, parameters: &Parameters) -> Result<Self, LabError> {
        Ok(Self { weight: parameters.share(&format!("{prefix}.weight"))?, stride, padding })
    }

    fn forward(&self, input: &Tensor) -> tch::Result<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        input.f_conv2d(&self.weight, None::<&Tensor>, stride, padding, [1, 1], 1)
    }
}

#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl BatchNorm {
    fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        let part = |name: &str| parameters.share(&format!("{prefix}.{name}"));
        Ok(Self {
            weight: part("weight")?,
            bias: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let (mean, variance) = (Some(&self.mean), Some(&self.variance));
        input.f_batch_norm(weight, bias, mean, variance, mode == Mode::Train, MOMENTUM, EPSILON, true)
    }
}
