//! MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), as torchvision has it.

use gauntlet_domain::experiment::{InvertedBlock, MobileNetV2 as Layout};
use tch::{Kind, Tensor};

use super::Mode;
use super::dropout::dropout;
use super::inverted::{Activation, InvertedResidual, by_stage, stage};
use super::layers::{BatchNorm, ConvNorm, Convolution, Linear, conv_norm};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Share of the features that dropout drops before the head.
const DROPOUT: f32 = 0.2;
/// Names the masks of that dropout.
const HEAD_MASK: u32 = 0;

/// MobileNetV2.
#[derive(Debug)]
pub(super) struct MobileNetV2 {
    stem: ConvNorm,
    stages: Vec<Vec<InvertedResidual>>,
    last: ConvNorm,
    head: Linear,
}

impl MobileNetV2 {
    /// The net with these parameters.
    pub(super) fn new(layout: Layout, parameters: &Parameters) -> Result<Self, LabError> {
        let blocks = layout.blocks().into_iter().map(|layout| block(layout, parameters));
        let last = format!("features.{}", layout.last());
        Ok(Self {
            stem: conv_norm(["features.0.0", "features.0.1"], 2, 1, parameters)?,
            stages: by_stage(blocks.collect::<Result<_, _>>()?),
            last: conv_norm([&format!("{last}.0"), &format!("{last}.1")], 1, 0, parameters)?,
            head: Linear::new("classifier.1", parameters)?,
        })
    }
}

fn block(layout: InvertedBlock, parameters: &Parameters) -> Result<InvertedResidual, LabError> {
    let prefix = format!("features.{}.conv", layout.number + 1);
    let depthwise = u32::from(layout.expands());
    let unit = |convolution: String, norm: String| conv_norm([&convolution, &norm], 1, 0, parameters);
    let expand = layout.expands().then(|| unit(format!("{prefix}.0.0"), format!("{prefix}.0.1"))).transpose()?;
    let convolution = Convolution::grouped(
        &format!("{prefix}.{depthwise}.0"),
        layout.stride.into(),
        (layout.kernel / 2).into(),
        layout.hidden.into(),
        parameters,
    )?;
    let norm = BatchNorm::new(&format!("{prefix}.{depthwise}.1"), parameters)?;
    let project = unit(format!("{prefix}.{}", depthwise + 1), format!("{prefix}.{}", depthwise + 2))?;
    Ok(InvertedResidual {
        layout,
        expand,
        depthwise: ConvNorm::new(convolution, norm, parameters)?,
        squeeze: None,
        project,
        activation: Activation::Relu6,
        drop_rate: 0.0,
    })
}

impl Network for MobileNetV2 {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        stage([&self.stem, &self.last], &self.stages, Activation::Relu6, number, input, mode)
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
