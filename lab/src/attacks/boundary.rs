//! Where the linearised model changes its mind.

use gauntlet_domain::experiment::Norm;
use tch::Tensor;

use super::ball::{lengths, per_image};
use super::oracle::{Oracle, Pass};
use crate::error::LabError;

/// Added to lengths of gradients before dividing by them.
pub(super) const TINY: f64 = 1e-12;

/// For each row the nearest of several linearised decision boundaries.
pub(super) struct Boundary {
    /// Logit of the other class less that of the own, f32 \[n\].
    pub(super) gap: Tensor,
    /// Gradient of the gap, f32 \[n,C,H,W\].
    pub(super) gradient: Tensor,
    /// Distance from the point, the box disregarded, f32 \[n\].
    pub(super) distance: Tensor,
}

/// The nearest boundary between the class `own`, i64 \[n\], and each of `others`, i64 \[n,m\], at the points of a pass.
///
/// It takes one backward pass per column of `others`, and holds two gradients at a time.
pub(super) fn nearest_boundary(
    oracle: &mut Oracle<'_>,
    pass: &Pass<'_>,
    own: &Tensor,
    others: &Tensor,
    norm: Norm,
) -> Result<Boundary, LabError> {
    let logits = pass.differentiable_logits()?;
    let own = logits.f_gather(1, &own.f_unsqueeze(1)?, false)?;
    let gaps = logits.f_gather(1, others, false)?.f_sub(&own)?;
    let mut nearest: Option<Boundary> = None;
    for column in gaps.f_unbind(1)? {
        let gradient = oracle.gradient_of(pass, &column)?;
        let gap = column.f_detach()?;
        let distance = gap.f_abs()?.f_div(&lengths(&gradient, dual(norm))?.f_add_scalar(TINY)?)?;
        let found = Boundary { gap, gradient, distance };
        nearest = Some(match nearest {
            None => found,
            Some(before) => before.or_nearer(&found)?,
        });
    }
    nearest.ok_or_else(|| LabError::Spec("there is no other class to lead to".to_owned()))
}

impl Boundary {
    fn or_nearer(self, other: &Self) -> tch::Result<Self> {
        let nearer = other.distance.f_lt_tensor(&self.distance)?;
        Ok(Self {
            gap: other.gap.f_where_self(&nearer, &self.gap)?,
            gradient: other.gradient.f_where_self(&per_image(&nearer)?, &self.gradient)?,
            distance: other.distance.f_where_self(&nearer, &self.distance)?,
        })
    }
}

/// The norm in which a gradient's length turns a difference of values into a distance.
const fn dual(norm: Norm) -> Norm {
    match norm {
        Norm::Linf => Norm::L1,
        Norm::L2 => Norm::L2,
        Norm::L1 => Norm::Linf,
    }
}
