//! The attack inside an adversarial training step.

use gauntlet_domain::experiment::{InnerAttack, Start};
use tch::{Kind, Reduction, Tensor};

use super::passes::Passes;
use crate::attacks::{Ball, to_tensor};
use crate::error::LabError;
use crate::models::{Mode, Model};
use crate::random::{Purpose, Stream};

/// Standard deviation of [`Start::Gaussian`], in pixel space, as in the study's code.
const GAUSSIAN_SPREAD: f32 = 0.001;

/// Names the random draws for some images of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    /// Seed of the run.
    pub seed: u64,
    /// The step, counted from 0.
    pub iteration: u32,
    /// Images of the step's batch that come before these: each image has the draws of its place in the batch.
    pub before: usize,
}

/// What an inner attack climbs.
#[derive(Debug)]
pub enum Target<'a> {
    /// Cross-entropy against these labels, i64 \[n\].
    CrossEntropy(&'a Tensor),
    /// Mean squared distance to these features, f32 \[n,F\].
    Features(&'a Tensor),
}

/// Perturbed images, without a graph. The model is in eval mode meanwhile, as in the study's code and in MadryLab's `robustness`: the running statistics
/// neither move nor see perturbed images that are still in the making.
///
/// # Errors
/// No memory.
pub fn craft(
    model: &Model,
    originals: &Tensor,
    target: &Target<'_>,
    attack: &InnerAttack,
    draws: Draws,
) -> Result<Tensor, LabError> {
    let ball = Ball { norm: attack.norm, eps: attack.eps };
    let mut points = ball.bound(&start(originals, ball, attack.start, draws)?, originals)?;
    for _ in 0..attack.steps {
        let gradient = gradient(model, &points, target)?;
        points = ball.bound(&ball.ascend(&points, &gradient, attack.step_size)?, originals)?;
    }
    Ok(points)
}

fn start(originals: &Tensor, ball: Ball, start: Start, draws: Draws) -> tch::Result<Tensor> {
    let mut stream = Stream::new(draws.seed, Purpose::InnerStart { iteration: draws.iteration });
    let images = originals.size()[0] as usize;
    let per_image = originals.numel() / images.max(1);
    let values: Vec<f32> = match start {
        Start::Clean => return Ok(originals.shallow_clone()),
        Start::Uniform => {
            let drawn = (0..draws.before + images).flat_map(|_| ball.uniform(&mut stream, per_image));
            drawn.skip(draws.before * per_image).collect()
        }
        Start::Gaussian => {
            let drawn = (0..(draws.before + images) * per_image).map(|_| stream.normal() * GAUSSIAN_SPREAD);
            drawn.skip(draws.before * per_image).collect()
        }
    };
    originals.f_add(&to_tensor(&values, originals)?)
}

fn gradient(model: &Model, points: &Tensor, target: &Target<'_>) -> Result<Tensor, LabError> {
    let points = points.f_detach()?.f_set_requires_grad(true)?;
    let mut passes = Passes::new();
    let output = passes.forward(model, &points, Mode::Eval)?;
    // Sums, so that the gradient at an image does not depend on the size of the batch; only its direction is used.
    let loss = match target {
        Target::CrossEntropy(labels) => {
            output.logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?
        }
        Target::Features(features) => output.features.f_sub(features)?.f_square()?.f_sum(Kind::Float)?,
    };
    // Gradients are asked for the points alone, so none of the parameters' is computed.
    let mut gradients = passes.gradients(&loss, &[&points])?;
    gradients.pop().ok_or_else(|| LabError::Defect("libtorch gave no gradient".to_owned()))
}
