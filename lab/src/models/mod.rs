//! Classifiers under torchvision's parameter names, with their preprocessing.

mod initial;
mod parameters;
mod resnet;
mod weights;

use gauntlet_domain::experiment::{Backbone, ModelSpec};
use tch::{Device, Tensor};

use crate::error::LabError;
pub use parameters::Parameters;
use resnet::ResNet;
pub use weights::{Checkpoints, starting_weights};

/// How batch normalisation behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Normalises by the batch, and moves the running statistics.
    Train,
    /// Normalises by the running statistics, and changes nothing.
    Eval,
}

/// What a model makes of a batch.
#[derive(Debug)]
pub struct Output {
    /// Pooled penultimate features, f32 \[n,F\].
    pub features: Tensor,
    /// f32 \[n,classes\].
    pub logits: Tensor,
}

/// A classifier: normalisation, backbone, head.
#[derive(Debug)]
pub struct Model {
    network: Network,
    parameters: Parameters,
    mean: Tensor,
    std: Tensor,
}

/// The architectures there are.
#[derive(Debug)]
enum Network {
    ResNet(ResNet),
}

impl Model {
    /// A model with these parameters, on their device.
    ///
    /// # Errors
    /// Parameters that the architecture lacks; a normalisation for another number of channels.
    pub fn new(spec: &ModelSpec, parameters: Parameters, device: Device) -> Result<Self, LabError> {
        let channels = spec.channels as usize;
        let normalize = &spec.normalize;
        if normalize.mean.len() != channels || normalize.std.len() != channels {
            return Err(LabError::Spec(format!("mean and std must have one value for each of {channels} channels")));
        }
        if normalize.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) {
            return Err(LabError::Spec(format!("std must be above zero, found {:?}", normalize.std)));
        }
        let per_channel = |values: &[f64]| -> tch::Result<Tensor> {
            let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            Tensor::f_from_slice(&values)?.f_view([1, channels as i64, 1, 1])?.f_to_device(device)
        };
        let network = match spec.backbone {
            Backbone::ResNet18 | Backbone::ResNet18W16 => {
                Network::ResNet(ResNet::new(spec.backbone.layout(), &parameters)?)
            }
        };
        let (mean, std) = (per_channel(&normalize.mean)?, per_channel(&normalize.std)?);
        Ok(Self { network, parameters, mean, std })
    }

    /// Features and logits of pixels in [0,1], f32 \[n,C,H,W\].
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn forward(&self, pixels: &Tensor, mode: Mode) -> tch::Result<Output> {
        let input = pixels.f_sub(&self.mean)?.f_div(&self.std)?;
        match &self.network {
            Network::ResNet(network) => network.forward(&input, mode),
        }
    }

    /// All its tensors by name.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
