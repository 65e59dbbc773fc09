//! The tensors of a model by name.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::LabError;

/// A state dict: trained parameters and running statistics under torchvision's names.
#[derive(Debug, Default)]
pub struct Parameters {
    tensors: BTreeMap<String, Tensor>,
    frozen: bool,
}

impl Parameters {
    /// These tensors.
    pub const fn new(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, frozen: false }
    }

    /// The same, never to change again: layers may combine what training keeps apart.
    #[must_use]
    pub fn frozen(self) -> Self {
        Self { frozen: true, ..self }
    }

    /// Whether they never change again.
    pub const fn are_frozen(&self) -> bool {
        self.frozen
    }

    /// All tensors, in the order of their names.
    pub const fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// A second handle of the tensor of this name: layers and state dict share their tensors, and a step of the optimiser changes both.
    ///
    /// # Errors
    /// No such tensor.
    pub(crate) fn share(&self, name: &str) -> Result<Tensor, LabError> {
        let tensor =
            self.tensors.get(name).ok_or_else(|| LabError::Defect(format!("the model has no tensor `{name}`")))?;
        Ok(tensor.shallow_clone())
    }

    /// As [`Self::share`], where an architecture may have the tensor or not.
    pub(crate) fn share_if_any(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(Tensor::shallow_clone)
    }

    /// Tensors that gradients move, in the order of their names.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        let trained = |name: &str| !name.ends_with(".running_mean") && !name.ends_with(".running_var");
        self.tensors
            .iter()
            .filter(|(name, _)| trained(name))
            .map(|(name, t)| (name.clone(), t.shallow_clone()))
            .collect()
    }
}
