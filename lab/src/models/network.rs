//! What every architecture supplies.

use std::fmt;

use tch::Tensor;

use super::Mode;

/// An architecture with its parameters, cut into the stages that [`Backbone::stages`](gauntlet_domain::experiment::Backbone::stages) names: between
/// them activations can be tapped, and thrown away to be computed again.
pub(super) trait Network: fmt::Debug {
    /// Output of a stage, given that of the one before; stage 0 takes normalised images, f32 \[n,C,H,W\].
    fn stage(&self, number: usize, input: &Tensor, mode: Mode) -> tch::Result<Tensor>;

    /// Pooled penultimate features, f32 \[n,F\], of the last stage's output.
    fn features(&self, last: &Tensor, mode: Mode) -> tch::Result<Tensor>;

    /// f32 \[n,classes\].
    fn logits(&self, features: &Tensor, mode: Mode) -> tch::Result<Tensor>;
}
