//! Second moments of the activations of two models, gathered batch by batch.

use tch::{Kind, Tensor};

use crate::error::LabError;

/// Channels whose variance is below this share of their layer's largest are left out, and principal directions too: the epsilon with which Google's
/// `svcca` is used in its tutorials.
pub(super) const EPSILON: f64 = 1e-10;

/// Activations are widened to f64 in pieces of so many values.
const PIECE: usize = 1 << 22;

/// Means and products of the activations that two layers show for the same data points, in f64: memory depends on the numbers of channels and not on
/// the number of points.
///
/// Batches are centred by their own means and combined by the update of Chan, Golub and LeVeque (1983), so that large means cost no digits and the
/// sizes of the batches change the result by rounding alone.
#[derive(Debug, Default)]
pub struct Moments(Option<Gathered>);

/// What came of at least one point. All f64.
#[derive(Debug)]
struct Gathered {
    points: u64,
    /// \[C\] each.
    means: [Tensor; 2],
    /// Products of the centred activations of each layer, summed over the points, \[C,C\].
    own: [Tensor; 2],
    /// Those of the first with the second, \[C₀,C₁\].
    cross: Tensor,
}

/// Covariances of the channels that vary, on the CPU, in units of each layer's largest variance.
#[derive(Debug)]
pub(super) struct Covariances {
    /// Data points they are taken from.
    pub points: u64,
    /// Those within each layer, f64 \[C,C\]; no channel where nothing varies.
    pub own: [Tensor; 2],
    /// Those between them, f64 \[C₀,C₁\].
    pub cross: Tensor,
}

impl Moments {
    /// Adds the activations of two layers for the same batch: \[n,C,H,W\], where each position is a point, \[n,T,C\], where each token is, or \[n,C\].
    ///
    /// # Errors
    /// Activations of another number of dimensions; layers of different batches, positions or tokens, or of other numbers of channels than before.
    pub fn add(&mut self, activations: [&Tensor; 2]) -> Result<(), LabError> {
        let [first, second] = activations.map(Tensor::size);
        if grid(&first)? != grid(&second)? {
            let problem = format!("layers of shapes {first:?} and {second:?} do not show the same data points");
            return Err(LabError::Spec(problem));
        }
        let examples = first[0];
        let per_example = activations.iter().map(|layer| layer.numel()).max().unwrap_or(0) / examples.max(1) as usize;
        let step = (PIECE / per_example.max(1)).max(1);
        for start in (0..examples).step_by(step) {
            let count = (step as i64).min(examples - start);
            let piece = |layer: &Tensor| points(&layer.f_narrow(0, start, count)?);
            self.merge(Gathered::of([piece(activations[0])?, piece(activations[1])?])?)?;
        }
        Ok(())
    }

    /// Data points so far.
    pub fn points(&self) -> u64 {
        self.0.as_ref().map_or(0, |gathered| gathered.points)
    }

    fn merge(&mut self, more: Gathered) -> Result<(), LabError> {
        self.0 = Some(match self.0.take() {
            None => more,
            Some(gathered) => gathered.merged(more)?,
        });
        Ok(())
    }

    /// Covariances of the channels that vary: by more than f32 can tell from their mean, and by more than [`EPSILON`] of the largest variance.
    pub(super) fn covariances(&self) -> Result<Covariances, LabError> {
        let gathered = self.0.as_ref().ok_or_else(|| LabError::Spec("no activations to compare".to_owned()))?;
        let [first, second] = [gathered.varying(0)?, gathered.varying(1)?];
        let scale = |side: usize, kept: &Tensor| -> tch::Result<f64> {
            if kept.numel() == 0 {
                return Ok(1.0);
            }
            gathered.own[side].f_diagonal(0, 0, 1)?.f_max()?.f_double_value(&[])
        };
        let scales = [scale(0, &first)?, scale(1, &second)?];
        let part = |matrix: &Tensor, rows: &Tensor, columns: &Tensor, scale: f64| -> tch::Result<Tensor> {
            let part = matrix.f_index_select(0, rows)?.f_index_select(1, columns)?;
            part.f_div_scalar(scale)?.f_to_device(tch::Device::Cpu)
        };
        Ok(Covariances {
            points: gathered.points,
            own: [
                part(&gathered.own[0], &first, &first, scales[0])?,
                part(&gathered.own[1], &second, &second, scales[1])?,
            ],
            cross: part(&gathered.cross, &first, &second, (scales[0] * scales[1]).sqrt())?,
        })
    }
}

impl Gathered {
    /// The moments of these points, f64 \[n,C\] each.
    fn of(points: [Tensor; 2]) -> tch::Result<Self> {
        let count = points[0].size()[0] as u64;
        let centre = |points: &Tensor| -> tch::Result<(Tensor, Tensor)> {
            let mean = points.f_mean_dim([0i64].as_slice(), false, Kind::Double)?;
            let centred = points.f_sub(&mean)?;
            Ok((mean, centred))
        };
        let [(mean, x), (other_mean, y)] = [centre(&points[0])?, centre(&points[1])?];
        let products = |x: &Tensor, y: &Tensor| x.f_tr()?.f_matmul(y);
        let own = [products(&x, &x)?, products(&y, &y)?];
        Ok(Self { points: count, means: [mean, other_mean], own, cross: products(&x, &y)? })
    }

    /// The moments of all points of both.
    fn merged(self, more: Self) -> Result<Self, LabError> {
        let sizes = |gathered: &Self| [gathered.means[0].size(), gathered.means[1].size()];
        if sizes(&self) != sizes(&more) {
            return Err(LabError::Spec("the number of a layer's channels changed between two batches".to_owned()));
        }
        let (old, new) = (self.points as f64, more.points as f64);
        let [step, other_step] = [more.means[0].f_sub(&self.means[0])?, more.means[1].f_sub(&self.means[1])?];
        let sum = |sum: &Tensor, more: &Tensor, x: &Tensor, y: &Tensor| -> tch::Result<Tensor> {
            sum.f_add(more)?.f_add(&x.f_outer(y)?.f_mul_scalar(old * new / (old + new))?)
        };
        let moved = |mean: &Tensor, step: &Tensor| mean.f_add(&step.f_mul_scalar(new / (old + new))?);
        Ok(Self {
            points: self.points + more.points,
            means: [moved(&self.means[0], &step)?, moved(&self.means[1], &other_step)?],
            own: [
                sum(&self.own[0], &more.own[0], &step, &step)?,
                sum(&self.own[1], &more.own[1], &other_step, &other_step)?,
            ],
            cross: sum(&self.cross, &more.cross, &step, &other_step)?,
        })
    }

    /// Indices of the channels of a layer that vary, i64.
    fn varying(&self, side: usize) -> Result<Tensor, LabError> {
        let products = self.own[side].f_diagonal(0, 0, 1)?;
        if products.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            let whose = ["first", "second"][side];
            return Err(LabError::Spec(format!("activations of the {whose} model are not finite")));
        }
        let variances = products.f_div_scalar(self.points as f64)?;
        let resolution = self.means[side].f_mul_scalar(f64::from(f32::EPSILON))?.f_square()?;
        let floor = variances.f_max()?.f_mul_scalar(EPSILON)?;
        let varies = variances.f_gt_tensor(&resolution)?.f_logical_and(&variances.f_ge_tensor(&floor)?)?;
        Ok(varies.f_nonzero()?.f_flatten(0, -1)?)
    }
}

/// What of a layer's shape has to be equal where the same points are compared: all but the channels.
fn grid(size: &[i64]) -> Result<Vec<i64>, LabError> {
    match *size {
        [examples, _] => Ok(vec![examples]),
        [examples, tokens, _] => Ok(vec![examples, tokens]),
        [examples, _, height, width] => Ok(vec![examples, height, width]),
        _ => Err(LabError::Spec(format!("activations of shape {size:?} have no channels that could be compared"))),
    }
}

/// One row for each data point, f64 \[points,C\].
fn points(layer: &Tensor) -> tch::Result<Tensor> {
    let layer = layer.f_to_kind(Kind::Double)?;
    let layer = if layer.dim() == 4 { layer.f_permute([0, 2, 3, 1])? } else { layer };
    let channels = layer.size().last().copied().unwrap_or(1);
    layer.f_reshape([-1, channels])
}
