//! The attack inside an adversarial training step.

use gauntlet_domain::experiment::{InnerAttack, Start};
use tch::{Kind, Reduction, Tensor};

use super::passes::{Passes, Route};
use crate::attacks::{Ball, to_tensor};
use crate::error::LabError;
use crate::random::{Purpose, Stream};

/// Standard deviation of [`Start::Gaussian`], in pixel space, as in the study's code and those of TRADES and MART.
const GAUSSIAN_SPREAD: f32 = 0.001;

/// What an inner attack climbs.
#[derive(Debug)]
pub enum Target<'a> {
    /// Cross-entropy against these labels, i64 \[n\].
    CrossEntropy(&'a Tensor),
    /// Kullback-Leibler divergence from these probabilities, f32 \[n,classes\].
    Divergence(&'a Tensor),
    /// Mean squared distance to these features, f32 \[n,F\].
    Features(&'a Tensor),
}

/// Names the random draws of a step.
#[derive(Debug, Clone, Copy)]
pub struct Draws<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// The step, counted from 0.
    pub iteration: u32,
    /// Index in the split of each image of the batch.
    pub examples: &'a [i64],
}

/// Perturbed images, without a graph. In eval mode, as most published codes have it, the running statistics neither move nor see perturbed images that
/// are still in the making.
///
/// # Errors
/// No memory.
pub fn craft(
    route: &Route<'_>,
    originals: &Tensor,
    target: &Target<'_>,
    attack: &InnerAttack,
    draws: &Draws<'_>,
) -> Result<Tensor, LabError> {
    let ball = Ball { norm: attack.norm, eps: attack.eps };
    let mut points = start(originals, ball, attack.start, draws)?;
    for _ in 0..attack.steps {
        let gradient = gradient(route, &points, target)?;
        points = ball.bound(&ball.ascend(&points, &gradient, attack.step_size)?, originals)?;
    }
    Ok(points)
}

/// The first points. Those of [`Start::Gaussian`] may lie outside of the ball and of [0,1], as in the published codes; the first step brings them in.
fn start(originals: &Tensor, ball: Ball, start: Start, draws: &Draws<'_>) -> tch::Result<Tensor> {
    let per_image = originals.numel() / draws.examples.len().max(1);
    let mut values = Vec::with_capacity(originals.numel());
    for example in draws.examples {
        let purpose = Purpose::InnerStart { iteration: draws.iteration, example: *example as u64 };
        let mut stream = Stream::new(draws.seed, purpose);
        match start {
            Start::Clean => return Ok(originals.shallow_clone()),
            Start::Uniform => values.extend(ball.uniform(&mut stream, per_image)),
            Start::Gaussian => values.extend((0..per_image).map(|_| stream.normal() * GAUSSIAN_SPREAD)),
        }
    }
    let points = originals.f_add(&to_tensor(&values, originals)?)?;
    if start == Start::Gaussian { Ok(points) } else { ball.bound(&points, originals) }
}

fn gradient(route: &Route<'_>, points: &Tensor, target: &Target<'_>) -> Result<Tensor, LabError> {
    let points = points.f_detach()?.f_set_requires_grad(true)?;
    let mut passes = Passes::new();
    let output = passes.forward(route, &points)?;
    // Sums, so that the gradient at an image does not depend on the size of the batch; only its direction is used.
    let loss = match target {
        Target::CrossEntropy(labels) => {
            output.logits.f_cross_entropy_loss(labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?
        }
        Target::Divergence(probabilities) => {
            output.logits.f_log_softmax(1, Kind::Float)?.f_kl_div(probabilities, Reduction::Sum, false)?
        }
        Target::Features(features) => output.features.f_sub(features)?.f_square()?.f_sum(Kind::Float)?,
    };
    // Gradients are asked for the points alone, so none of the parameters' is computed.
    let mut gradients = passes.gradients(&loss, &[&points])?;
    gradients.pop().ok_or_else(|| LabError::Defect("libtorch gave no gradient".to_owned()))
}
