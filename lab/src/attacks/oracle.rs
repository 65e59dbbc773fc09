//! The attacked model, as attacks may use it.

use tch::{Kind, Tensor};

use crate::error::LabError;
use crate::models::{Activations, Mode, Model, Output};
use crate::training::{RecomputedPass, Route};

/// A loss per example, f32 \[n\], of what the model makes of the points.
pub(crate) type Loss<'a> = &'a dyn Fn(&Output) -> tch::Result<Tensor>;

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
pub(super) struct Pass<'a> {
    points: Tensor,
    output: Output,
    /// Where the model recomputes its activations: how to get from the output back to the points.
    recomputed: Option<RecomputedPass<'a>>,
    /// The rows that are still of interest, i64 \[m\]; all if none.
    rows: Option<Tensor>,
}

impl Pass<'_> {
    /// f32 \[n,classes\], without a graph.
    pub(super) fn logits(&self) -> Tensor {
        self.output.logits.detach()
    }

    /// Logits of the rows of interest, f32 \[m,classes\], from which [`Oracle::gradient_of`] can go back.
    pub(super) fn differentiable_logits(&self) -> tch::Result<Tensor> {
        self.of_interest(&self.output.logits)
    }

    fn of_interest(&self, values: &Tensor) -> tch::Result<Tensor> {
        match &self.rows {
            None => Ok(values.shallow_clone()),
            Some(rows) => values.f_index_select(0, rows),
        }
    }

    /// Gradient by the points of the sum of `values`: not of the mean, because the gradient at an example must not depend on its neighbours' number.
    fn back(&self, values: &Tensor, keep_graph: bool) -> Result<Tensor, LabError> {
        let sum = values.f_sum(Kind::Float)?;
        let gradient = match &self.recomputed {
            None => Tensor::f_run_backward(&[&sum], &[&self.points], keep_graph, false)?.pop(),
            Some(pass) => {
                let Output { features, logits } = &pass.output;
                let by_output = Tensor::f_run_backward(&[&sum], &[features, logits], keep_graph, false)?;
                let [features, logits] = by_output.as_slice() else { return Err(no_gradient()) };
                let mut found = [Tensor::new()];
                pass.back(features, logits, &[&self.points], &mut found)?;
                let [gradient] = found;
                gradient.defined().then_some(gradient)
            }
        };
        gradient.ok_or_else(no_gradient)
    }
}

fn no_gradient() -> LabError {
    LabError::Defect("libtorch gave no gradient".to_owned())
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

    /// Asks in such a way that [`Self::gradient`] can follow.
    pub(super) fn pass(&mut self, points: &Tensor) -> Result<Pass<'a>, LabError> {
        self.pass_through(points, &|points| Ok(points.shallow_clone()))
    }

    /// Asks about what `view` shows of points, in such a way that [`Self::gradient`] can follow.
    pub(super) fn pass_through(&mut self, points: &Tensor, view: View<'_>) -> Result<Pass<'a>, LabError> {
        self.queries += points.size()[0] as u64;
        let points = points.f_detach()?.f_set_requires_grad(true)?;
        let shown = view(&points)?;
        self.through(points, &shown)
    }

    /// A pass of what is shown of the points.
    fn through(&self, points: Tensor, shown: &Tensor) -> Result<Pass<'a>, LabError> {
        let (output, recomputed) = match self.model.activations() {
            Activations::Keep => (self.model.forward(shown, Mode::Eval)?, None),
            Activations::Recompute => {
                let pass = RecomputedPass::new(&Route::uniform(self.model, Mode::Eval), shown)?;
                (pass.shown(), Some(pass))
            }
        };
        Ok(Pass { points, output, recomputed, rows: None })
    }

    /// The same pass for `rows`, i64 \[m\], alone, through which so many backward passes will go. It is computed again where that costs less than taking
    /// the other rows along; the model is asked nothing new, so that no query is counted.
    pub(super) fn narrow(&mut self, pass: Pass<'a>, rows: &Tensor, backwards: i64) -> Result<Pass<'a>, LabError> {
        let (all, stay) = (pass.points.size()[0], rows.size()[0]);
        if all == stay {
            return Ok(pass);
        }
        // A backward pass by the points alone costs about what a forward pass costs.
        if (all - stay) * backwards <= stay {
            return Ok(Pass { rows: Some(rows.shallow_clone()), ..pass });
        }
        let points = pass.points.f_detach()?.f_index_select(0, rows)?.f_set_requires_grad(true)?;
        drop(pass);
        let shown = points.shallow_clone();
        self.through(points, &shown)
    }

    /// Gradient, f32 \[m,C,H,W\], of `values`, f32 \[m\], which were made of the pass's differentiable logits row by row. More can follow.
    pub(super) fn gradient_of(&mut self, pass: &Pass<'_>, values: &Tensor) -> Result<Tensor, LabError> {
        self.queries += values.size()[0] as u64;
        pass.of_interest(&pass.back(values, true)?).map_err(LabError::from)
    }

    /// Losses, and their gradients by the pixels, of which `used` examples make use.
    pub(super) fn gradient(
        &mut self,
        pass: Pass<'a>,
        loss: Loss<'_>,
        used: usize,
    ) -> Result<(Tensor, Tensor), LabError> {
        self.queries += used as u64;
        let losses = loss(&pass.output)?;
        let gradient = pass.back(&losses, false)?;
        Ok((losses.f_detach()?, gradient))
    }
}
