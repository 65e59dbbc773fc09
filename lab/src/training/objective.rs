//! A training step up to its loss: what is shown to the network, and what is minimised over what it makes of it.

use gauntlet_domain::experiment::{InnerAttack, Objective};
use tch::{Kind, Tensor};

use super::inner::{Draws, Target, craft};
use super::learner::{Branch, Learner};
use super::losses;
use super::passes::Passes;
use crate::error::LabError;
use crate::examples::Batch;
use crate::models::{Dropout, Mode, Output, Train};
use crate::random::{Purpose, Stream};

/// What a step does, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The model in training.
    pub learner: &'a Learner<'a>,
    /// What is minimised.
    pub objective: &'a Objective,
    /// Share of each label that cross-entropies spread over all classes.
    pub label_smoothing: f64,
    /// Whether passes in train mode drop activations.
    pub dropout: bool,
    /// Weight of a batch in the running statistics; the architecture's own if none.
    pub batch_norm_momentum: Option<f64>,
    /// Share of its ε that the inner attack has. At zero the step is one of standard training.
    pub strength: f64,
    /// Names its random draws.
    pub draws: Draws<'a>,
    /// Row of its first image in the whole batch.
    pub first_row: usize,
}

/// One pass through the network.
#[derive(Debug)]
pub struct Pass {
    /// f32 \[n,C,H,W\].
    pub pixels: Tensor,
    /// Which network.
    pub branch: Branch,
    /// How it behaves.
    pub mode: Mode,
}

/// What a step shows to the network.
#[derive(Debug)]
pub struct Shown {
    /// The passes, in the order in which they move the running statistics.
    pub passes: Vec<Pass>,
    /// A tensor in the graph of the pixels whose gradient [`Step::ascend`] takes.
    pub leaf: Option<Tensor>,
}

/// A training step up to its gradients.
#[derive(Debug)]
pub struct StepLoss<'a> {
    /// What is minimised, with its graph; a scalar.
    pub loss: Tensor,
    /// Logits of the images whose accuracy is reported: those shown, the clean ones where the objective shows both. f32 \[n,classes\].
    pub logits: Tensor,
    /// See [`Shown::leaf`].
    pub leaf: Option<Tensor>,
    /// How its gradients are found.
    pub passes: Passes<'a>,
}

impl<'a> Step<'a> {
    /// The loss of one batch.
    ///
    /// # Errors
    /// No memory.
    pub fn loss(&self, batch: &Batch) -> Result<StepLoss<'a>, LabError> {
        let Shown { passes: shown, leaf } = self.show(batch)?;
        let mut passes = Passes::new();
        let mut outputs = Vec::with_capacity(shown.len());
        for pass in &shown {
            outputs.push(passes.forward(&self.learner.route(pass.branch, pass.mode)?, &pass.pixels)?);
        }
        let (loss, logits) = self.loss_of(&outputs, &batch.labels)?;
        Ok(StepLoss { loss, logits, leaf, passes })
    }

    /// Crafts what the step shows to the network.
    ///
    /// # Errors
    /// No memory.
    pub fn show(&self, batch: &Batch) -> Result<Shown, LabError> {
        let pixels = &batch.pixels;
        let own = |pixels: &Tensor, pass| Pass {
            pixels: pixels.shallow_clone(),
            branch: Branch::Own,
            mode: self.train_mode(pass),
        };
        let passes = match self.objective {
            Objective::FreeAt { .. } => {
                let leaf = self.learner.perturbation(self.first_row, pixels.size()[0])?;
                let leaf = leaf.f_detach()?.f_set_requires_grad(true)?;
                // The image is clipped and the perturbation is not, as in the published code.
                let shown = pixels.f_add(&leaf)?.f_clamp(0.0, 1.0)?;
                return Ok(Shown { passes: vec![own(&shown, 0)], leaf: Some(leaf) });
            }
            Objective::Twins { inner, .. } => {
                let shown = self.against_labels(batch, inner, Mode::Eval)?;
                let (count, half) = (shown.size()[0], shown.size()[0] / 2);
                let twin = Pass { branch: Branch::Twin, ..own(&shown.f_narrow(0, 0, half)?, 0) };
                vec![twin, own(&shown.f_narrow(0, half, count - half)?, 0)]
            }
            Objective::PgdAt { inner } => vec![own(&self.against_labels(batch, inner, Mode::Eval)?, 0)],
            // The published code stays in train mode while it crafts, so the statistics move then too.
            Objective::FastAt { inner } => vec![own(&self.against_labels(batch, inner, self.train_mode(1))?, 0)],
            Objective::Standard => vec![own(pixels, 0)],
            Objective::Trades { .. } | Objective::Mart { .. } | Objective::Dm { .. } if self.strength == 0.0 => {
                vec![own(pixels, 0)]
            }
            Objective::Trades { inner, .. } => {
                let clean = self.clean_output(pixels)?.logits.f_softmax(1, Kind::Float)?;
                let adversarial = self.craft(pixels, &Target::Divergence(&clean), inner, Mode::Eval)?;
                // The published code asks for the clean logits twice, and the statistics see the clean images twice.
                vec![own(pixels, 0), own(&adversarial, 1), own(pixels, 2)]
            }
            Objective::Mart { inner, .. } => {
                vec![own(pixels, 0), own(&self.against_labels(batch, inner, Mode::Eval)?, 1)]
            }
            Objective::Dm { inner, .. } => {
                let clean = self.clean_output(pixels)?.features;
                let adversarial = self.craft(pixels, &Target::Features(&clean), inner, Mode::Eval)?;
                // One batch, so that both are normalised by the same statistics.
                let both = Tensor::f_cat(&[pixels, &adversarial], 0)?;
                vec![Pass { mode: self.train_mode_from(0, 2 * self.first_row), ..own(&both, 0) }]
            }
        };
        Ok(Shown { passes, leaf: None })
    }

    /// The loss of what the passes gave, with its graph, and the logits whose accuracy is reported.
    ///
    /// # Errors
    /// Outputs of another step; no memory.
    pub fn loss_of(&self, outputs: &[Output], labels: &Tensor) -> Result<(Tensor, Tensor), LabError> {
        let smoothing = self.label_smoothing;
        let (loss, logits) = match (self.objective, outputs) {
            (Objective::Trades { beta, .. }, [clean, adversarial, target]) => {
                let logits = [&clean.logits, &adversarial.logits, &target.logits];
                (losses::trades(logits, labels, *beta, smoothing)?, clean.logits.f_detach()?)
            }
            (Objective::Mart { lambda, .. }, [clean, adversarial]) => {
                let logits = [&clean.logits, &adversarial.logits];
                (losses::mart(logits, labels, *lambda, smoothing)?, clean.logits.f_detach()?)
            }
            (Objective::Dm { coefficient, .. }, [Output { features, logits }]) if self.strength > 0.0 => {
                let count = labels.size()[0];
                let logits = logits.f_narrow(0, 0, count)?;
                let features = [features.f_narrow(0, 0, count)?, features.f_narrow(0, count, count)?];
                let loss = losses::discrepancy(&logits, [&features[0], &features[1]], labels, *coefficient, smoothing)?;
                (loss, logits.f_detach()?)
            }
            (Objective::Twins { lambda, .. }, [twin, own]) => {
                let half = twin.logits.size()[0];
                let of_twin = losses::cross_entropy(&twin.logits, &labels.f_narrow(0, 0, half)?, smoothing)?;
                let rest = labels.f_narrow(0, half, labels.size()[0] - half)?;
                let loss =
                    losses::cross_entropy(&own.logits, &rest, smoothing)?.f_add(&of_twin.f_mul_scalar(*lambda)?)?;
                (loss, Tensor::f_cat(&[&twin.logits, &own.logits], 0)?.f_detach()?)
            }
            (_, [only]) => (losses::cross_entropy(&only.logits, labels, smoothing)?, only.logits.f_detach()?),
            (objective, outputs) => {
                let message = format!("`{}` does not have {} passes", objective.name(), outputs.len());
                return Err(LabError::Defect(message));
            }
        };
        Ok((loss, logits))
    }

    /// Moves the perturbation that `free-at` carries, given the gradient of the loss by [`Shown::leaf`].
    ///
    /// # Errors
    /// Another objective; no memory.
    pub fn ascend(&self, gradient: &Tensor) -> Result<(), LabError> {
        let Objective::FreeAt { eps, step_size, .. } = self.objective else {
            return Err(LabError::Defect(format!("`{}` carries no perturbation", self.objective.name())));
        };
        let (eps, step_size) = (eps * self.strength, step_size * self.strength);
        let mut perturbation = self.learner.perturbation(self.first_row, gradient.size()[0])?;
        let moved = perturbation.f_add(&gradient.f_sign()?.f_mul_scalar(step_size)?)?.f_clamp(-eps, eps)?;
        perturbation.f_copy_(&moved)?;
        Ok(())
    }

    /// Images that the inner attack crafted by ascent on the cross-entropy; the images themselves where its strength is zero.
    fn against_labels(&self, batch: &Batch, inner: &InnerAttack, mode: Mode) -> Result<Tensor, LabError> {
        if self.strength == 0.0 {
            return Ok(batch.pixels.shallow_clone());
        }
        self.craft(&batch.pixels, &Target::CrossEntropy(&batch.labels), inner, mode)
    }

    fn craft(&self, pixels: &Tensor, target: &Target<'_>, inner: &InnerAttack, mode: Mode) -> Result<Tensor, LabError> {
        let route = self.learner.route(Branch::Own, mode)?;
        craft(&route, pixels, target, &inner.scaled(self.strength), &self.draws)
    }

    fn clean_output(&self, pixels: &Tensor) -> Result<Output, LabError> {
        let _guard = tch::no_grad_guard();
        self.learner.forward(pixels, Branch::Own, Mode::Eval)
    }

    /// Train mode for one of the passes of the step, each with random masks of its own.
    fn train_mode(&self, pass: u32) -> Mode {
        self.train_mode_from(pass, self.first_row)
    }

    /// The same, with the masks of rows from `first_row` on.
    fn train_mode_from(&self, pass: u32, first_row: usize) -> Mode {
        let Draws { seed, iteration, .. } = self.draws;
        let dropout = self.dropout.then(|| Dropout {
            seed: if pass == 0 { seed } else { Stream::new(seed, Purpose::Pass { iteration, pass }).bits() },
            iteration,
            first_row,
        });
        Mode::Train(Train { moves_statistics: true, batch_norm_momentum: self.batch_norm_momentum, dropout })
    }
}
