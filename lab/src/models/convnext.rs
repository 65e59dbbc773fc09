//! ConvNeXt (Liu et al. 2022, arXiv 2201.03545), as torchvision has it.

use gauntlet_domain::experiment::ConvNeXtLayout;
use tch::{Kind, Tensor};

use super::Mode;
use super::dropout::stochastic_depth;
use super::layers::{Convolution, LayerNorm, Linear};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Probability with which stochastic depth leaves out the last block; it grows from 0 with the number of the block.
const STOCHASTIC_DEPTH: f32 = 0.1;
/// Added to the variance by its normalisations.
const EPSILON: f64 = 1e-6;

/// A ConvNeXt.
#[derive(Debug)]
pub(super) struct ConvNeXt {
    stem: (Convolution, LayerNorm),
    stages: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Debug)]
struct Stage {
    /// Halves the size; the first stage has none.
    entry: Option<(LayerNorm, Convolution)>,
    blocks: Vec<Block>,
}

impl ConvNeXt {
    /// The net of this layout with these parameters.
    pub(super) fn new(layout: ConvNeXtLayout, parameters: &Parameters) -> Result<Self, LabError> {
        let total: u32 = layout.blocks.iter().sum();
        let mut number = 0;
        let mut stages = Vec::new();
        for (stage, (width, count)) in layout.widths.into_iter().zip(layout.blocks).enumerate() {
            let entry = if stage == 0 { None } else { Some(entry(&format!("features.{}", 2 * stage), parameters)?) };
            let mut blocks = Vec::new();
            for place in 0..count {
                let drop_rate = STOCHASTIC_DEPTH * number as f32 / (total - 1) as f32;
                let prefix = format!("features.{}.{place}", 2 * stage + 1);
                blocks.push(Block::new(&prefix, width, number, drop_rate, parameters)?);
                number += 1;
            }
            stages.push(Stage { entry, blocks });
        }
        let stem = Convolution::new("features.0.0", 4, 0, parameters)?;
        Ok(Self {
            stem: (stem, LayerNorm::new("features.0.1", EPSILON, parameters)?),
            stages,
            norm: LayerNorm::new("classifier.0", EPSILON, parameters)?,
            head: Linear::new("classifier.2", parameters)?,
        })
    }
}

fn entry(prefix: &str, parameters: &Parameters) -> Result<(LayerNorm, Convolution), LabError> {
    let norm = LayerNorm::new(&format!("{prefix}.0"), EPSILON, parameters)?;
    Ok((norm, Convolution::new(&format!("{prefix}.1"), 2, 0, parameters)?))
}

impl Network for ConvNeXt {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        if number == 0 {
            let (convolution, norm) = &self.stem;
            return over_channels(norm, &convolution.forward(input)?);
        }
        let Stage { entry, blocks } = &self.stages[number - 1];
        let x = match entry {
            Some((norm, convolution)) => convolution.forward(&over_channels(norm, input)?)?,
            None => input.shallow_clone(),
        };
        blocks.iter().try_fold(x, |x, block| block.forward(&x, mode))
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.norm.forward(&last.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}

/// Normalises the channels of every pixel.
fn over_channels(norm: &LayerNorm, x: &Tensor) -> tch::Result<Tensor> {
    norm.forward(&x.f_permute([0, 2, 3, 1])?)?.f_permute([0, 3, 1, 2])
}

/// A depthwise 7×7 convolution, then a normalisation and two fully connected layers over the channels of every pixel.
#[derive(Debug)]
struct Block {
    convolution: Convolution,
    norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
    /// \[C,1,1\].
    scale: Tensor,
    number: u32,
    drop_rate: f32,
}

impl Block {
    fn new(prefix: &str, width: u32, number: u32, drop_rate: f32, parameters: &Parameters) -> Result<Self, LabError> {
        let name = |part: u32| format!("{prefix}.block.{part}");
        Ok(Self {
            convolution: Convolution::grouped(&name(0), 1, 3, width.into(), parameters)?,
            norm: LayerNorm::new(&name(2), EPSILON, parameters)?,
            widen: Linear::new(&name(3), parameters)?,
            narrow: Linear::new(&name(5), parameters)?,
            scale: parameters.share(&format!("{prefix}.layer_scale"))?,
            number,
            drop_rate,
        })
    }

    fn forward(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let x = self.convolution.forward(input)?.f_permute([0, 2, 3, 1])?;
        let x = self.widen.forward(&self.norm.forward(&x)?)?.f_gelu("none")?;
        let mut x = self.narrow.forward(&x)?.f_permute([0, 3, 1, 2])?.f_mul(&self.scale)?;
        if let Some(step) = mode.dropout().filter(|_| self.drop_rate > 0.0) {
            x = stochastic_depth(&x, self.drop_rate, step, self.number)?;
        }
        x.f_add(input)
    }
}
