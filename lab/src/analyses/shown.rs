//! Images shown to a model, counted and judged.

use tch::Tensor;

use crate::error::LabError;
use crate::models::{Mode, Model};
use crate::training::Wish;

/// An error where the wish is to stop.
pub(super) fn proceed(wish: Wish) -> Result<(), LabError> {
    if wish == Wish::Stop { Err(LabError::Interrupted) } else { Ok(()) }
}

/// A model that is shown images until all have been seen or somebody wishes it to stop.
pub(super) struct Shown<'a> {
    model: &'a Model,
    done: u64,
    total: u64,
    go_on: &'a mut dyn FnMut(u64, u64) -> Wish,
}

impl<'a> Shown<'a> {
    /// It will be shown `total` images; `go_on` hears how many of them it has seen, before each batch and after the last.
    pub fn new(model: &'a Model, total: u64, go_on: &'a mut dyn FnMut(u64, u64) -> Wish) -> Self {
        Self { model, done: 0, total, go_on }
    }

    /// How many of these images, f32 \[n,C,H,W\] made from the examples from index `first` on, get the right label, i64 \[n\].
    pub fn right(&mut self, pixels: &Tensor, labels: &Tensor, first: usize) -> Result<u64, LabError> {
        if self.done == 0 {
            proceed((self.go_on)(0, self.total))?;
        }
        let logits = self.model.forward(pixels, Mode::Eval)?.logits;
        let finite: Vec<bool> = Vec::try_from(logits.f_isfinite()?.f_all_dim(1, false)?)?;
        if let Some(row) = finite.iter().position(|finite| !finite) {
            return Err(LabError::Spec(format!("the model's output for example {} is not finite", first + row)));
        }
        let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(tch::Kind::Int64)?.f_int64_value(&[])?;
        self.done += finite.len() as u64;
        proceed((self.go_on)(self.done, self.total))?;
        Ok(right as u64)
    }
}
