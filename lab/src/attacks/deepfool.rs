//! Steps to the nearest linearised decision boundary.

use gauntlet_domain::experiment::Norm;
use tch::Tensor;

use super::arena::{Arena, index, rows_where};
use super::ball::{lengths, per_image};
use super::boundary::{Boundary, TINY, nearest_boundary};
use super::oracle::Oracle;
use super::template::Attack;
use crate::error::LabError;

/// Added to the length of every step, as Foolbox does: otherwise the last steps before the boundary become endlessly short.
const STEP_FLOOR: f64 = 1e-4;

/// DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599), with Foolbox's details.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeepFool {
    pub(super) steps: u32,
    pub(super) overshoot: f64,
    /// Classes considered, the own among them.
    pub(super) candidates: u32,
}

impl Attack for DeepFool {
    fn tries(&self) -> u32 {
        1
    }

    fn attempt(&self, arena: &mut Arena<'_>, _number: u32) -> Result<(), LabError> {
        let (originals, labels) = (arena.originals().shallow_clone(), arena.labels().shallow_clone());
        let norm = arena.rules().norm;
        let points = self.perturb(arena.oracle(), &originals, &labels, norm)?;
        // Only without a gradient does a step lead nowhere.
        arena.took_gradient(&points.f_sub(&originals)?)?;
        arena.conclude_nearest(&points)
    }
}

/// What is kept for the rows that are not fooled yet.
struct Walk {
    originals: Tensor,
    labels: Tensor,
    points: Tensor,
    /// Sum of the steps, without the overshoot.
    change: Tensor,
    /// Classes to lead to, i64 \[n,m\]; fixed at the original.
    others: Option<Tensor>,
}

impl Walk {
    fn keep(&mut self, rows: &Tensor) -> tch::Result<()> {
        let own = [&mut self.originals, &mut self.labels, &mut self.points, &mut self.change];
        for tensor in own.into_iter().chain(self.others.as_mut()) {
            *tensor = tensor.f_index_select(0, rows)?;
        }
        Ok(())
    }
}

impl DeepFool {
    /// Points just beyond the nearest boundary around `originals`, f32 \[n,C,H,W\] in \[0,1\], that the model does not give `labels`, i64 \[n\], to; the
    /// last iterate where the steps did not suffice. Rows that the model does not give their label to come back as they are. L∞ and L2.
    ///
    /// Rows that are done cost nothing more.
    pub(super) fn perturb(
        &self,
        oracle: &mut Oracle<'_>,
        originals: &Tensor,
        labels: &Tensor,
        norm: Norm,
    ) -> Result<Tensor, LabError> {
        let mut result = originals.f_detach_copy()?;
        let mut rows = Tensor::f_arange(originals.size()[0], (tch::Kind::Int64, originals.device()))?;
        let mut walk = Walk {
            originals: originals.shallow_clone(),
            labels: labels.shallow_clone(),
            points: originals.shallow_clone(),
            change: originals.f_zeros_like()?,
            others: None,
        };
        for _ in 0..self.steps {
            let pass = oracle.pass(&walk.points)?;
            let logits = pass.logits();
            let stay = rows_where(&logits.f_argmax(1, false)?.f_eq_tensor(&walk.labels)?)?;
            if stay.is_empty() {
                break;
            }
            if walk.others.is_none() {
                walk.others = Some(runners_up(&logits, &walk.labels, self.candidates)?);
            }
            let stay = index(&stay, originals.device())?;
            walk.keep(&stay)?;
            rows = rows.f_index_select(0, &stay)?;
            let Some(others) = &walk.others else { break };
            let pass = oracle.narrow(pass, &stay, others.size()[1])?;
            let boundary = nearest_boundary(oracle, &pass, &walk.labels, others, norm)?;
            walk.change = walk.change.f_add(&step(&boundary, norm)?)?;
            let beyond = walk.change.f_mul_scalar(1.0 + self.overshoot)?;
            walk.points = walk.originals.f_add(&beyond)?.f_clamp(0.0, 1.0)?;
            result = result.f_index_copy(0, &rows, &walk.points)?;
        }
        Ok(result)
    }
}

/// The classes of the largest logits beside the label, `candidates` with it; i64 \[n,m\].
fn runners_up(logits: &Tensor, labels: &Tensor, candidates: u32) -> tch::Result<Tensor> {
    let count = (i64::from(candidates) - 1).clamp(1, (logits.size()[1] - 1).max(1));
    let others = logits.f_scatter_value(1, &labels.f_unsqueeze(1)?, f64::NEG_INFINITY)?;
    Ok(others.f_topk(count, 1, true, true)?.1)
}

/// The shortest way to the boundary.
fn step(boundary: &Boundary, norm: Norm) -> Result<Tensor, LabError> {
    let distance = boundary.distance.f_add_scalar(STEP_FLOOR)?;
    let gradient = &boundary.gradient;
    let (direction, factor) = match norm {
        Norm::Linf => (gradient.f_sign()?, distance),
        Norm::L2 => (gradient.shallow_clone(), distance.f_div(&lengths(gradient, norm)?.f_add_scalar(TINY)?)?),
        Norm::L1 => return Err(LabError::Spec("`deepfool` knows the norms linf and l2".to_owned())),
    };
    Ok(direction.f_mul(&per_image(&factor)?)?)
}
