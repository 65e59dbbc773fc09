//! The attacked model, as attacks may use it.

use tch::{Kind, Tensor};

use crate::error::LabError;
use crate::models::{Mode, Model, Output};

/// A loss per example, f32 \[n\], of what the model makes of the points.
pub(super) type Loss<'a> = &'a dyn Fn(&Output) -> tch::Result<Tensor>;

/// What the model is shown of points; both f32 \[n,C,H,W\].
pub(super) type View<'a> = &'a dyn Fn(&Tensor) -> tch::Result<Tensor>;

/// A model in eval mode that counts how often it is asked.
pub(super) struct Oracle<'a> {
    model: &'a Model,
    queries: u64,
}

/// What the model says about points.
pub(super) struct Answer {
    /// f32 \[n,classes\].
    pub(super) logits: Tensor,
    /// The attack's own loss, f32 \[n\], where it asked for gradients.
    pub(super) losses: Option<Tensor>,
    /// Gradient of that loss by the points, f32 \[n,C,H,W\].
    pub(super) gradient: Option<Tensor>,
    /// Whether the points do what the attack wants, bool \[n\].
    pub(super) fooled: Tensor,
    /// Rows that stay in play.
    pub(super) stay: Vec<i64>,
}

impl Answer {
    /// The gradient.
    ///
    /// # Errors
    /// It was not asked for, or nobody was left in play.
    pub(super) fn gradient(&self) -> Result<&Tensor, LabError> {
        self.gradient.as_ref().ok_or_else(|| LabError::Defect("an attack uses a gradient that there is not".to_owned()))
    }

    /// The losses.
    ///
    /// # Errors
    /// As for the gradient.
    pub(super) fn losses(&self) -> Result<&Tensor, LabError> {
        self.losses.as_ref().ok_or_else(|| LabError::Defect("an attack uses a loss that there is not".to_owned()))
    }
}

/// A forward pass from which gradients can still be taken.
pub(super) struct Pass {
    points: Tensor,
    output: Output,
}

impl Pass {
    /// f32 \[n,classes\], without a graph.
    pub(super) fn logits(&self) -> Tensor {
        self.output.logits.detach()
    }
}

impl<'a> Oracle<'a> {
    pub(super) const fn new(model: &'a Model) -> Self {
        Self { model, queries: 0 }
    }

    /// Number of classes.
    pub(super) const fn classes(&self) -> u32 {
        self.model.classes()
    }

    /// Examples × passes so far.
    pub(super) const fn queries(&self) -> u64 {
        self.queries
    }

    /// Logits of clean images; not counted.
    pub(super) fn clean(&self, pixels: &Tensor) -> Result<Tensor, LabError> {
        let _guard = tch::no_grad_guard();
        Ok(self.model.forward(pixels, Mode::Eval)?.logits)
    }

    /// Logits of points.
    pub(super) fn ask(&mut self, points: &Tensor) -> Result<Tensor, LabError> {
        self.queries += points.size()[0] as u64;
        self.clean(points)
    }

    /// Penultimate features of points, f32 \[n,F\].
    pub(super) fn features(&mut self, points: &Tensor) -> Result<Tensor, LabError> {
        self.queries += points.size()[0] as u64;
        let _guard = tch::no_grad_guard();
        Ok(self.model.forward(points, Mode::Eval)?.features)
    }

    /// Logits of points, and their losses.
    pub(super) fn losses(&mut self, points: &Tensor, loss: Loss<'_>) -> Result<(Tensor, Tensor), LabError> {
        self.queries += points.size()[0] as u64;
        let _guard = tch::no_grad_guard();
        let output = self.model.forward(points, Mode::Eval)?;
        let losses = loss(&output)?;
        Ok((output.logits, losses))
    }

    /// Asks about what `view` shows of points, in such a way that [`Self::gradient`] can follow.
    pub(super) fn pass(&mut self, points: &Tensor, view: View<'_>) -> Result<Pass, LabError> {
        self.queries += points.size()[0] as u64;
        let points = points.f_detach()?.f_set_requires_grad(true)?;
        let output = self.model.forward(&view(&points)?, Mode::Eval)?;
        Ok(Pass { points, output })
    }

    /// Losses, and their gradients by the pixels, of which `used` examples make use.
    pub(super) fn gradient(&mut self, pass: Pass, loss: Loss<'_>, used: usize) -> Result<(Tensor, Tensor), LabError> {
        self.queries += used as u64;
        let losses = loss(&pass.output)?;
        // The sum, not the mean: the gradient at an example must not depend on its neighbours' number.
        let mut gradients = Tensor::f_run_backward(&[&losses.f_sum(Kind::Float)?], &[&pass.points], false, false)?;
        let gradient = gradients.pop().ok_or_else(|| LabError::Defect("libtorch gave no gradient".to_owned()))?;
        Ok((losses.f_detach()?, gradient))
    }
}
