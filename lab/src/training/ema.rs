//! The average of the weights.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::{Ema, ModelSpec};
use tch::{Device, Tensor};

use crate::error::LabError;
use crate::models::{Model, Parameters};

/// A model whose tensors, running statistics included, are the exponential moving average of those of the model in training.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    model: Model,
}

impl Average {
    /// Before the first step: a copy.
    ///
    /// # Errors
    /// No memory.
    pub fn new(ema: Ema, spec: &ModelSpec, model: &Model, device: Device) -> Result<Self, LabError> {
        let copies = copies(model.parameters())?;
        Ok(Self { decay: ema.decay, model: Model::new(spec, Parameters::new(copies), device)? })
    }

    /// Follows the model after its step of this number, counted from 1: the first is copied.
    ///
    /// # Errors
    /// No memory.
    pub fn follow(&self, model: &Model, step: u32) -> tch::Result<()> {
        let _guard = tch::no_grad_guard();
        for (average, tensor) in self.model.parameters().tensors().values().zip(model.parameters().tensors().values()) {
            let mut average = average.shallow_clone();
            if step == 1 {
                average.f_copy_(tensor)?;
            } else {
                let _in_place = average.f_lerp_(tensor, 1.0 - self.decay)?;
            }
        }
        Ok(())
    }

    /// The model with the averages.
    pub const fn model(&self) -> &Model {
        &self.model
    }
}

/// Copies of all tensors, without their history.
pub(super) fn copies(parameters: &Parameters) -> tch::Result<BTreeMap<String, Tensor>> {
    let copy = |(name, tensor): (&String, &Tensor)| {
        let mut copy = tensor.f_detach()?.f_zeros_like()?;
        copy.f_copy_(&tensor.f_detach()?)?;
        Ok((name.clone(), copy))
    };
    parameters.tensors().iter().map(copy).collect()
}

/// Gives a model these values.
pub(super) fn assign(model: &Model, tensors: &BTreeMap<String, Tensor>) -> tch::Result<()> {
    let _guard = tch::no_grad_guard();
    for (own, tensor) in model.parameters().tensors().values().zip(tensors.values()) {
        own.shallow_clone().f_copy_(tensor)?;
    }
    Ok(())
}
