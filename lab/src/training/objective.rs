//! The loss of a training step.

use gauntlet_domain::experiment::Objective;
use tch::{Reduction, Tensor};

use super::inner::{Draws, Target, craft};
use super::passes::Passes;
use crate::error::LabError;
use crate::examples::Batch;
use crate::models::{Mode, Model, Output};

/// A training step up to its gradients.
#[derive(Debug)]
pub struct StepLoss<'a> {
    /// What is minimised; a scalar.
    pub loss: Tensor,
    /// How its gradients are found.
    pub passes: Passes<'a>,
    /// Logits of the images whose accuracy is reported: those shown, the clean ones where the objective shows both. f32 \[n,classes\].
    pub logits: Tensor,
}

/// The loss of one batch. Inner attacks are crafted in eval mode; the pass that is differentiated is in train mode.
///
/// # Errors
/// No memory.
pub fn step_loss<'a>(
    model: &'a Model,
    batch: &Batch,
    objective: &Objective,
    draws: Draws,
) -> Result<StepLoss<'a>, LabError> {
    match objective {
        Objective::Standard => cross_entropy_of(model, &batch.pixels, &batch.labels),
        Objective::PgdAt { inner } => {
            let target = Target::CrossEntropy(&batch.labels);
            let adversarial = craft(model, &batch.pixels, &target, inner, draws)?;
            cross_entropy_of(model, &adversarial, &batch.labels)
        }
        Objective::Dm { coefficient, inner } => {
            let clean = tch::no_grad(|| model.forward(&batch.pixels, Mode::Eval))?.features;
            let adversarial = craft(model, &batch.pixels, &Target::Features(&clean), inner, draws)?;
            discrepancy(model, batch, &adversarial, *coefficient)
        }
    }
}

fn cross_entropy_of<'a>(model: &'a Model, pixels: &Tensor, labels: &Tensor) -> Result<StepLoss<'a>, LabError> {
    let mut passes = Passes::new();
    let logits = passes.forward(model, pixels, Mode::TRAIN)?.logits;
    Ok(StepLoss { loss: cross_entropy(&logits, labels)?, passes, logits: logits.f_detach()? })
}

/// CE(f(x), y) + coefficient · mean (g(x′) − g(x))². Clean and perturbed images share one batch, so that both are normalised by the same statistics; the
/// gradient flows through both features.
///
/// # Errors
/// No memory.
pub fn discrepancy<'a>(
    model: &'a Model,
    batch: &Batch,
    adversarial: &Tensor,
    coefficient: f64,
) -> Result<StepLoss<'a>, LabError> {
    let count = batch.pixels.size()[0];
    let both = Tensor::f_cat(&[&batch.pixels, adversarial], 0)?;
    let mut passes = Passes::new();
    let Output { features, logits } = passes.forward(model, &both, Mode::TRAIN)?;
    let logits = logits.f_narrow(0, 0, count)?;
    let (clean, perturbed) = (features.f_narrow(0, 0, count)?, features.f_narrow(0, count, count)?);
    let distance = perturbed.f_mse_loss(&clean, Reduction::Mean)?;
    let loss = cross_entropy(&logits, &batch.labels)?.f_add(&distance.f_mul_scalar(coefficient)?)?;
    Ok(StepLoss { loss, passes, logits: logits.f_detach()? })
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> tch::Result<Tensor> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, 0.0)
}
