//! Residual nets with pre-activation (He et al. 2016, arXiv 1603.05027) for 32×32 images: RobustBench's wide nets (Zagoruyko and Komodakis 2016,
//! arXiv 1605.07146) and ResNet-18.

use gauntlet_domain::experiment::{PreActResNet as ResNet18, WideResNetLayout};
use tch::Tensor;

use super::Mode;
use super::layers::{BatchNorm, ConvNorm, Convolution, Linear, conv_norm};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// A residual net with pre-activation.
#[derive(Debug)]
pub(super) struct PreActResNet {
    entry: Convolution,
    stages: Vec<Vec<Block>>,
    norm: BatchNorm,
    head: Linear,
}

impl PreActResNet {
    /// The wide net of this layout with these parameters.
    pub(super) fn wide(layout: WideResNetLayout, parameters: &Parameters) -> Result<Self, LabError> {
        let block = |stage: i64, number: u32| {
            let stride = if stage > 1 && number == 0 { 2 } else { 1 };
            let shortcut = (number == 0).then_some("convShortcut");
            Block::new(&format!("block{stage}.layer.{number}"), stride, shortcut, parameters)
        };
        let stage = |stage| (0..layout.blocks).map(|number| block(stage, number)).collect::<Result<Vec<_>, _>>();
        let stages = (1..=3).map(stage).collect::<Result<_, _>>()?;
        Self::of(stages, "bn1", "fc", parameters)
    }

    /// ResNet-18 with these parameters.
    pub(super) fn resnet18(parameters: &Parameters) -> Result<Self, LabError> {
        let block = |stage: i64, number: u32| {
            let halves = stage > 1 && number == 0;
            let stride = if halves { 2 } else { 1 };
            Block::new(&format!("layer{stage}.{number}"), stride, halves.then_some("shortcut.0"), parameters)
        };
        let stage = |stage| (0..ResNet18::BLOCKS).map(|number| block(stage, number)).collect::<Result<Vec<_>, _>>();
        let stages = (1..=4).map(stage).collect::<Result<_, _>>()?;
        Self::of(stages, "bn", "linear", parameters)
    }

    fn of(stages: Vec<Vec<Block>>, norm: &str, head: &str, parameters: &Parameters) -> Result<Self, LabError> {
        Ok(Self {
            entry: Convolution::new("conv1", 1, 1, parameters)?,
            stages,
            norm: BatchNorm::new(norm, parameters)?,
            head: Linear::new(head, parameters)?,
        })
    }
}

impl Network for PreActResNet {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        if number == 0 {
            return self.entry.forward(input);
        }
        let blocks = &self.stages[number - 1];
        let x = blocks.iter().try_fold(input.shallow_clone(), |x, block| block.forward(&x, mode))?;
        if number == self.stages.len() { self.norm.forward(&x, mode)?.f_relu() } else { Ok(x) }
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        last.f_mean_dim([2i64, 3].as_slice(), false, last.kind())
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}

/// Two 3×3 convolutions, each behind a normalisation, beside a shortcut; a projection takes what the first normalisation gives.
#[derive(Debug)]
struct Block {
    norm: BatchNorm,
    first: ConvNorm,
    second: Convolution,
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(prefix: &str, stride: i64, shortcut: Option<&str>, parameters: &Parameters) -> Result<Self, LabError> {
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Self {
            norm: BatchNorm::new(&name("bn1"), parameters)?,
            first: conv_norm([&name("conv1"), &name("bn2")], stride, 1, parameters)?,
            second: Convolution::new(&name("conv2"), 1, 1, parameters)?,
            shortcut: shortcut.map(|part| Convolution::new(&name(part), stride, 0, parameters)).transpose()?,
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let x = self.norm.forward(input, mode)?.f_relu()?;
        let inner = self.first.forward(&x, mode)?.f_relu()?;
        let mut sum = self.second.forward(&inner)?;
        match &self.shortcut {
            Some(projection) => sum.f_add_(&projection.forward(&x)?),
            None => sum.f_add_(input),
        }
    }
}
