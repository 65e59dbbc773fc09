//! The attacks: starting points and steps. Everything else is the template's.

use gauntlet_domain::experiment::{AttackConfig, AttackMethod};
use tch::Tensor;

use super::ball::{Ball, to_tensor};
use crate::random::{Purpose, Stream};

/// Examples that no try has fooled yet.
pub(super) struct Active {
    /// Unperturbed images, f32 \[n,C,H,W\].
    pub(super) originals: Tensor,
    /// i64 \[n\].
    pub(super) labels: Tensor,
    /// Their indices in the split.
    pub(super) examples: Vec<u64>,
}

impl Active {
    /// The examples of these rows.
    pub(super) fn keep(&self, rows: &[i64]) -> tch::Result<Self> {
        let index = Tensor::f_from_slice(rows)?.f_to_device(self.labels.device())?;
        Ok(Self {
            originals: self.originals.f_index_select(0, &index)?,
            labels: self.labels.f_index_select(0, &index)?,
            examples: rows.iter().map(|row| self.examples[*row as usize]).collect(),
        })
    }
}

/// What an attack supplies.
pub(super) trait Attack {
    /// Independent tries.
    fn tries(&self) -> u32;

    /// Gradient steps of a try.
    fn steps(&self) -> u32;

    /// First points of a try, f32 \[n,C,H,W\]; the template brings them into the ball and into [0,1].
    fn start(&self, active: &Active, number: u32) -> tch::Result<Tensor>;

    /// The points after a step, given the gradient of the cross-entropy at `points`; the template brings them back as above.
    fn step(&mut self, points: &Tensor, gradient: &Tensor) -> tch::Result<Tensor>;
}

/// The attack of this configuration.
pub(super) fn attack(config: &AttackConfig, seed: u64) -> Box<dyn Attack> {
    let ball = Ball { norm: config.norm, eps: config.eps };
    match config.method {
        AttackMethod::Noise { draws } => Box::new(Noise { ball, draws, seed }),
        AttackMethod::Fgsm => {
            Box::new(Pgd { ball, steps: 1, step_size: config.eps, random_start: false, restarts: 1, seed })
        }
        AttackMethod::Pgd { steps, step_size, random_start, restarts } => {
            Box::new(Pgd { ball, steps, step_size, random_start, restarts, seed })
        }
    }
}

/// Points around the originals, uniform in the ball, each from its example's own stream.
fn uniform_points(ball: Ball, active: &Active, number: u32, seed: u64) -> tch::Result<Tensor> {
    let per_image: usize = active.originals.size().iter().skip(1).product::<i64>() as usize;
    let mut values = Vec::with_capacity(per_image * active.examples.len());
    for example in &active.examples {
        let mut stream = Stream::new(seed, Purpose::AttackStart { example: *example, number });
        values.extend(ball.uniform(&mut stream, per_image));
    }
    active.originals.f_add(&to_tensor(&values, &active.originals)?)
}

/// Random points of the ball, without looking at the model.
struct Noise {
    ball: Ball,
    draws: u32,
    seed: u64,
}

impl Attack for Noise {
    fn tries(&self) -> u32 {
        self.draws
    }

    fn steps(&self) -> u32 {
        0
    }

    fn start(&self, active: &Active, number: u32) -> tch::Result<Tensor> {
        uniform_points(self.ball, active, number, self.seed)
    }

    fn step(&mut self, points: &Tensor, _gradient: &Tensor) -> tch::Result<Tensor> {
        Ok(points.shallow_clone())
    }
}

/// Projected gradient ascent (Madry et al. 2018, arXiv 1706.06083); with one step of length ε from the image itself the fast gradient (sign) method
/// (Goodfellow et al. 2015, arXiv 1412.6572).
struct Pgd {
    ball: Ball,
    steps: u32,
    step_size: f64,
    random_start: bool,
    restarts: u32,
    seed: u64,
}

impl Attack for Pgd {
    fn tries(&self) -> u32 {
        self.restarts
    }

    fn steps(&self) -> u32 {
        self.steps
    }

    fn start(&self, active: &Active, number: u32) -> tch::Result<Tensor> {
        if self.random_start {
            uniform_points(self.ball, active, number, self.seed)
        } else {
            Ok(active.originals.shallow_clone())
        }
    }

    fn step(&mut self, points: &Tensor, gradient: &Tensor) -> tch::Result<Tensor> {
        self.ball.ascend(points, gradient, self.step_size)
    }
}
