//! One perturbation for all images.

use gauntlet_domain::experiment::UapMethod;
use tch::{Kind, Tensor};

use super::arena::Arena;
use super::ball::Ball;
use super::deepfool::DeepFool;
use super::oracle::Oracle;
use super::template::Attack;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::{Mode, Model};
use crate::random::{Purpose, Stream};
use crate::training::{Passes, Route};

/// Examples judged together where nothing says how many.
const SHARE_BATCH: usize = 128;

/// How a universal perturbation is crafted.
pub(crate) struct Crafting<'a> {
    pub(crate) model: &'a Model,
    /// The examples; the first `count` of them are what it is crafted on.
    pub(crate) examples: &'a Examples,
    pub(crate) count: usize,
    pub(crate) ball: Ball,
    pub(crate) seed: u64,
    /// Most passes over these examples.
    pub(crate) passes: u32,
    /// Share of these examples that ends the crafting once fooled.
    pub(crate) fooling_rate: f64,
}

/// Hears how many examples more were gone through, and may end the crafting by an error.
type Heard<'a> = &'a mut dyn FnMut(usize) -> Result<(), LabError>;

/// A perturbation that was crafted beforehand, added to every image.
pub(super) struct Universal {
    /// f32 \[1,C,H,W\].
    pub(super) perturbation: Tensor,
}

impl Attack for Universal {
    fn tries(&self) -> u32 {
        1
    }

    fn attempt(&self, arena: &mut Arena<'_>, _number: u32) -> Result<(), LabError> {
        let points = arena.originals().f_add(&self.perturbation)?;
        arena.conclude(&arena.bound(&points)?)
    }
}

impl Crafting<'_> {
    /// The perturbation, f32 \[1,C,H,W\], in the ball.
    ///
    /// # Errors
    /// No memory; what is `heard` says.
    pub(crate) fn craft(&self, by: &UapMethod, heard: Heard<'_>) -> Result<Tensor, LabError> {
        match *by {
            UapMethod::Gradient { step_size, batch_size } => self.by_gradient(step_size, batch_size as usize, heard),
            UapMethod::DeepFool { steps, overshoot, candidates } => {
                self.by_deepfool(DeepFool { steps, overshoot, candidates }, heard)
            }
        }
    }

    /// Crafts by steps along the gradient of the cross-entropy against the model's own predictions, summed over batches (Shafahi et al. 2020, arXiv
    /// 1811.11304).
    fn by_gradient(&self, step_size: f64, batch_size: usize, heard: Heard<'_>) -> Result<Tensor, LabError> {
        let mut perturbation = self.none()?;
        for pass in 0..self.passes {
            let order = Stream::new(self.seed, Purpose::UniversalOrder { pass }).permutation(self.count);
            for batch in order.chunks(batch_size.max(1)) {
                let pixels = self.examples.select(batch)?.pixels;
                let gradient = self.gradient(&pixels, &perturbation)?;
                perturbation = self.ball.nearest(&self.ball.ascend(&perturbation, &gradient, step_size)?)?;
                heard(batch.len())?;
            }
            if self.fooled_share(&perturbation, batch_size)? >= self.fooling_rate {
                break;
            }
        }
        Ok(perturbation)
    }

    /// Crafts as published: from each image in turn that the perturbation does not fool yet, DeepFool's way to the boundary is added to it.
    fn by_deepfool(&self, deepfool: DeepFool, heard: Heard<'_>) -> Result<Tensor, LabError> {
        let mut oracle = Oracle::new(self.model);
        let mut perturbation = self.none()?;
        for pass in 0..self.passes {
            for example in Stream::new(self.seed, Purpose::UniversalOrder { pass }).permutation(self.count) {
                heard(1)?;
                let pixels = self.examples.select(&[example])?.pixels;
                let own = self.predictions(&pixels)?;
                let point = pixels.f_add(&perturbation)?.f_clamp(0.0, 1.0)?;
                if self.predictions(&point)?.f_int64_value(&[0])? != own.f_int64_value(&[0])? {
                    continue;
                }
                let beyond = deepfool.perturb(&mut oracle, &point, &own, self.ball.norm)?;
                perturbation = self.ball.nearest(&perturbation.f_add(&beyond.f_sub(&point)?)?)?;
            }
            if self.fooled_share(&perturbation, SHARE_BATCH)? >= self.fooling_rate {
                break;
            }
        }
        Ok(perturbation)
    }

    fn none(&self) -> Result<Tensor, LabError> {
        Ok(self.examples.range(0, 1)?.pixels.f_zeros_like()?)
    }

    fn gradient(&self, pixels: &Tensor, perturbation: &Tensor) -> Result<Tensor, LabError> {
        let predictions = self.predictions(pixels)?;
        let points = pixels.f_add(perturbation)?.f_clamp(0.0, 1.0)?.f_detach()?.f_set_requires_grad(true)?;
        let mut passes = Passes::new();
        let logits = passes.forward(&Route::uniform(self.model, Mode::Eval), &points)?.logits;
        let loss = logits.f_cross_entropy_loss(&predictions, None::<&Tensor>, tch::Reduction::Sum, -100, 0.0)?;
        let mut gradients = passes.gradients(&loss, &[&points])?;
        let gradient = gradients.pop().ok_or_else(|| LabError::Defect("libtorch gave no gradient".to_owned()))?;
        Ok(gradient.f_sum_dim_intlist([0i64].as_slice(), true, Kind::Float)?)
    }

    /// Classes that the model says, i64 \[n\].
    fn predictions(&self, pixels: &Tensor) -> Result<Tensor, LabError> {
        let _guard = tch::no_grad_guard();
        Ok(self.model.forward(pixels, Mode::Eval)?.logits.f_argmax(1, false)?)
    }

    /// Share of the examples whose prediction the perturbation changes.
    fn fooled_share(&self, perturbation: &Tensor, batch_size: usize) -> Result<f64, LabError> {
        let total = self.count;
        let mut fooled = 0.0;
        let mut first = 0;
        while first < total {
            let count = batch_size.clamp(1, total - first);
            let pixels = self.examples.range(first, count)?.pixels;
            let perturbed = pixels.f_add(perturbation)?.f_clamp(0.0, 1.0)?;
            let changed = self.predictions(&pixels)?.f_ne_tensor(&self.predictions(&perturbed)?)?;
            fooled += changed.f_sum(Kind::Double)?.f_double_value(&[])?;
            first += count;
        }
        Ok(fooled / total as f64)
    }
}
