//! Projections onto linearised decision boundaries, close to the original.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

use super::arena::{Arena, index, rows_where};
use super::ball::{lengths, per_image, to_tensor};
use super::boundary::{Boundary, nearest_boundary};
use super::hyperplane::Hyperplane;
use super::template::Attack;
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// Steps of the final search (published).
const SEARCH_STEPS: u32 = 3;
/// Shortest length that steps are compared by (published).
const SHORTEST_STEP: f64 = 1e-8;

/// The fast adaptive boundary attack (Croce & Hein 2020, arXiv 1907.02044).
///
/// Without a ball it looks for the nearest point that fools, and ends with the paper's final search. With a ball, as a part of AutoAttack, it has no
/// final search, as published there, and an example leaves once a point in the ball fools it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fab {
    /// Towards one class per try, the largest wrong logits of the original first, instead of the nearest boundary of all.
    pub(super) targeted: bool,
    pub(super) steps: u32,
    /// Tries (per target class); all but the first start from a random point.
    pub(super) restarts: u32,
    /// Classes tried one after the other, if targeted.
    pub(super) target_classes: u32,
    /// Largest weight of the original point in a step.
    pub(super) alpha_max: f64,
    /// Share of the perturbation that is kept on the step back from a point that fools.
    pub(super) beta: f64,
    /// How far steps go beyond the projection, as a factor.
    pub(super) eta: f64,
}

impl Attack for Fab {
    fn tries(&self) -> u32 {
        if self.targeted { self.target_classes.saturating_mul(self.restarts) } else { self.restarts }
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let Some(others) = self.others(arena, number / self.restarts.max(1))? else { return Ok(()) };
        let mut run = Run::new(arena, others)?;
        if !number.is_multiple_of(self.restarts.max(1)) {
            run.points = random_start(arena, number)?;
        }
        for _ in 0..self.steps {
            if !self.step(arena, &mut run)? {
                return Ok(());
            }
        }
        if arena.rules().eps.is_none() {
            run.search(arena)?;
        }
        arena.conclude_nearest(&run.best)
    }
}

impl Fab {
    /// Classes to lead to, i64 \[n,m\]: the one of this rank among the wrong logits, or all wrong ones; none if there are not so many.
    fn others(&self, arena: &mut Arena<'_>, rank: u32) -> Result<Option<Tensor>, LabError> {
        let (originals, labels) = (arena.originals().shallow_clone(), arena.labels().f_unsqueeze(1)?);
        let (rank, classes) = (i64::from(rank), i64::from(arena.oracle().classes()));
        if !self.targeted {
            let further = Tensor::f_arange_start(1, classes, (Kind::Int64, labels.device()))?;
            return Ok(Some(labels.f_add(&further)?.f_remainder(classes)?));
        }
        if rank + 1 >= classes {
            return Ok(None);
        }
        let logits = arena.oracle().clean(&originals)?;
        let ranked = logits.f_scatter_value(1, &labels, f64::NEG_INFINITY)?.f_argsort(1, true)?;
        Ok(Some(ranked.f_narrow(1, rank, 1)?))
    }

    /// One step of all rows. Says whether any are left in play.
    fn step(&self, arena: &mut Arena<'_>, run: &mut Run) -> Result<bool, LabError> {
        let norm = arena.rules().norm;
        let pass = arena.oracle().pass(&run.points)?;
        let boundary = nearest_boundary(arena.oracle(), &pass, &run.labels, &run.others, norm)?;
        drop(pass);
        arena.took_gradient(&boundary.gradient)?;
        run.points = self.towards(run, &boundary, norm)?;
        let logits = arena.oracle().ask(&run.points)?;
        let fooled = logits.f_argmax(1, false)?.f_ne_tensor(&run.labels)?;
        let distances = lengths(&run.points.f_sub(&run.originals)?, norm)?;
        let better = fooled.f_logical_and(&distances.f_lt_tensor(&run.shortest)?)?;
        run.best = run.points.f_where_self(&per_image(&better)?, &run.best)?;
        run.shortest = distances.f_where_self(&better, &run.shortest)?;
        let back = run.originals.f_add(&run.points.f_sub(&run.originals)?.f_mul_scalar(self.beta)?)?;
        let rules = arena.rules();
        if let Some(eps) = rules.eps.filter(|_| rules.early_stop) {
            let found = fooled.f_logical_and(&distances.f_le(eps)?)?;
            let stay = arena.leave(&run.points, &logits, &found)?;
            run.points = back.f_where_self(&per_image(&fooled)?, &run.points)?;
            if let Some(stay) = stay {
                run.keep(&stay)?;
            }
            return Ok(!arena.is_empty());
        }
        run.points = back.f_where_self(&per_image(&fooled)?, &run.points)?;
        Ok(true)
    }

    /// Beyond the boundary's projections of the point and of the original, weighted by their distances.
    fn towards(&self, run: &Run, boundary: &Boundary, norm: Norm) -> tch::Result<Tensor> {
        let [points, originals, normal] =
            [&run.points, &run.originals, &boundary.gradient].map(|images| images.f_flatten(1, -1));
        let (points, originals, normal) = (points?, originals?, normal?);
        let between = normal.f_mul(&originals.f_sub(&points)?)?;
        let original_gap = boundary.gap.f_add(&between.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?)?;
        let from_point = Hyperplane { normal: &normal, gap: &boundary.gap }.nearest(&points, norm)?;
        let from_original = Hyperplane { normal: &normal, gap: &original_gap }.nearest(&originals, norm)?;
        let far = lengths(&from_point, norm)?.f_clamp_min(SHORTEST_STEP)?;
        let original_far = lengths(&from_original, norm)?.f_clamp_min(SHORTEST_STEP)?;
        let alpha = far.f_div(&far.f_add(&original_far)?)?.f_clamp(0.0, self.alpha_max)?.f_unsqueeze(1)?;
        let [ahead, original_ahead] = [(points, from_point), (originals, from_original)]
            .map(|(start, change)| start.f_add(&change.f_mul_scalar(self.eta)?));
        let (ahead, original_ahead) = (ahead?, original_ahead?);
        let next = ahead.f_mul(&alpha.f_neg()?.f_add_scalar(1.0)?)?.f_add(&original_ahead.f_mul(&alpha)?)?;
        next.f_clamp(0.0, 1.0)?.f_view_as(&run.points)
    }
}

/// A try at the examples in play.
struct Run {
    originals: Tensor,
    labels: Tensor,
    /// Classes to lead to, i64 \[n,m\].
    others: Tensor,
    points: Tensor,
    /// The nearest points of this try that fool; the original where there is none.
    best: Tensor,
    /// Their distances, f32 \[n\]; +∞ where there is none.
    shortest: Tensor,
}

impl Run {
    fn new(arena: &Arena<'_>, others: Tensor) -> Result<Self, LabError> {
        let (originals, labels) = (arena.originals().shallow_clone(), arena.labels().shallow_clone());
        let shortest = Tensor::f_full([arena.len() as i64], f64::INFINITY, (Kind::Float, labels.device()))?;
        let [points, best] = [originals.shallow_clone(), originals.shallow_clone()];
        Ok(Self { originals, labels, others, points, best, shortest })
    }

    fn keep(&mut self, rows: &Tensor) -> tch::Result<()> {
        let Self { originals, labels, others, points, best, shortest } = self;
        for tensor in [originals, labels, others, points, best, shortest] {
            *tensor = tensor.f_index_select(0, rows)?;
        }
        Ok(())
    }

    /// The paper's final search: secant steps for the boundary on the segment between the nearest point that fools and the original.
    fn search(&mut self, arena: &mut Arena<'_>) -> Result<(), LabError> {
        let rows = index(&rows_where(&self.shortest.f_isfinite()?)?, self.labels.device())?;
        if rows.numel() == 0 {
            return Ok(());
        }
        let labels = self.labels.f_index_select(0, &rows)?.f_unsqueeze(1)?;
        let mut far = self.best.f_index_select(0, &rows)?;
        let mut near = self.originals.f_index_select(0, &rows)?;
        let mut far_logits = arena.oracle().ask(&far)?;
        let mut near_logits = arena.oracle().ask(&near)?;
        for _ in 0..SEARCH_STEPS {
            let wrong = far_logits.f_scatter_value(1, &labels, f64::NEG_INFINITY)?.f_argmax(1, true)?;
            let [above, below] = [&far_logits, &near_logits]
                .map(|logits| logits.f_gather(1, &wrong, false)?.f_sub(&logits.f_gather(1, &labels, false)?));
            let (above, below) = (above?, below?);
            let share = above.f_div(&above.f_sub(&below)?)?.f_squeeze_dim(1)?;
            let between = far.f_add(&near.f_sub(&far)?.f_mul(&per_image(&share)?)?)?;
            let logits = arena.oracle().ask(&between)?;
            let fools = logits.f_argmax(1, true)?.f_ne_tensor(&labels)?;
            let fools_image = per_image(&fools.f_squeeze_dim(1)?)?;
            far_logits = logits.f_where_self(&fools, &far_logits)?;
            near_logits = near_logits.f_where_self(&fools, &logits)?;
            far = between.f_where_self(&fools_image, &far)?;
            near = near.f_where_self(&fools_image, &between)?;
        }
        self.best = self.best.f_index_copy(0, &rows, &far)?;
        Ok(())
    }
}

/// Points in random directions from the originals, half as far as the nearest point that fools, or half of the radius if that is less.
fn random_start(arena: &Arena<'_>, number: u32) -> Result<Tensor, LabError> {
    let rules = arena.rules();
    let originals = arena.originals();
    let per_row = originals.size().iter().skip(1).product::<i64>() as usize;
    let mut values = Vec::with_capacity(per_row * arena.len());
    for example in arena.examples() {
        let mut stream = Stream::new(rules.seed, Purpose::AttackStart { example: *example, number });
        values.extend((0..per_row).map(|_| match rules.norm {
            Norm::Linf => stream.symmetric(1.0),
            Norm::L2 | Norm::L1 => stream.normal(),
        }));
    }
    let directions = to_tensor(&values, originals)?;
    let radius = rules.eps.unwrap_or_else(|| usual_radius(rules.norm));
    let shortest = Tensor::f_from_slice(&arena.shortest())?.f_to_device(originals.device())?;
    let reach = shortest.f_clamp_max(radius)?.f_mul_scalar(0.5)?;
    let factors = reach.f_div(&lengths(&directions, rules.norm)?)?;
    Ok(originals.f_add(&directions.f_mul(&per_image(&factors)?)?)?.f_clamp(0.0, 1.0)?)
}

/// The radius that bounds random starts where there is no ball (published).
const fn usual_radius(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 0.3,
        Norm::L2 => 1.0,
        Norm::L1 => 5.0,
    }
}
