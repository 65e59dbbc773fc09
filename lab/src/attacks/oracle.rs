//! The attacked model, as attacks may use it.

use tch::{Kind, Reduction, Tensor};

use crate::error::LabError;
use crate::models::{Mode, Model};

/// A model in eval mode that counts how often it is asked.
pub(super) struct Oracle<'a> {
    model: &'a Model,
    queries: u64,
}

/// What the model says about points.
pub(super) struct Judgement {
    /// Predicted classes, i64 \[n\].
    pub(super) predictions: Tensor,
    /// Cross-entropy in nats, f32 \[n\].
    pub(super) losses: Tensor,
}

/// A forward pass from which gradients can still be taken.
pub(super) struct Pass {
    points: Tensor,
    total_loss: Tensor,
    pub(super) judgement: Judgement,
}

impl<'a> Oracle<'a> {
    pub(super) const fn new(model: &'a Model) -> Self {
        Self { model, queries: 0 }
    }

    /// Examples × passes so far.
    pub(super) const fn queries(&self) -> u64 {
        self.queries
    }

    /// Judges clean images; not counted as a query.
    pub(super) fn judge_clean(&self, pixels: &Tensor, labels: &Tensor) -> Result<Judgement, LabError> {
        let _guard = tch::no_grad_guard();
        let logits = self.model.forward(pixels, Mode::Eval)?.logits;
        Ok(judgement(&logits, &cross_entropies(&logits, labels)?)?)
    }

    /// Judges points.
    pub(super) fn judge(&mut self, points: &Tensor, labels: &Tensor) -> Result<Judgement, LabError> {
        self.queries += points.size()[0] as u64;
        self.judge_clean(points, labels)
    }

    /// Judges points in such a way that [`Self::gradient`] can follow.
    pub(super) fn pass(&mut self, points: &Tensor, labels: &Tensor) -> Result<Pass, LabError> {
        self.queries += points.size()[0] as u64;
        let points = points.f_detach()?.f_set_requires_grad(true)?;
        let logits = self.model.forward(&points, Mode::Eval)?.logits;
        let losses = cross_entropies(&logits, labels)?;
        // The sum, not the mean: the gradient at an example must not depend on its neighbours' number.
        let total_loss = losses.f_sum(Kind::Float)?;
        let judgement = judgement(&logits.f_detach()?, &losses.f_detach()?)?;
        Ok(Pass { points, total_loss, judgement })
    }

    /// Gradients of each example's cross-entropy by its pixels, of which `used` examples make use.
    pub(super) fn gradient(&mut self, pass: Pass, used: usize) -> Result<Tensor, LabError> {
        self.queries += used as u64;
        let mut gradients = Tensor::f_run_backward(&[&pass.total_loss], &[&pass.points], false, false)?;
        gradients.pop().ok_or_else(|| LabError::Defect("libtorch gave no gradient".to_owned()))
    }
}

fn judgement(logits: &Tensor, losses: &Tensor) -> tch::Result<Judgement> {
    Ok(Judgement { predictions: logits.f_argmax(1, false)?, losses: losses.shallow_clone() })
}

fn cross_entropies(logits: &Tensor, labels: &Tensor) -> tch::Result<Tensor> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::None, -100, 0.0)
}
