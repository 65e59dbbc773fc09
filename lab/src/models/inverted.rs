//! Inverted residual blocks (Sandler et al. 2018, arXiv 1801.04381), with squeeze-excitation (Hu et al. 2018, arXiv 1709.01507) where a net has it.

use gauntlet_domain::experiment::InvertedBlock;
use tch::{Kind, Tensor};

use super::Mode;
use super::dropout::stochastic_depth;
use super::layers::{ConvNorm, Convolution};
use super::parameters::Parameters;
use crate::error::LabError;

/// What follows a normalisation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Activation {
    /// Clipped to \[0,6\].
    Relu6,
    /// x · sigmoid(x).
    Silu,
}

impl Activation {
    pub(super) fn of(self, x: &Tensor) -> tch::Result<Tensor> {
        match self {
            Self::Relu6 => x.f_relu6(),
            Self::Silu => x.f_silu(),
        }
    }
}

/// A 1×1 convolution that widens, a depthwise one, and a 1×1 convolution that narrows.
#[derive(Debug)]
pub(super) struct InvertedResidual {
    pub(super) layout: InvertedBlock,
    pub(super) expand: Option<ConvNorm>,
    pub(super) depthwise: ConvNorm,
    pub(super) squeeze: Option<SqueezeExcitation>,
    pub(super) project: ConvNorm,
    pub(super) activation: Activation,
    /// Probability with which stochastic depth leaves it out, where it has a shortcut.
    pub(super) drop_rate: f32,
}

impl InvertedResidual {
    pub(super) fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let mut x = match &self.expand {
            Some(expand) => self.activation.of(&expand.forward(input, mode)?)?,
            None => input.shallow_clone(),
        };
        x = self.activation.of(&self.depthwise.forward(&x, mode)?)?;
        if let Some(squeeze) = &self.squeeze {
            x = squeeze.forward(&x)?;
        }
        x = self.project.forward(&x, mode)?;
        if !self.layout.has_shortcut() {
            return Ok(x);
        }
        if let Some(step) = mode.dropout().filter(|_| self.drop_rate > 0.0) {
            x = stochastic_depth(&x, self.drop_rate, step, self.layout.number)?;
        }
        x.f_add(input)
    }
}

/// Scales every channel by what two 1×1 convolutions make of the means of all channels.
#[derive(Debug)]
pub(super) struct SqueezeExcitation {
    reduce: Convolution,
    expand: Convolution,
}

impl SqueezeExcitation {
    /// With `fc1` and `fc2` below the prefix.
    pub(super) fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        let convolution = |name: &str| Convolution::new(&format!("{prefix}.{name}"), 1, 0, parameters);
        Ok(Self { reduce: convolution("fc1")?, expand: convolution("fc2")? })
    }

    fn forward(&self, x: &Tensor) -> tch::Result<Tensor> {
        let means = x.f_mean_dim([2i64, 3].as_slice(), true, Kind::Float)?.f_to_kind(x.kind())?;
        let scale = self.expand.forward(&self.reduce.forward(&means)?.f_silu()?)?.f_sigmoid()?;
        x.f_mul(&scale)
    }
}

/// The blocks of each stage of a net.
pub(super) fn by_stage(blocks: Vec<InvertedResidual>) -> Vec<Vec<InvertedResidual>> {
    let mut stages: Vec<Vec<InvertedResidual>> = Vec::new();
    for block in blocks {
        match stages.last_mut() {
            Some(stage) if block.layout.place > 0 => stage.push(block),
            _ => stages.push(vec![block]),
        }
    }
    stages
}

/// Output of a stage: number 0 is the stem, the last one the last convolution.
pub(super) fn stage(
    ends: [&ConvNorm; 2],
    stages: &[Vec<InvertedResidual>],
    activation: Activation,
    number: usize,
    input: &Tensor,
    mode: Mode,
) -> tch::Result<Tensor> {
    let [stem, last] = ends;
    if number == 0 {
        return activation.of(&stem.forward(input, mode)?);
    }
    match stages.get(number - 1) {
        Some(blocks) => blocks.iter().try_fold(input.shallow_clone(), |x, block| block.forward(&x, mode)),
        None => activation.of(&last.forward(input, mode)?),
    }
}
