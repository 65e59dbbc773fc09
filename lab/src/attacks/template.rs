//! The template that every attack runs in.

use std::ops::Range;

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, AttackResult};
use tch::Tensor;

use super::apgd::Apgd;
use super::arena::{Arena, Rules};
use super::diversity::Diversity;
use super::gradient::{Noise, Pgd};
use super::momentum::Momentum;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;

/// An evaluation of a model under one attack.
pub struct Evaluation<'a> {
    /// The attacked model; its parameters need no gradients.
    pub model: &'a Model,
    /// The examples.
    pub examples: &'a Examples,
    /// The attack with its threat model.
    pub attack: &'a AttackConfig,
    /// Seed of random starts and noise.
    pub seed: u64,
    /// Examples attacked together.
    pub batch_size: usize,
    /// Keep the attack's output.
    pub keep_images: bool,
}

/// What an evaluation came to.
#[derive(Debug)]
pub struct Evaluated {
    /// Outcomes and queries.
    pub result: AttackResult,
    /// The attack's output, f32 \[N,C,H,W\], if it was to be kept; the original where the model was wrong already.
    pub images: Option<Tensor>,
}

/// What an attack supplies.
pub(super) trait Attack {
    /// Independent tries; later ones meet only the examples that the earlier ones did not fool.
    fn tries(&self) -> u32;

    /// Try number `number` (counted from 0) at the examples in play. It ends with [`Arena::conclude`], or [`Arena::conclude_nearest`] for a
    /// minimum-norm attack, unless nobody is left.
    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError>;
}

/// Attacks every example; `progress` hears how many are done.
///
/// # Errors
/// A model whose output is not finite; no memory.
pub fn evaluate(evaluation: &Evaluation<'_>, progress: &mut dyn FnMut(usize)) -> Result<Evaluated, LabError> {
    evaluate_range(evaluation, 0..evaluation.examples.len(), progress)
}

/// Attacks the examples of a range of indices; `progress` hears how many of them are done.
///
/// Results of ranges that follow each other [`append`](AttackResult::append) to that of the whole, to the bit if every range but the last is a multiple
/// of the batch size.
///
/// # Errors
/// A range that ends beyond the examples; a model whose output is not finite; no memory.
pub fn evaluate_range(
    evaluation: &Evaluation<'_>,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, LabError> {
    let total = evaluation.examples.len();
    if range.is_empty() || range.end > total {
        return Err(LabError::Spec(format!("examples {} to {} of {total} cannot be attacked", range.start, range.end)));
    }
    run(evaluation, attack(evaluation.attack)?.as_ref(), range, progress)
}

/// Lets an attack meet the examples of a range.
pub(super) fn run(
    evaluation: &Evaluation<'_>,
    attack: &dyn Attack,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, LabError> {
    let rules = Rules::new(evaluation.attack, evaluation.seed);
    let mut arena = Arena::new(evaluation.model, rules, range.start as u64, evaluation.keep_images);
    let mut first = range.start;
    while first < range.end {
        let count = evaluation.batch_size.clamp(1, range.end - first);
        arena.enter(evaluation.examples.range(first, count)?, first as u64)?;
        for number in 0..attack.tries() {
            if arena.is_empty() {
                break;
            }
            attack.attempt(&mut arena, number)?;
        }
        first += count;
        progress(first - range.start);
    }
    arena.finish()
}

/// The attack of this configuration.
fn attack(config: &AttackConfig) -> Result<Box<dyn Attack>, LabError> {
    Ok(match &config.method {
        AttackMethod::Noise { draws } => Box::new(Noise { draws: *draws }),
        AttackMethod::Fgsm => {
            Box::new(Pgd { steps: 1, step_size: config.eps.unwrap_or_default(), random_start: false, restarts: 1 })
        }
        AttackMethod::Pgd { steps, step_size, random_start, restarts } => {
            Box::new(Pgd { steps: *steps, step_size: *step_size, random_start: *random_start, restarts: *restarts })
        }
        AttackMethod::MiFgsm { steps, step_size, decay } => Box::new(Momentum {
            steps: *steps,
            step_size: *step_size,
            decay: *decay,
            diversity: None,
            random_start: false,
        }),
        AttackMethod::DiFgsm { steps, step_size, decay, resize_rate, diversity_probability, random_start } => {
            let diversity = Diversity { resize_rate: *resize_rate, probability: *diversity_probability };
            Box::new(Momentum {
                steps: *steps,
                step_size: *step_size,
                decay: *decay,
                diversity: Some(diversity),
                random_start: *random_start,
            })
        }
        AttackMethod::Apgd { loss, steps, restarts, rho, target_classes } => Box::new(Apgd {
            loss: *loss,
            steps: *steps,
            restarts: *restarts,
            rho: *rho,
            target_classes: *target_classes,
            gradient_passes: 1,
            larger_balls: true,
        }),
        other => return Err(LabError::Spec(format!("the attack `{}` is not available", other.name()))),
    })
}
