//! The set of allowed perturbations.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use crate::random::Stream;

/// Added to the length of a gradient before dividing by it, as torchattacks does.
const TINY: f64 = 1e-10;

/// All perturbations no longer than a radius, in pixel space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ball {
    /// How length is measured.
    pub norm: Norm,
    /// The radius.
    pub eps: f64,
}

impl Ball {
    /// `points` moved by `length`: along the signs of the gradient (L∞), along the gradient (L2, L1). In L∞ and L2 no other step raises the loss faster.
    /// In L1 that would be a step of a single value; as in Foolbox all values move in proportion to their gradients instead.
    ///
    /// All f32 \[n,C,H,W\].
    ///
    /// # Errors
    /// Tensors of different shapes; no memory.
    pub fn ascend(&self, points: &Tensor, gradient: &Tensor, length: f64) -> tch::Result<Tensor> {
        let direction = match self.norm {
            Norm::Linf => gradient.f_sign()?,
            Norm::L2 | Norm::L1 => gradient.f_div(&per_image(&lengths(gradient, self.norm)?.f_add_scalar(TINY)?)?)?,
        };
        points.f_add(&direction.f_mul_scalar(length)?)
    }

    /// The points nearest to `points` that lie in the ball around `originals`, then clipped to [0,1].
    ///
    /// Clipping cannot lead out of the ball, because the originals lie in [0,1] themselves.
    ///
    /// # Errors
    /// Tensors of different shapes; no memory.
    pub fn bound(&self, points: &Tensor, originals: &Tensor) -> tch::Result<Tensor> {
        let change = self.nearest(&points.f_sub(originals)?)?;
        originals.f_add(&change)?.f_clamp(0.0, 1.0)
    }

    /// The changes, f32 \[n,C,H,W\], of the ball that are nearest to `change`.
    ///
    /// # Errors
    /// No memory.
    pub fn nearest(&self, change: &Tensor) -> tch::Result<Tensor> {
        match self.norm {
            Norm::Linf => change.f_clamp(-self.eps, self.eps),
            Norm::L2 => {
                // A length of zero gives an infinity here and 1 after the clamp.
                let factor = lengths(change, Norm::L2)?.f_reciprocal()?.f_mul_scalar(self.eps)?.f_clamp_max(1.0)?;
                change.f_mul(&per_image(&factor)?)
            }
            Norm::L1 => self.nearest_in_l1(change),
        }
    }

    /// Euclidean projection of changes, f32 \[n,…\], onto the L1 ball (Duchi et al. 2008): soft thresholding.
    fn nearest_in_l1(&self, change: &Tensor) -> tch::Result<Tensor> {
        let flat = change.f_flatten(1, -1)?.f_abs()?;
        let (sorted, _) = flat.f_sort(1, true)?;
        let count = Tensor::f_arange_start(1, sorted.size()[1] + 1, (Kind::Float, sorted.device()))?;
        let excess = sorted.f_cumsum(1, Kind::Float)?.f_sub_scalar(self.eps)?.f_div(&count)?;
        // The largest of the mean excesses is the threshold; a negative one says that the point lies inside.
        let threshold = excess.f_amax([1i64].as_slice(), false)?.f_clamp_min(0.0)?;
        change.f_sign()?.f_mul(&change.f_abs()?.f_sub(&per_image(&threshold)?)?.f_clamp_min(0.0)?)
    }

    /// As APGD brings points back: like [`Self::bound`], but in L1 to the nearest of the points that lie both in the ball around `originals` and in [0,1],
    /// because clipping after the projection would lose much of the length (Croce & Hein 2021, arXiv 2103.01208).
    ///
    /// # Errors
    /// Tensors of different shapes; no memory.
    pub fn bound_for_apgd(&self, points: &Tensor, originals: &Tensor) -> tch::Result<Tensor> {
        if self.norm != Norm::L1 {
            return self.bound(points, originals);
        }
        let change = points.f_sub(originals)?;
        let wanted = change.f_abs()?;
        // How far each value may go in its direction.
        let room = change.f_sign()?.f_clamp_min(0.0)?.f_sub(originals)?.f_abs()?;
        let flat = wanted.f_flatten(1, -1)?;
        let threshold = self.threshold(&flat, &room.f_flatten(1, -1)?)?;
        let length = wanted.f_sub(&per_image(&threshold)?)?.f_clamp_min(0.0)?.f_minimum(&room)?;
        originals.f_add(&change.f_sign()?.f_mul(&length)?)?.f_clamp(0.0, 1.0)
    }

    /// The smallest λ ≥ 0, f32 \[n\], for which Σ min(max(wanted − λ, 0), room) ≤ ε. Both are f32 \[n,m\], not negative.
    fn threshold(&self, wanted: &Tensor, room: &Tensor) -> tch::Result<Tensor> {
        // The sum is Σ max(wanted − λ, 0) − Σ max(wanted − room − λ, 0): linear between its 2m kinks, and rising as λ goes down.
        let (kinks, order) = Tensor::f_cat(&[wanted, &wanted.f_sub(room)?], 1)?.f_sort(1, true)?;
        let signs = order.f_lt(wanted.size()[1])?.f_to_kind(Kind::Double)?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        let slopes = signs.f_cumsum(1, Kind::Double)?;
        let offsets = signs.f_mul(&kinks)?.f_cumsum(1, Kind::Double)?;
        let lengths = offsets.f_sub(&slopes.f_mul(&kinks)?)?;
        let within = lengths.f_le(self.eps)?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Int64)?;
        let last = within.f_sub_scalar(1)?.f_clamp_min(0)?;
        let at = |values: &Tensor| values.f_gather(1, &last, false)?.f_squeeze_dim(1);
        // Past the last kink above zero the slope may be none, and λ is 0.
        let threshold = at(&offsets)?.f_sub_scalar(self.eps)?.f_div(&at(&slopes)?.f_clamp_min(1.0)?)?;
        threshold.f_clamp_min(0.0)?.f_to_kind(Kind::Float)
    }

    /// A random perturbation of length ε, of so many values: L∞ random signs, L2 a direction drawn evenly, L1 lengths of random signs drawn evenly among
    /// those of this sum.
    pub fn rim(&self, stream: &mut Stream, values: usize) -> Vec<f32> {
        let drawn: Vec<f64> = match self.norm {
            Norm::Linf => (0..values).map(|_| if stream.coin() { 1.0 } else { -1.0 }).collect(),
            Norm::L2 => (0..values).map(|_| f64::from(stream.normal())).collect(),
            Norm::L1 => {
                let draw = |stream: &mut Stream| -f64::from(1.0 - stream.unit()).ln();
                (0..values).map(|_| if stream.coin() { draw(stream) } else { -draw(stream) }).collect()
            }
        };
        let length = match self.norm {
            Norm::Linf => 1.0,
            Norm::L2 => drawn.iter().map(|value| value.powi(2)).sum::<f64>().sqrt(),
            Norm::L1 => drawn.iter().map(|value| value.abs()).sum(),
        };
        drawn.iter().map(|value| (value * self.eps / length.max(TINY)) as f32).collect()
    }

    /// A perturbation uniform in the ball (L∞: in the cube), of so many values.
    pub fn uniform(&self, stream: &mut Stream, values: usize) -> Vec<f32> {
        let eps = self.eps as f32;
        match self.norm {
            Norm::Linf => (0..values).map(|_| stream.symmetric(eps)).collect(),
            Norm::L2 => {
                let direction: Vec<f32> = (0..values).map(|_| stream.normal()).collect();
                let length = direction.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let radius = self.eps * f64::from(stream.unit()).powf(1.0 / values as f64);
                direction.iter().map(|x| (f64::from(*x) * radius / length.max(TINY)) as f32).collect()
            }
            Norm::L1 => {
                // Exponentials with random signs, over their sum and one more exponential (Barthe et al. 2005).
                let draws: Vec<f64> = (0..=values).map(|_| -f64::from(1.0 - stream.unit()).ln()).collect();
                let sum: f64 = draws.iter().sum();
                let signed = |draw: &f64, positive: bool| if positive { *draw } else { -*draw };
                draws[..values]
                    .iter()
                    .map(|draw| (signed(draw, stream.coin()) * self.eps / sum.max(TINY)) as f32)
                    .collect()
            }
        }
    }
}

/// Length of each image of f32 \[n,…\], f32 \[n\].
///
/// # Errors
/// No memory.
pub fn lengths(images: &Tensor, norm: Norm) -> tch::Result<Tensor> {
    let flat = images.f_flatten(1, -1)?;
    match norm {
        Norm::Linf => flat.f_abs()?.f_amax([1i64].as_slice(), false),
        Norm::L2 => flat.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), false),
        Norm::L1 => flat.f_norm_scalaropt_dim(1.0, [1i64].as_slice(), false),
    }
}

/// \[n\] → \[n,1,1,1\].
pub(super) fn per_image(values: &Tensor) -> tch::Result<Tensor> {
    values.f_view([-1, 1, 1, 1])
}

/// Perturbations of `shape` \[n,C,H,W\], one after the other from `values`.
pub(crate) fn to_tensor(values: &[f32], like: &Tensor) -> tch::Result<Tensor> {
    Tensor::f_from_slice(values)?.f_view(like.size().as_slice())?.f_to_device(like.device())?.f_to_kind(Kind::Float)
}
