//! One climb of APGD from given points, for all examples in play at once.

use gauntlet_domain::experiment::Norm;
use tch::Tensor;

use super::arena::Arena;
use super::ball::per_image;
use super::objective::Objective;
use super::oracle::Answer;
use super::pace::{Pace, Plan};
use crate::error::LabError;

/// Weight of a step beside that of the change before it.
const STEP_WEIGHT: f64 = 0.75;

/// Where the examples in play are on their climb.
pub(super) struct Climb {
    plan: Plan,
    /// Whether points lie in the ball of the threat model, so that they are judged.
    counts: bool,
    /// Passes whose gradients are averaged.
    gradient_passes: u32,
    pub(super) objective: Objective,
    pub(super) pace: Pace,
    /// Points, those before them and those of the highest loss; f32 \[n,C,H,W\] like all but the losses.
    pub(super) points: Tensor,
    previous: Tensor,
    best: Tensor,
    gradient: Tensor,
    best_gradient: Tensor,
    /// f32 \[n\].
    pub(super) best_loss: Tensor,
    /// Without early stopping: the last points that fooled.
    found: Option<Found>,
}

/// Points that fooled.
struct Found {
    points: Tensor,
    /// For which examples there is one, bool \[n\].
    any: Tensor,
}

/// How a climb begins.
pub(super) struct Start {
    /// f32 \[n,C,H,W\], in the plan's ball.
    pub(super) points: Tensor,
    /// Whether an earlier climb found them.
    pub(super) found: bool,
}

impl Climb {
    /// A climb at its start; none if that fools everybody.
    pub(super) fn new(
        arena: &mut Arena<'_>,
        plan: Plan,
        (counts, gradient_passes): (bool, u32),
        mut objective: Objective,
        start: Start,
    ) -> Result<Option<Self>, LabError> {
        let mut points = start.points;
        let mut answer = look(arena, &objective, &points, counts, true)?;
        let found = (counts && !arena.rules().early_stop)
            .then(|| Found { points: points.shallow_clone(), any: answer.fooled.shallow_clone() });
        let mut state = vec![&mut points];
        state.extend(objective.state());
        if !arena.retire(&mut answer, &mut state)? {
            return Ok(None);
        }
        let gradient = averaged(arena, &objective, &points, answer.gradient()?, gradient_passes)?;
        let best_loss = answer.losses()?.shallow_clone();
        let pace = Pace::new(plan, &best_loss, &points.f_sub(arena.originals())?, start.found)?;
        let [previous, best] = [points.shallow_clone(), points.shallow_clone()];
        let best_gradient = gradient.shallow_clone();
        Ok(Some(Self {
            plan,
            counts,
            gradient_passes,
            objective,
            pace,
            points,
            previous,
            best,
            gradient,
            best_gradient,
            best_loss,
            found,
        }))
    }

    /// Takes step number `number` (counted from 0). Says whether anybody is left.
    pub(super) fn step(&mut self, arena: &mut Arena<'_>, number: u32) -> Result<bool, LabError> {
        let next = self.moved(arena.originals(), number)?;
        self.previous = std::mem::replace(&mut self.points, next);
        // Nothing follows the gradient at the end.
        let last = number + 1 == self.plan.steps;
        let mut answer = look(arena, &self.objective, &self.points, self.counts, !last)?;
        if let Some(found) = &mut self.found {
            found.points = self.points.f_where_self(&per_image(&answer.fooled)?, &found.points)?;
            found.any = found.any.f_logical_or(&answer.fooled)?;
        }
        if !arena.retire(&mut answer, &mut self.state())? {
            return Ok(false);
        }
        let losses = answer.losses()?;
        let better = losses.f_gt_tensor(&self.best_loss)?;
        self.best_loss = losses.f_where_self(&better, &self.best_loss)?;
        let better = per_image(&better)?;
        self.best = self.points.f_where_self(&better, &self.best)?;
        if !last {
            self.gradient = averaged(arena, &self.objective, &self.points, answer.gradient()?, self.gradient_passes)?;
            self.best_gradient = self.gradient.f_where_self(&better, &self.best_gradient)?;
            self.check(arena.originals(), losses)?;
        }
        Ok(true)
    }

    /// Where it ended: the last point that fooled, where one did and its example has not left, otherwise the point of the highest loss. Gives the
    /// objective back.
    pub(super) fn end(self) -> tch::Result<(Tensor, Objective)> {
        let points = match self.found {
            Some(found) => found.points.f_where_self(&per_image(&found.any)?, &self.best)?,
            None => self.best,
        };
        Ok((points, self.objective))
    }

    /// The points after a step. In L∞ and L2 it carries a share of the change before it on.
    fn moved(&self, originals: &Tensor, number: u32) -> tch::Result<Tensor> {
        let ball = self.plan.ball;
        let step = self.pace.direction(&self.gradient)?.f_mul(&per_image(&self.pace.step_size)?)?;
        let next = ball.bound_for_apgd(&self.points.f_add(&step)?, originals)?;
        if ball.norm == Norm::L1 || number == 0 {
            return Ok(next);
        }
        let carried = self.points.f_sub(&self.previous)?.f_mul_scalar(1.0 - STEP_WEIGHT)?;
        let step = next.f_sub(&self.points)?.f_mul_scalar(STEP_WEIGHT)?;
        ball.bound_for_apgd(&self.points.f_add(&step)?.f_add(&carried)?, originals)
    }

    /// Lets the pace learn; where that says so, goes back to the best point.
    fn check(&mut self, originals: &Tensor, losses: &Tensor) -> tch::Result<()> {
        let best_change = || self.best.f_sub(originals);
        if let Some(back) = self.pace.learn(losses, &self.best_loss, best_change)? {
            let back = per_image(&back)?;
            self.points = self.best.f_where_self(&back, &self.points)?;
            self.gradient = self.best_gradient.f_where_self(&back, &self.gradient)?;
        }
        Ok(())
    }

    /// What it keeps per example, apart from what is kept without early stopping, when nobody leaves.
    fn state(&mut self) -> Vec<&mut Tensor> {
        let mut state = vec![
            &mut self.points,
            &mut self.previous,
            &mut self.best,
            &mut self.gradient,
            &mut self.best_gradient,
            &mut self.best_loss,
        ];
        state.extend(self.pace.state());
        state.extend(self.objective.state());
        state
    }
}

fn look(
    arena: &mut Arena<'_>,
    objective: &Objective,
    points: &Tensor,
    counts: bool,
    gradient: bool,
) -> Result<Answer, LabError> {
    let loss = objective.loss(arena);
    match (counts, gradient) {
        (true, true) => arena.ask_gradient(points, &loss),
        (true, false) => arena.ask_losses(points, &loss),
        (false, true) => arena.explore_gradient(points, &|points| Ok(points.shallow_clone()), &loss),
        (false, false) => arena.explore_losses(points, &loss),
    }
}

/// The mean of `first` and the gradients of further passes.
fn averaged(
    arena: &mut Arena<'_>,
    objective: &Objective,
    points: &Tensor,
    first: &Tensor,
    passes: u32,
) -> Result<Tensor, LabError> {
    if passes <= 1 {
        return Ok(first.shallow_clone());
    }
    let loss = objective.loss(arena);
    let mut sum = first.shallow_clone();
    for _ in 1..passes {
        let answer = arena.explore_gradient(points, &|points| Ok(points.shallow_clone()), &loss)?;
        sum = sum.f_add(answer.gradient()?)?;
    }
    Ok(sum.f_div_scalar(f64::from(passes))?)
}
