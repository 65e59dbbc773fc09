//! Densely connected nets (Huang et al. 2017, arXiv 1608.06993), as torchvision has them.

use gauntlet_domain::experiment::DenseNetLayout;
use tch::Tensor;

use super::Mode;
use super::layers::{BatchNorm, ConvNorm, Convolution, Linear, conv_norm};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// A densely connected net.
#[derive(Debug)]
pub(super) struct DenseNet {
    entry: ConvNorm,
    blocks: Vec<(Vec<DenseLayer>, BlockEnd)>,
    head: Linear,
}

/// What follows a block.
#[derive(Debug)]
enum BlockEnd {
    /// Half the channels, half the size.
    Transition(BatchNorm, Convolution),
    /// The last normalisation.
    Norm(BatchNorm),
}

impl DenseNet {
    /// The net of this layout with these parameters.
    pub(super) fn new(layout: DenseNetLayout, parameters: &Parameters) -> Result<Self, LabError> {
        let last = layout.blocks.len();
        let block = |(number, count): (usize, u32)| {
            let layer = |layer| DenseLayer::new(&format!("features.denseblock{number}.denselayer{layer}"), parameters);
            let layers = (1..=count).map(layer).collect::<Result<Vec<_>, _>>()?;
            let end = if number == last {
                BlockEnd::Norm(BatchNorm::new("features.norm5", parameters)?)
            } else {
                let prefix = format!("features.transition{number}");
                let norm = BatchNorm::new(&format!("{prefix}.norm"), parameters)?;
                BlockEnd::Transition(norm, Convolution::new(&format!("{prefix}.conv"), 1, 0, parameters)?)
            };
            Ok((layers, end))
        };
        Ok(Self {
            entry: conv_norm(["features.conv0", "features.norm0"], 2, 3, parameters)?,
            blocks: (1..).zip(layout.blocks).map(block).collect::<Result<_, LabError>>()?,
            head: Linear::new("classifier", parameters)?,
        })
    }
}

impl Network for DenseNet {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        if number == 0 {
            let x = self.entry.forward(input, mode)?.f_relu()?;
            return x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        }
        let (layers, end) = &self.blocks[number - 1];
        let mut x = input.shallow_clone();
        for layer in layers {
            x = Tensor::f_cat(&[&x, &layer.forward(&x, mode)?], 1)?;
        }
        match end {
            BlockEnd::Transition(norm, convolution) => {
                let x = convolution.forward(&norm.forward(&x, mode)?.f_relu()?)?;
                x.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
            }
            BlockEnd::Norm(norm) => norm.forward(&x, mode)?.f_relu(),
        }
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        last.f_mean_dim([2i64, 3].as_slice(), false, last.kind())
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}

/// A 1×1 and a 3×3 convolution, each behind a normalisation; what it gives is appended to what it takes.
#[derive(Debug)]
struct DenseLayer {
    norm: BatchNorm,
    bottleneck: ConvNorm,
    convolution: Convolution,
}

impl DenseLayer {
    fn new(prefix: &str, parameters: &Parameters) -> Result<Self, LabError> {
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Self {
            norm: BatchNorm::new(&name("norm1"), parameters)?,
            bottleneck: conv_norm([&name("conv1"), &name("norm2")], 1, 0, parameters)?,
            convolution: Convolution::new(&name("conv2"), 1, 1, parameters)?,
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let x = self.norm.forward(input, mode)?.f_relu()?;
        self.convolution.forward(&self.bottleneck.forward(&x, mode)?.f_relu()?)
    }
}
