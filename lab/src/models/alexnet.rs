//! AlexNet in the form of one column (Krizhevsky 2014, arXiv 1404.5997), as torchvision has it.

use tch::Tensor;

use super::Mode;
use super::dropout::dropout;
use super::layers::{Convolution, Linear};
use super::network::Network;
use super::parameters::Parameters;
use crate::error::LabError;

/// Share of the activations that dropout drops.
const DROPOUT: f32 = 0.5;

/// AlexNet.
#[derive(Debug)]
pub(super) struct AlexNet {
    /// A 3×3 max-pooling of stride 2 ends a block.
    blocks: [Vec<Convolution>; 3],
    hidden: [Linear; 2],
    head: Linear,
}

impl AlexNet {
    /// The net with these parameters.
    pub(super) fn new(parameters: &Parameters) -> Result<Self, LabError> {
        let convolution =
            |number: u32, stride, padding| Convolution::new(&format!("features.{number}"), stride, padding, parameters);
        let linear = |number: u32| Linear::new(&format!("classifier.{number}"), parameters);
        Ok(Self {
            blocks: [
                vec![convolution(0, 4, 2)?],
                vec![convolution(3, 1, 2)?],
                vec![convolution(6, 1, 1)?, convolution(8, 1, 1)?, convolution(10, 1, 1)?],
            ],
            hidden: [linear(1)?, linear(4)?],
            head: linear(6)?,
        })
    }

    fn hidden(&self, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let mut x = input.f_adaptive_avg_pool2d([6, 6])?.f_flatten(1, -1)?;
        for (number, layer) in (0..).zip(&self.hidden) {
            if let Some(step) = mode.dropout() {
                x = dropout(&x, DROPOUT, step, number)?;
            }
            x = layer.forward(&x)?.f_relu()?;
        }
        Ok(x)
    }
}

impl Network for AlexNet {
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        let Some(block) = self.blocks.get(number) else { return self.hidden(input, mode) };
        let x = block.iter().try_fold(input.shallow_clone(), |x, convolution| convolution.forward(&x)?.f_relu())?;
        x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)
    }

    fn features(&self, last: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        Ok(last.shallow_clone())
    }

    fn logits(&self, features: &Tensor, _mode: Mode) -> tch::Result<Tensor> {
        self.head.forward(features)
    }
}
