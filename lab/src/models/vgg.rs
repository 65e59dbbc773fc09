//! VGG nets with batch normalisation (Simonyan and Zisserman 2015, arXiv 1409.1556), as torchvision has them.

use gauntlet_domain::experiment::Vgg as Layout;
use tch::Tensor;

use super::Mode;
use super::dropout::dropout;
use super::layers::{ConvNorm, Linear, conv_norm};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Share of the activations that dropout drops.
const DROPOUT: f32 = 0.5;

/// A VGG net.
#[derive(Debug)]
pub(super) struct Vgg {
    /// A 2×2 max-pooling ends a block.
    blocks: Vec<Vec<ConvNorm>>,
    hidden: [Linear; 2],
    head: Linear,
}

impl Vgg {
    /// The net with these parameters.
    pub(super) fn new(parameters: &Parameters) -> Result<Self, LabError> {
        let unit = |number: u32| {
            let names = [format!("features.{number}"), format!("features.{}", number + 1)];
            conv_norm([&names[0], &names[1]], 1, 1, parameters)
        };
        let block = |((_, count), first): ((u32, u32), u32)| {
            (0..count).map(|number| unit(first + 3 * number)).collect::<Result<Vec<_>, _>>()
        };
        let linear = |number: u32| Linear::new(&format!("classifier.{number}"), parameters);
        Ok(Self {
            blocks: Layout::BLOCKS.into_iter().zip(Layout::FIRST).map(block).collect::<Result<_, _>>()?,
            hidden: [linear(0)?, linear(3)?],
            head: linear(6)?,
        })
    }

    fn hidden(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let mut x = input.f_adaptive_avg_pool2d([7, 7])?.f_flatten(1, -1)?;
        for (number, layer) in (0..).zip(&self.hidden) {
            x = layer.forward(&x)?.f_relu()?;
            if let Some(step) = mode.dropout() {
                x = dropout(&x, DROPOUT, step, number)?;
            }
        }
        Ok(x)
    }
}

impl Network for Vgg {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let Some(block) = self.blocks.get(number) else { return self.hidden(input, mode) };
        let x = block.iter().try_fold(input.shallow_clone(), |x, unit| unit.forward(&x, mode)?.f_relu())?;
        x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        Ok(last.shallow_clone())
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}
