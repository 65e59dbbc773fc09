//! A model in training: which of its parameters move, how its parts behave, and what a method carries from step to step.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::{Backbone, Frozen, ModelSpec, Objective};
use tch::{Device, Kind, Tensor};

use super::passes::Route;
use crate::error::LabError;
use crate::models::{Mode, Model, Output, Parameters};

/// Prefix of the twin's own parameters among those that are trained, and of all its own tensors among those that are carried over.
const TWIN: &str = "twin.";
/// Name of `free-at`'s perturbation among the tensors that are carried over.
const PERTURBATION: &str = "perturbation";

/// A model with what a phase of a training does to it.
#[derive(Debug)]
pub struct Learner<'a> {
    model: &'a Model,
    backbone: Backbone,
    frozen: Frozen,
    twin: Option<Twin>,
    perturbation: Option<Tensor>,
}

/// A second model that shares the weights of the first, but for those of batch normalisation.
#[derive(Debug)]
struct Twin {
    model: Model,
    /// Names of the tensors that it does not share.
    own: Vec<String>,
}

/// Which network a pass goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// The model that results.
    Own,
    /// Its twin with frozen statistics.
    Twin,
}

impl<'a> Learner<'a> {
    /// A learner under this objective. `batch` is the size of its batches, \[n,C,H,W\]. The twin is made of the model's tensors as they are.
    ///
    /// # Errors
    /// No memory.
    pub fn new(
        model: &'a Model,
        spec: &ModelSpec,
        objective: &Objective,
        frozen: Frozen,
        batch: [i64; 4],
        device: Device,
    ) -> Result<Self, LabError> {
        let twin = match objective {
            Objective::Twins { .. } => Some(Twin::of(model, spec, device)?),
            _ => None,
        };
        let perturbation = match objective {
            Objective::FreeAt { .. } => Some(Tensor::f_zeros(batch, (Kind::Float, device))?),
            _ => None,
        };
        let learner = Self { model, backbone: spec.backbone, frozen, twin, perturbation };
        for (_, parameter) in model.parameters().trainable() {
            let _same_tensor = parameter.f_set_requires_grad(false)?;
        }
        for (_, parameter) in learner.trained() {
            let _same_tensor = parameter.f_set_requires_grad(true)?;
        }
        Ok(learner)
    }

    /// The parameters that are trained, in the order of their names, those of a twin last.
    pub fn trained(&self) -> Vec<(String, Tensor)> {
        let mut trained = self.model.parameters().trainable();
        trained.retain(|(name, _)| self.is_trained(name));
        if let Some(twin) = &self.twin {
            let own = twin.model.parameters().trainable().into_iter();
            let own = own.filter(|(name, _)| twin.own.contains(name) && self.is_trained(name));
            trained.extend(own.map(|(name, tensor)| (format!("{TWIN}{name}"), tensor)));
        }
        trained
    }

    /// Whether a parameter of this name belongs to the classification head.
    pub fn is_head(&self, name: &str) -> bool {
        name.strip_prefix(self.backbone.head()).is_some_and(|rest| rest.starts_with('.'))
    }

    fn is_trained(&self, name: &str) -> bool {
        match self.frozen {
            Frozen::Backbone => self.is_head(name),
            Frozen::Stages(count) => {
                let mut frozen = self.model.stages().iter().take(count as usize).flat_map(|stage| stage.prefixes);
                !frozen.any(|prefix| name.starts_with(prefix))
            }
        }
    }

    /// Features and logits of pixels in [0,1], f32 \[n,C,H,W\]. What is frozen stays in eval mode, and so does the twin, whatever the mode.
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn forward(&self, pixels: &Tensor, branch: Branch, mode: Mode) -> Result<Output, LabError> {
        Ok(self.route(branch, mode)?.forward(pixels)?)
    }

    /// The way of such a pass.
    ///
    /// # Errors
    /// A twin where there is none.
    pub fn route(&self, branch: Branch, mode: Mode) -> Result<Route<'_>, LabError> {
        if branch == Branch::Twin {
            let twin = self.twin.as_ref().ok_or_else(|| LabError::Defect("the model has no twin".to_owned()))?;
            return Ok(Route::uniform(&twin.model, Mode::Eval));
        }
        let stages = (0..self.model.stages().len()).map(|number| self.stage_mode(number, mode)).collect();
        let head = if self.frozen == Frozen::Backbone { Mode::Eval } else { mode };
        Ok(Route { model: self.model, stages, head })
    }

    /// How a stage behaves in a pass of this mode.
    pub fn stage_mode(&self, number: usize, mode: Mode) -> Mode {
        match self.frozen {
            Frozen::Backbone => Mode::Eval,
            Frozen::Stages(count) if number < count as usize => Mode::Eval,
            Frozen::Stages(_) => mode,
        }
    }

    /// The rows `first` … `first` + `count` of `free-at`'s perturbation, f32 \[count,C,H,W\].
    ///
    /// # Errors
    /// Another objective; rows beyond the batch.
    pub(super) fn perturbation(&self, first: usize, count: i64) -> Result<Tensor, LabError> {
        let perturbation = self.perturbation.as_ref();
        let perturbation = perturbation.ok_or_else(|| LabError::Defect("there is no perturbation".to_owned()))?;
        Ok(perturbation.f_narrow(0, first as i64, count)?)
    }

    /// What the method carries from step to step beside model and optimiser, by name; a resumed training needs it.
    pub fn carried(&self) -> BTreeMap<String, Tensor> {
        let perturbation = self.perturbation.iter().map(|tensor| (PERTURBATION.to_owned(), tensor.shallow_clone()));
        let twin = self.twin.iter().flat_map(|twin| {
            let tensors = twin.model.parameters().tensors().iter();
            let own = tensors.filter(|(name, _)| twin.own.contains(name));
            own.map(|(name, tensor)| (format!("{TWIN}{name}"), tensor.shallow_clone()))
        });
        perturbation.chain(twin).collect()
    }
}

impl Twin {
    fn of(model: &Model, spec: &ModelSpec, device: Device) -> Result<Self, LabError> {
        let tensors = model.parameters().tensors();
        let normalises = |name: &str| {
            let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
            tensors.contains_key(&format!("{layer}.running_mean"))
        };
        let mut own = Vec::new();
        let mut twins = BTreeMap::new();
        for (name, tensor) in tensors {
            let tensor = if normalises(name) {
                own.push(name.clone());
                let mut copy = tensor.f_detach()?.f_zeros_like()?;
                copy.f_copy_(&tensor.f_detach()?)?;
                copy
            } else {
                tensor.shallow_clone()
            };
            twins.insert(name.clone(), tensor);
        }
        let twin = Model::new(spec, Parameters::new(twins), device)?.with_activations(model.activations());
        Ok(Self { model: twin, own })
    }
}
