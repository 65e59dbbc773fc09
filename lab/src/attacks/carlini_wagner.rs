//! Minimisation of distance and loss together.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use super::arena::{Arena, index, rows_where};
use super::ball::{lengths, per_image};
use super::template::Attack;
use crate::error::LabError;
use crate::models::Output;

/// Shrinks pixels from \[−1,1\] so that their arctanh is finite, as Foolbox does.
const INSIDE: f64 = 0.999_999;
/// From so many constants on the last is the smallest that worked before (published).
const REPEAT_FROM: u32 = 10;
/// The factor by which a constant grows as long as none has worked.
const GROWTH: f64 = 10.0;
/// The largest constant of a repeated last search.
const LARGEST_CONST: f64 = 1e10;
/// A loss has to fall below this share of what it was a tenth of the steps before.
const PROGRESS: f64 = 0.9999;

const BETA: [f64; 2] = [0.9, 0.999];
const ADAM_EPSILON: f64 = 1e-8;

/// The L2 attack of Carlini & Wagner (2017, arXiv 1608.04644): Adam on ‖x′−x‖² + c·max(0, margin + confidence) in the space of arctanh, and a search for
/// the smallest constant c that works. Details as in Foolbox, except that whether there is progress is asked of each example and not of the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct CarliniWagner {
    pub(super) confidence: f64,
    pub(super) steps: u32,
    pub(super) learning_rate: f64,
    pub(super) initial_const: f64,
    pub(super) binary_search_steps: u32,
    /// An example whose loss has stopped falling ends its search with this constant.
    pub(super) abort_early: bool,
}

impl Attack for CarliniWagner {
    fn tries(&self) -> u32 {
        1
    }

    fn attempt(&self, arena: &mut Arena<'_>, _number: u32) -> Result<(), LabError> {
        let mut best = Best {
            points: arena.originals().f_detach_copy()?,
            lengths: Tensor::f_full([arena.len() as i64], f64::INFINITY, (Kind::Float, arena.labels().device()))?,
        };
        let mut constants: Vec<Bracket> = vec![Bracket::new(self.initial_const); arena.len()];
        for search in 0..self.binary_search_steps {
            if search + 1 == self.binary_search_steps && self.binary_search_steps >= REPEAT_FROM {
                constants.iter_mut().for_each(|bracket| bracket.tried = bracket.above.min(LARGEST_CONST));
            }
            let tried: Vec<f32> = constants.iter().map(|bracket| bracket.tried as f32).collect();
            let worked = self.minimise(arena, &tried, &mut best)?;
            constants.iter_mut().zip(worked).for_each(|(bracket, worked)| bracket.narrow(worked));
        }
        arena.conclude_nearest(&best.points)
    }
}

/// The nearest points found so far that fool with confidence.
struct Best {
    /// The original where there is none.
    points: Tensor,
    /// Lengths of the perturbations, f32 \[n\].
    lengths: Tensor,
}

/// What is known of the smallest constant that works.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bracket {
    below: f64,
    above: f64,
    tried: f64,
}

impl Bracket {
    const fn new(first: f64) -> Self {
        Self { below: 0.0, above: f64::INFINITY, tried: first }
    }

    fn narrow(&mut self, worked: bool) {
        if worked {
            self.above = self.tried;
        } else {
            self.below = self.tried;
        }
        self.tried = if self.above.is_finite() { f64::midpoint(self.below, self.above) } else { self.tried * GROWTH };
    }
}

/// The minimisation of the rows that still make progress.
struct Descent {
    /// Row of the batch, i64 \[n\].
    rows: Tensor,
    originals: Tensor,
    /// Originals in the space of arctanh.
    start: Tensor,
    /// What [`INSIDE`] makes of the originals: distances of the loss are measured from there.
    shrunk: Tensor,
    /// The label, or the class to lead to.
    classes: Tensor,
    constants: Tensor,
    /// Steps so far, in the space of arctanh.
    change: Tensor,
    /// Adam's first and second moments.
    moments: [Tensor; 2],
    /// Loss at the last check.
    checked: Tensor,
}

impl Descent {
    fn new(arena: &Arena<'_>, constants: &[f32]) -> Result<Self, LabError> {
        let originals = arena.originals().shallow_clone();
        let device = originals.device();
        let start = originals.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?.f_mul_scalar(INSIDE)?.f_arctanh()?;
        let count = arena.len() as i64;
        Ok(Self {
            rows: Tensor::f_arange(count, (Kind::Int64, device))?,
            shrunk: to_pixels(&start.f_tanh()?)?,
            classes: arena.goals().unwrap_or_else(|| arena.labels()).shallow_clone(),
            constants: Tensor::f_from_slice(constants)?.f_to_device(device)?,
            change: start.f_zeros_like()?,
            moments: [start.f_zeros_like()?, start.f_zeros_like()?],
            checked: Tensor::f_full([count], f64::INFINITY, (Kind::Float, device))?,
            originals,
            start,
        })
    }

    fn keep(&mut self, rows: &Tensor) -> tch::Result<()> {
        let [first, second] = &mut self.moments;
        for tensor in [
            &mut self.rows,
            &mut self.originals,
            &mut self.start,
            &mut self.shrunk,
            &mut self.classes,
            &mut self.constants,
            &mut self.change,
            &mut self.checked,
            first,
            second,
        ] {
            *tensor = tensor.f_index_select(0, rows)?;
        }
        Ok(())
    }

    /// One step of Adam (Kingma & Ba 2015, arXiv 1412.6980); `number` counted from 1.
    fn step(&mut self, gradient: &Tensor, learning_rate: f64, number: i32) -> tch::Result<()> {
        let powers = [gradient.shallow_clone(), gradient.f_square()?];
        for ((moment, power), beta) in self.moments.iter_mut().zip(&powers).zip(BETA) {
            *moment = moment.f_mul_scalar(beta)?.f_add(&power.f_mul_scalar(1.0 - beta)?)?;
        }
        let [first, second] = [0, 1].map(|k| self.moments[k].f_div_scalar(1.0 - BETA[k].powi(number)));
        let step = first?.f_mul_scalar(learning_rate)?.f_div(&second?.f_sqrt()?.f_add_scalar(ADAM_EPSILON)?)?;
        self.change = self.change.f_sub(&step)?;
        Ok(())
    }
}

impl CarliniWagner {
    /// Minimises with these constants, one per example in play; says for which a point that fools was met.
    fn minimise(&self, arena: &mut Arena<'_>, constants: &[f32], best: &mut Best) -> Result<Vec<bool>, LabError> {
        let mut worked = Tensor::f_zeros([arena.len() as i64], (Kind::Bool, arena.labels().device()))?;
        let mut descent = Descent::new(arena, constants)?;
        let targeted = arena.goals().is_some();
        for number in 0..self.steps {
            let Visit { points, excess, losses } = self.visit(arena, &mut descent, targeted, number)?;
            let mut met = excess.f_lt(0.0)?;
            let mut stay = None;
            if self.abort_early && number % self.steps.div_ceil(10) == 0 {
                let progress = losses.f_le_tensor(&descent.checked.f_mul_scalar(PROGRESS)?)?;
                descent.checked = losses;
                // As published, the point at which an example gives up is not looked at any more.
                met = met.f_logical_and(&progress)?;
                stay = Some(index(&rows_where(&progress)?, worked.device())?);
            }
            let distances = lengths(&points.f_sub(&descent.originals)?, Norm::L2)?;
            best.note(&descent.rows, &points, &distances, &met)?;
            let met = worked.f_index_select(0, &descent.rows)?.f_logical_or(&met)?;
            worked = worked.f_index_copy(0, &descent.rows, &met)?;
            match stay {
                Some(stay) if stay.numel() == 0 => break,
                Some(stay) => descent.keep(&stay)?,
                None => {}
            }
        }
        Ok(Vec::try_from(worked)?)
    }

    /// Looks at where the descent is, and moves it on; `number` counts its steps from 0.
    fn visit(
        &self,
        arena: &mut Arena<'_>,
        descent: &mut Descent,
        targeted: bool,
        number: u32,
    ) -> Result<Visit, LabError> {
        let tanh = descent.start.f_add(&descent.change)?.f_tanh()?;
        let points = to_pixels(&tanh)?;
        let pass = arena.oracle().pass(&points)?;
        let excess = self.excess(&pass.logits(), &descent.classes, targeted)?;
        let hinge = |output: &Output| self.excess(&output.logits, &descent.classes, targeted)?.f_clamp_min(0.0);
        let (hinges, gradient) = arena.oracle().gradient(pass, &hinge, points.size()[0] as usize)?;
        if number == 0 {
            arena.took_gradient(&gradient)?;
        }
        let away = points.f_sub(&descent.shrunk)?;
        let squares = away.f_square()?.f_flatten(1, -1)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        let losses = hinges.f_mul(&descent.constants)?.f_add(&squares)?;
        let by_pixels = gradient.f_mul(&per_image(&descent.constants)?)?.f_add(&away.f_mul_scalar(2.0)?)?;
        // Of (tanh + 1) / 2.
        let slope = tanh.f_square()?.f_neg()?.f_add_scalar(1.0)?.f_mul_scalar(0.5)?;
        descent.step(&by_pixels.f_mul(&slope)?, self.learning_rate, number as i32 + 1)?;
        Ok(Visit { points, excess, losses })
    }

    /// By how much the logits, f32 \[n,classes\], fail to leave (targeted: to reach) the classes, i64 \[n\], with confidence; negative where they do not
    /// fail. f32 \[n\].
    fn excess(&self, logits: &Tensor, classes: &Tensor, targeted: bool) -> tch::Result<Tensor> {
        let classes = classes.f_unsqueeze(1)?;
        let others = logits.f_scatter_value(1, &classes, f64::NEG_INFINITY)?.f_amax([1i64].as_slice(), false)?;
        let margins = logits.f_gather(1, &classes, false)?.f_squeeze_dim(1)?.f_sub(&others)?;
        if targeted { margins.f_neg()? } else { margins }.f_add_scalar(self.confidence)
    }
}

/// What a descent meets at a step.
struct Visit {
    /// f32 \[n,C,H,W\].
    points: Tensor,
    /// See [`CarliniWagner::excess`].
    excess: Tensor,
    /// What is minimised, f32 \[n\].
    losses: Tensor,
}

impl Best {
    /// Notes points of these rows of the batch where they fool and are nearer than what is known.
    fn note(&mut self, rows: &Tensor, points: &Tensor, distances: &Tensor, fools: &Tensor) -> tch::Result<()> {
        let known = self.lengths.f_index_select(0, rows)?;
        let better = fools.f_logical_and(&distances.f_lt_tensor(&known)?)?;
        let better = better.f_nonzero()?.f_squeeze_dim(1)?;
        let rows = rows.f_index_select(0, &better)?;
        let _in_place = self.lengths.f_index_copy_(0, &rows, &distances.f_index_select(0, &better)?)?;
        let _in_place = self.points.f_index_copy_(0, &rows, &points.f_index_select(0, &better)?)?;
        Ok(())
    }
}

/// \[−1,1\] → \[0,1\].
fn to_pixels(tanh: &Tensor) -> tch::Result<Tensor> {
    tanh.f_mul_scalar(0.5)?.f_add_scalar(0.5)
}
