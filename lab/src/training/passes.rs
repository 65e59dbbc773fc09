//! Forward passes that are differentiated, with their activations kept or computed again.

use tch::Tensor;

use crate::error::LabError;
use crate::models::{Activations, Mode, Model, Output, Train};

/// A way through a model: how each of its parts behaves.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    /// The model.
    pub model: &'a Model,
    /// Of each stage.
    pub stages: Vec<Mode>,
    /// Of the head.
    pub head: Mode,
}

impl<'a> Route<'a> {
    /// All parts behave alike.
    pub fn uniform(model: &'a Model, mode: Mode) -> Self {
        Self { model, stages: vec![mode; model.stages().len()], head: mode }
    }

    /// Features and logits of pixels in [0,1], f32 \[n,C,H,W\].
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn forward(&self, pixels: &Tensor) -> tch::Result<Output> {
        let mut x = self.model.normalised(pixels)?;
        for (number, mode) in self.stages.iter().enumerate() {
            x = self.model.stage(number, &x, *mode)?;
        }
        self.model.head(&x, self.head)
    }

    /// The same way once more: running statistics have moved already.
    fn again(&self) -> Self {
        let again = |mode: Mode| match mode {
            Mode::Train(train) => Mode::Train(Train { moves_statistics: false, ..train }),
            Mode::Eval => Mode::Eval,
        };
        let stages = self.stages.iter().copied().map(again).collect();
        Self { model: self.model, stages, head: again(self.head) }
    }
}

/// The passes that a loss is made of. Where the model [recomputes its activations](Activations::Recompute), a pass keeps what each stage took and
/// nothing from inside the stages; [`gradients`](Self::gradients) then goes back stage by stage and computes the inside again (Chen et al. 2016,
/// arXiv 1604.06174). The loss and the gradients are the same either way.
#[derive(Debug, Default)]
pub struct Passes<'a> {
    recomputed: Vec<RecomputedPass<'a>>,
}

/// A pass whose activations are thrown away.
#[derive(Debug)]
pub(crate) struct RecomputedPass<'a> {
    /// The way as it is gone again.
    route: Route<'a>,
    pixels: Tensor,
    /// What each stage took, and last the head; leaves of the graph.
    inputs: Vec<Tensor>,
    /// What the loss sees: leaves too.
    pub(crate) output: Output,
}

impl<'a> Passes<'a> {
    /// No pass so far.
    pub const fn new() -> Self {
        Self { recomputed: Vec::new() }
    }

    /// Features and logits of pixels in [0,1], f32 \[n,C,H,W\], through which [`Self::gradients`] can go back.
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub fn forward(&mut self, route: &Route<'a>, pixels: &Tensor) -> tch::Result<Output> {
        match route.model.activations() {
            Activations::Keep => route.forward(pixels),
            Activations::Recompute => {
                let pass = RecomputedPass::new(route, pixels)?;
                let output = pass.shown();
                self.recomputed.push(pass);
                Ok(output)
            }
        }
    }

    /// The gradient of `loss` by each of `wanted`, which are parameters of the models or pixels that were given to a pass and require gradients; zeros
    /// where the loss does not depend on it.
    ///
    /// # Errors
    /// A loss without a graph; no memory.
    pub fn gradients(mut self, loss: &Tensor, wanted: &[&Tensor]) -> Result<Vec<Tensor>, LabError> {
        let mut found: Vec<Tensor> = Vec::with_capacity(wanted.len());
        if self.recomputed.is_empty() {
            found = Tensor::f_run_backward(&[loss], wanted, false, false)?;
        } else {
            let leaves = self.recomputed.iter().flat_map(|pass| [&pass.output.features, &pass.output.logits]);
            let by: Vec<&Tensor> = leaves.chain(wanted.iter().copied()).collect();
            let mut by_leaves = Tensor::f_run_backward(&[loss], &by, false, false)?;
            found.extend(by_leaves.drain(2 * self.recomputed.len()..));
            while let (Some(pass), Some(logits), Some(features)) =
                (self.recomputed.pop(), by_leaves.pop(), by_leaves.pop())
            {
                pass.back(&features, &logits, wanted, &mut found)?;
            }
        }
        let zeros =
            |(gradient, by): (Tensor, &&Tensor)| if gradient.defined() { Ok(gradient) } else { by.f_zeros_like() };
        Ok(found.into_iter().zip(wanted).map(zeros).collect::<tch::Result<_>>()?)
    }
}

impl<'a> RecomputedPass<'a> {
    /// A way through a model that keeps nothing from inside the stages.
    ///
    /// # Errors
    /// Pixels of another shape; no memory.
    pub(crate) fn new(route: &Route<'a>, pixels: &Tensor) -> tch::Result<Self> {
        let model = route.model;
        let _guard = tch::no_grad_guard();
        let mut x = model.normalised(pixels)?;
        // Whether there is anything to go back for.
        let mut reached = pixels.requires_grad();
        let mut inputs = Vec::with_capacity(route.stages.len() + 1);
        for (number, mode) in route.stages.iter().enumerate() {
            let output = model.stage(number, &x, *mode)?;
            inputs.push(x.f_detach()?.f_set_requires_grad(reached)?);
            x = output;
            reached |= model.is_trained(number);
        }
        let Output { features, logits } = model.head(&x, route.head)?;
        inputs.push(x.f_detach()?.f_set_requires_grad(reached)?);
        let output = Output {
            features: features.f_detach()?.f_set_requires_grad(true)?,
            logits: logits.f_detach()?.f_set_requires_grad(true)?,
        };
        Ok(Self { route: route.again(), pixels: pixels.shallow_clone(), inputs, output })
    }

    /// What the loss is made of.
    pub(crate) fn shown(&self) -> Output {
        let Output { features, logits } = &self.output;
        Output { features: features.shallow_clone(), logits: logits.shallow_clone() }
    }

    /// Adds the gradients that go through this pass to `found`, given those by its features and logits.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn back(
        &self,
        features: &Tensor,
        logits: &Tensor,
        wanted: &[&Tensor],
        found: &mut [Tensor],
    ) -> tch::Result<()> {
        let model = self.route.model;
        let Some((last, inputs)) = self.inputs.split_last() else { return Ok(()) };
        let head = model.head(last, self.route.head)?;
        let mut parts: Vec<Tensor> = Vec::with_capacity(2);
        for (output, gradient) in [(head.features, features), (head.logits, logits)] {
            if gradient.defined() && output.requires_grad() {
                parts.push(inner_product(&output, gradient)?);
            }
        }
        let mut gradient = through(&parts, last, wanted, found)?;
        for (number, input) in inputs.iter().enumerate().rev() {
            if !gradient.defined() {
                return Ok(());
            }
            let taken = if number == 0 { model.normalised(&self.pixels)? } else { input.shallow_clone() };
            let output = model.stage(number, &taken, self.route.stages[number])?;
            let parts = if output.requires_grad() { vec![inner_product(&output, &gradient)?] } else { Vec::new() };
            gradient = through(&parts, input, wanted, found)?;
        }
        Ok(())
    }
}

/// A scalar whose gradient by whatever `output` depends on is `gradient` carried back.
fn inner_product(output: &Tensor, gradient: &Tensor) -> tch::Result<Tensor> {
    output.f_mul(gradient)?.f_sum(output.kind())
}

/// Goes back through a stage: adds to `found`, and gives the gradient by the stage's input, undefined where there is none.
fn through(parts: &[Tensor], input: &Tensor, wanted: &[&Tensor], found: &mut [Tensor]) -> tch::Result<Tensor> {
    if parts.is_empty() {
        return Ok(Tensor::new());
    }
    let goes_on = input.requires_grad();
    let by: Vec<&Tensor> = wanted.iter().copied().chain(goes_on.then_some(input)).collect();
    let mut gradients = Tensor::f_run_backward(parts, &by, false, false)?;
    let gradient = if goes_on { gradients.pop().unwrap_or_else(Tensor::new) } else { Tensor::new() };
    for (sum, part) in found.iter_mut().zip(gradients) {
        if !part.defined() {
            continue;
        }
        *sum = if sum.defined() { sum.f_add(&part)? } else { part };
    }
    Ok(gradient)
}
