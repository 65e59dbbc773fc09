//! Gradients by the pixels that are wanted for themselves.

use tch::Tensor;

use super::oracle::{Loss, Oracle};
use crate::error::LabError;
use crate::models::Model;

/// Gradient by the pixels, f32 \[n,C,H,W\], of a value of each image, f32 \[n\], that `value` makes of what the model says in eval mode.
///
/// # Errors
/// Images that do not fit the model; no memory.
pub(crate) fn slope(model: &Model, pixels: &Tensor, value: Loss<'_>) -> Result<Tensor, LabError> {
    let mut oracle = Oracle::new(model);
    let pass = oracle.pass(pixels)?;
    Ok(oracle.gradient(pass, value, pixels.size()[0] as usize)?.1)
}
