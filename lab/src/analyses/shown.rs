//! Images shown to a model, counted and judged.

use tch::Tensor;

use crate::error::LabError;
use crate::models::{Mode, Model};
use crate::training::Wish;

/// An error where the wish is to stop.
pub(super) fn proceed(wish: Wish) -> Result<(), LabError> {
    if wish == Wish::Stop { Err(LabError::Interrupted) } else { Ok(()) }
}

/// Indices of so many examples from `first` on.
pub(super) fn indices(first: usize, count: usize) -> Vec<u64> {
    (first as u64..(first + count) as u64).collect()
}

/// What a model makes of images, f32 \[n,C,H,W\], of these examples; f32 \[n,classes\], without a graph.
///
/// # Errors
/// Numbers that are not finite, with the example.
pub(super) fn logits(model: &Model, pixels: &Tensor, examples: &[u64]) -> Result<Tensor, LabError> {
    let _guard = tch::no_grad_guard();
    let logits = model.forward(pixels, Mode::Eval)?.logits;
    let finite: Vec<bool> = Vec::try_from(logits.f_isfinite()?.f_all_dim(1, false)?)?;
    match finite.iter().position(|finite| !finite) {
        Some(row) => {
            let example = examples.get(row).copied().unwrap_or_default();
            Err(LabError::Spec(format!("the model's output for example {example} is not finite")))
        }
        None => Ok(logits),
    }
}

/// How much of an analysis is done.
pub(super) struct Progress<'a> {
    done: u64,
    total: u64,
    go_on: &'a mut dyn FnMut(u64, u64) -> Wish,
}

impl<'a> Progress<'a> {
    /// Of `total` images nothing is done. `go_on` hears it, now and after each addition.
    pub fn new(total: u64, go_on: &'a mut dyn FnMut(u64, u64) -> Wish) -> Result<Self, LabError> {
        proceed(go_on(0, total))?;
        Ok(Self { done: 0, total, go_on })
    }

    /// How many images are done.
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// So many images more are done.
    pub fn add(&mut self, images: usize) -> Result<(), LabError> {
        self.done += images as u64;
        proceed((self.go_on)(self.done, self.total))
    }
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
        let examples = indices(first, labels.numel());
        let logits = logits(self.model, pixels, &examples)?;
        let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?.f_sum(tch::Kind::Int64)?.f_int64_value(&[])?;
        self.done += examples.len() as u64;
        proceed((self.go_on)(self.done, self.total))?;
        Ok(right as u64)
    }
}
