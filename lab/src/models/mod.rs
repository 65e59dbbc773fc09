//! Classifiers under published parameter names, with their preprocessing.

mod alexnet;
mod convnext;
mod densenet;
mod dropout;
mod efficientnet;
mod initial;
mod inverted;
mod layers;
mod mobilenet;
mod network;
mod parameters;
mod preact;
mod precision;
mod resnet;
mod vgg;
mod vit;
mod weights;

use gauntlet_domain::experiment::{Backbone, Family, ModelSpec, Stage, Stem, VitB16};
use tch::{Device, TchError, Tensor};

use crate::error::LabError;
use alexnet::AlexNet;
use convnext::ConvNeXt;
use densenet::DenseNet;
use efficientnet::EfficientNet;
use mobilenet::MobileNetV2;
use network::Network;
pub use parameters::Parameters;
use preact::PreActResNet;
pub use precision::computing_in;
use precision::widened;
use resnet::ResNet;
use vgg::Vgg;
use vit::VisionTransformer;
pub use weights::{Checkpoints, starting_weights};

/// How layers behave that training and evaluation treat differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Batch normalisation goes by the batch, and dropout may be on.
    Train(Train),
    /// Batch normalisation goes by the running statistics; nothing is dropped, nothing changes.
    Eval,
}

/// A pass in train mode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Train {
    /// Whether the running statistics follow the batch. They must not when activations of an earlier pass are computed again.
    pub moves_statistics: bool,
    /// Weight of the batch in the running statistics; the architecture's own if none.
    pub batch_norm_momentum: Option<f64>,
    /// What draws the masks of dropout and stochastic depth; without it nothing is dropped.
    pub dropout: Option<Dropout>,
}

/// Names the random masks of one step: equal names, equal masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    /// Seed of the run.
    pub seed: u64,
    /// The step, counted from 0.
    pub iteration: u32,
    /// Rows of the step's batch that come before those of this pass: each row has the mask of its place in the batch.
    pub first_row: usize,
}

impl Mode {
    /// Train mode that moves the statistics and drops nothing.
    pub const TRAIN: Self = Self::Train(Train { moves_statistics: true, batch_norm_momentum: None, dropout: None });

    /// What draws the masks of dropout, if anything is dropped.
    const fn dropout(self) -> Option<Dropout> {
        match self {
            Self::Train(train) => train.dropout,
            Self::Eval => None,
        }
    }
}

/// What a model makes of a batch.
#[derive(Debug)]
pub struct Output {
    /// Pooled penultimate features, f32 \[n,F\].
    pub features: Tensor,
    /// f32 \[n,classes\].
    pub logits: Tensor,
}

/// What becomes of the activations inside a model's stages when a pass is to be differentiated. It changes no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// They are kept for the way back.
    #[default]
    Keep,
    /// They are thrown away and computed again on the way back: a forward pass more, for a fraction of the memory.
    Recompute,
}

/// The network of a family with these parameters.
fn network(family: Family, parameters: &Parameters) -> Result<Box<dyn Network>, LabError> {
    Ok(match family {
        Family::AlexNet(_) => Box::new(AlexNet::new(parameters)?),
        Family::Vgg(_) => Box::new(Vgg::new(parameters)?),
        Family::ResNet(layout) => Box::new(ResNet::new(layout, parameters)?),
        Family::DenseNet(layout) => Box::new(DenseNet::new(layout, parameters)?),
        Family::WideResNet(layout) => Box::new(PreActResNet::wide(layout, parameters)?),
        Family::MobileNetV2(layout) => Box::new(MobileNetV2::new(layout, parameters)?),
        Family::EfficientNet(layout) => Box::new(EfficientNet::new(layout, parameters)?),
        Family::ConvNeXt(layout) => Box::new(ConvNeXt::new(layout, parameters)?),
        Family::VisionTransformer(VitB16) => Box::new(VisionTransformer::b16(parameters)?),
        Family::PreActResNet(_) => Box::new(PreActResNet::resnet18(parameters)?),
    })
}

/// A classifier: normalisation, backbone, head.
#[derive(Debug)]
pub struct Model {
    activations: Activations,
    backbone: Backbone,
    classes: u32,
    network: Box<dyn Network>,
    parameters: Parameters,
    mean: Tensor,
    std: Tensor,
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
        if spec.stem == Stem::Cifar && !spec.backbone.has_cifar_stem() {
            return Err(LabError::Spec(format!("{} has no stem for CIFAR", spec.backbone)));
        }
        if let Some(width) = spec.width.filter(|width| !spec.backbone.takes_width(*width)) {
            return Err(LabError::Spec(format!("{} has no width of {width}", spec.backbone)));
        }
        let network = network(spec.family(), &parameters)?;
        let (mean, std) = (per_channel(&normalize.mean)?, per_channel(&normalize.std)?);
        let (backbone, classes) = (spec.backbone, spec.classes);
        Ok(Self { activations: Activations::Keep, backbone, classes, network, parameters, mean, std })
    }

    /// The same model, treating its activations so.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// What becomes of its activations.
    pub const fn activations(&self) -> Activations {
        self.activations
    }

    /// Features and logits of pixels in [0,1], f32 \[n,C,H,W\].
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn forward(&self, pixels: &Tensor, mode: Mode) -> tch::Result<Output> {
        let mut x = self.normalised(pixels)?;
        for number in 0..self.stages().len() {
            x = self.stage(number, &x, mode)?;
        }
        self.head(&x, mode)
    }

    /// The stages between the normalisation and the head.
    pub fn stages(&self) -> &'static [Stage] {
        self.backbone.stages()
    }

    /// Whether gradients are wanted by a parameter of a stage.
    pub fn is_trained(&self, stage: usize) -> bool {
        let prefixes = self.stages()[stage].prefixes;
        let mut own = self.parameters.tensors().iter().filter(|(name, _)| prefixes.iter().any(|p| name.starts_with(p)));
        own.any(|(_, tensor)| tensor.requires_grad())
    }

    /// What the first stage takes: (pixels − mean) / std.
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn normalised(&self, pixels: &Tensor) -> tch::Result<Tensor> {
        pixels.f_sub(&self.mean)?.f_div(&self.std)
    }

    /// Output of a stage, given that of the one before.
    ///
    /// # Errors
    /// An input of another shape; train mode with frozen parameters; no memory.
    pub fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor> {
        if mode != Mode::Eval && self.parameters.are_frozen() {
            return Err(TchError::Kind("a model with frozen parameters cannot be trained".to_owned()));
        }
        self.network.stage(number, input, mode)
    }

    /// Features and logits, given the output of the last stage.
    ///
    /// # Errors
    /// An input of another shape; no memory.
    pub fn head(&self, last: &Tensor, mode: Mode) -> tch::Result<Output> {
        let features = widened(&self.network.features(last, mode)?)?;
        let logits = widened(&self.network.logits(&features, mode)?)?;
        Ok(Output { features, logits })
    }

    /// Number of classes.
    pub const fn classes(&self) -> u32 {
        self.classes
    }

    /// All its tensors by name.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}
