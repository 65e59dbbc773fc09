//! EfficientNets (Tan and Le 2019, arXiv 1905.11946): B0 as torchvision has it, Lite0 as the Python package `efficientnet_lite_pytorch` has it.

use gauntlet_domain::experiment::{EfficientNet as Layout, InvertedBlock};
use tch::{Kind, Tensor};

use super::Mode;
use super::dropout::dropout;
use super::inverted::{Activation, InvertedResidual, SqueezeExcitation, by_stage, stage};
use super::layers::{BatchNorm, BatchNormSettings, ConvNorm, Convolution, Linear};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Share of the features that dropout drops before the head.
const DROPOUT: f32 = 0.2;
/// Probability with which stochastic depth would leave out a block after the last; it grows from 0 with the number of the block.
const STOCHASTIC_DEPTH: f32 = 0.2;
/// Names the masks of the dropout before the head.
const HEAD_MASK: u32 = 0;
/// Lite0 keeps the settings that its weights were trained with in TensorFlow.
const LITE_BATCH_NORM: BatchNormSettings = BatchNormSettings { epsilon: 1e-3, momentum: 0.01 };

/// An EfficientNet.
#[derive(Debug)]
pub(super) struct EfficientNet {
    activation: Activation,
    stem: ConvNorm,
    stages: Vec<Vec<InvertedResidual>>,
    last: ConvNorm,
    head: Linear,
}

impl EfficientNet {
    /// The net of this layout with these parameters.
    pub(super) fn new(layout: Layout, parameters: &Parameters) -> Result<Self, LabError> {
        let builder = Builder { layout, parameters };
        let [stem, last] = layout.ends();
        let blocks = layout.blocks();
        let count = blocks.len() as f32;
        let block = |block: InvertedBlock| builder.block(block, STOCHASTIC_DEPTH * block.number as f32 / count);
        let head = match layout {
            Layout::B0 => "classifier.1",
            Layout::Lite0 => "_fc",
        };
        Ok(Self {
            activation: builder.activation(),
            stem: builder.unit(stem, 3, 2, 1)?,
            stages: by_stage(blocks.into_iter().map(block).collect::<Result<_, _>>()?),
            last: builder.unit(last, 1, 1, 1)?,
            head: Linear::new(head, parameters)?,
        })
    }
}

/// Makes layers as the layout sets them up.
struct Builder<'a> {
    layout: Layout,
    parameters: &'a Parameters,
}

impl Builder<'_> {
    const fn activation(&self) -> Activation {
        match self.layout {
            Layout::B0 => Activation::Silu,
            Layout::Lite0 => Activation::Relu6,
        }
    }

    fn unit(&self, names: [&str; 2], kernel: u32, stride: u32, groups: u32) -> Result<ConvNorm, LabError> {
        let [convolution, norm] = names;
        let (stride, groups) = (i64::from(stride), i64::from(groups));
        let (convolution, settings) = match self.layout {
            Layout::B0 => {
                let padding = i64::from(kernel / 2);
                let convolution = Convolution::grouped(convolution, stride, padding, groups, self.parameters)?;
                (convolution, BatchNormSettings::DEFAULT)
            }
            Layout::Lite0 => (Convolution::same_padded(convolution, stride, groups, self.parameters)?, LITE_BATCH_NORM),
        };
        Ok(ConvNorm::new(convolution, BatchNorm::with(settings, norm, self.parameters)?, self.parameters)?)
    }

    fn block(&self, layout: InvertedBlock, drop_rate: f32) -> Result<InvertedResidual, LabError> {
        let names = self.names(&layout);
        let pair = |[convolution, norm]: &[String; 2], kernel, stride, groups| {
            self.unit([convolution, norm], kernel, stride, groups)
        };
        Ok(InvertedResidual {
            layout,
            expand: layout.expands().then(|| pair(&names.expand, 1, 1, 1)).transpose()?,
            depthwise: pair(&names.depthwise, layout.kernel, layout.stride, layout.hidden)?,
            squeeze: names.squeeze.map(|prefix| SqueezeExcitation::new(&prefix, self.parameters)).transpose()?,
            project: pair(&names.project, 1, 1, 1)?,
            activation: self.activation(),
            drop_rate,
        })
    }

    fn names(&self, layout: &InvertedBlock) -> Names {
        match self.layout {
            Layout::B0 => {
                let prefix = format!("features.{}.{}.block", layout.stage + 1, layout.place);
                let depthwise = u32::from(layout.expands());
                let pair = |number: u32| [format!("{prefix}.{number}.0"), format!("{prefix}.{number}.1")];
                Names {
                    expand: pair(0),
                    depthwise: pair(depthwise),
                    squeeze: Some(format!("{prefix}.{}", depthwise + 1)),
                    project: pair(depthwise + 2),
                }
            }
            Layout::Lite0 => {
                let pair = |convolution: &str, norm: &str| {
                    [convolution, norm].map(|name| format!("_blocks.{}.{name}", layout.number))
                };
                Names {
                    expand: pair("_expand_conv", "_bn0"),
                    depthwise: pair("_depthwise_conv", "_bn1"),
                    squeeze: None,
                    project: pair("_project_conv", "_bn2"),
                }
            }
        }
    }
}

/// Names of a block's layers: convolution and normalisation.
struct Names {
    expand: [String; 2],
    depthwise: [String; 2],
    squeeze: Option<String>,
    project: [String; 2],
}

impl Network for EfficientNet {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        stage([&self.stem, &self.last], &self.stages, self.activation, number, input, mode)
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        last.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)
    }

    fn logits(&self, features: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        match mode.dropout() {
            Some(step) => self.head.forward(&dropout(features, DROPOUT, step, HEAD_MASK)?),
            None => self.head.forward(features),
        }
    }
}
