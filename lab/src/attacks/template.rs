//! The template that every attack runs in.

use std::ops::Range;

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, AttackResult, Norm, UapMethod};
use tch::Tensor;

use super::apgd::Apgd;
use super::arena::{Arena, Rules, Standing};
use super::autoattack::AutoAttack;
use super::ball::Ball;
use super::carlini_wagner::CarliniWagner;
use super::deepfool::DeepFool;
use super::diversity::Diversity;
use super::fab::Fab;
use super::feature::Feature;
use super::gradient::{Noise, Pgd};
use super::momentum::Momentum;
use super::square::Square;
use super::transfer::Transfer;
use super::universal::Crafting;
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
    /// What some attacks need besides.
    pub aids: Aids<'a>,
    /// Seed of random starts and noise.
    pub seed: u64,
    /// Examples attacked together.
    pub batch_size: usize,
    /// Keep the attack's output.
    pub keep_images: bool,
}

/// What some attacks need besides the attacked model and its examples.
#[derive(Clone, Copy, Default)]
pub struct Aids<'a> {
    /// The model that `transfer` crafts on.
    pub source: Option<&'a Model>,
    /// The examples that `uap` crafts on.
    pub crafted_on: Option<&'a Examples>,
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
/// Results of ranges that follow each other [`append`](AttackResult::append) to that of the whole. Each example meets the same draws; what may differ is
/// the rounding, where it is attacked together with other examples: in an attack of one try it is not if every range but the last is a multiple of
/// the batch size.
///
/// # Errors
/// A range that is empty or ends beyond the examples; a model whose output is not finite; no memory.
pub fn evaluate_range(
    evaluation: &Evaluation<'_>,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, LabError> {
    let total = evaluation.examples.len();
    if range.is_empty() || range.end > total {
        return Err(LabError::Spec(format!("examples {} to {} of {total} cannot be attacked", range.start, range.end)));
    }
    run(evaluation, attack(&evaluation.attack.method, evaluation)?.as_ref(), range, progress)
}

/// Lets an attack meet the examples of a range.
pub(super) fn run(
    evaluation: &Evaluation<'_>,
    attack: &dyn Attack,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, LabError> {
    let Evaluation { examples, batch_size, .. } = *evaluation;
    let (start, total) = (range.start, range.len());
    let rules = Rules::new(evaluation.attack, evaluation.seed);
    let mut arena = Arena::new(evaluation.model, rules, start as u64, evaluation.keep_images);
    let mut standing = Standing::default();
    for (first, count) in batches(total, batch_size) {
        let first = start + first;
        standing.extend(arena.enter(&examples.range(first, count)?, first as u64)?);
    }
    for number in 0..attack.tries() {
        // Survivors fill whole batches again, however few of each batch the tries before have left.
        let players = std::mem::take(&mut standing);
        for (first, count) in batches(players.len(), batch_size) {
            let part = players.part(first, count);
            let indices: Vec<i64> = part.slots.iter().map(|slot| (start + *slot) as i64).collect();
            arena.bring(examples.select(&indices)?, part)?;
            attack.attempt(&mut arena, number)?;
            standing.extend(arena.withdraw()?);
            let done = share_done(total, (number, attack.tries()), (first + count, players.len()));
            if done < total {
                progress(done);
            }
        }
    }
    progress(total);
    arena.finish()
}

/// First number and count of each batch of so many examples.
fn batches(examples: usize, batch_size: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = batch_size.max(1);
    (0..examples).step_by(size).map(move |first| (first, size.min(examples - first)))
}

/// How many of `total` examples the tries and the players done so far amount to.
fn share_done(total: usize, (tries_done, tries): (u32, u32), (players_done, players): (usize, usize)) -> usize {
    let of_this_try = players_done as f64 / players.max(1) as f64;
    (total as f64 * (f64::from(tries_done) + of_this_try) / f64::from(tries.max(1))) as usize
}

/// The attack of this configuration.
fn attack<'a>(method: &AttackMethod, evaluation: &Evaluation<'a>) -> Result<Box<dyn Attack + 'a>, LabError> {
    let config = evaluation.attack;
    Ok(match method {
        AttackMethod::Noise { draws } => Box::new(Noise { draws: *draws }),
        AttackMethod::Fgsm => {
            Box::new(Pgd { steps: 1, step_size: config.eps.unwrap_or_default(), random_start: false, restarts: 1 })
        }
        AttackMethod::Pgd { steps, step_size, random_start, restarts } => {
            Box::new(Pgd { steps: *steps, step_size: *step_size, random_start: *random_start, restarts: *restarts })
        }
        AttackMethod::Cw { confidence, steps, learning_rate, initial_const, binary_search_steps } => {
            allow(method, config, &[Norm::L2], true)?;
            Box::new(CarliniWagner {
                confidence: *confidence,
                steps: *steps,
                learning_rate: *learning_rate,
                initial_const: *initial_const,
                binary_search_steps: *binary_search_steps,
                abort_early: config.early_stop,
            })
        }
        AttackMethod::DeepFool { steps, overshoot, candidates } => {
            allow(method, config, &[Norm::Linf, Norm::L2], false)?;
            Box::new(DeepFool { steps: *steps, overshoot: *overshoot, candidates: *candidates })
        }
        AttackMethod::Fab { targeted, steps, restarts, target_classes, alpha_max, beta, eta } => {
            allow(method, config, &Norm::ALL, false)?;
            Box::new(Fab {
                targeted: *targeted,
                steps: *steps,
                restarts: *restarts,
                target_classes: *target_classes,
                alpha_max: *alpha_max,
                beta: *beta,
                eta: *eta,
            })
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
            first_start: 0,
        }),
        AttackMethod::AutoAttack { version } => {
            allow(method, config, &Norm::ALL, false)?;
            Box::new(AutoAttack::new(*version, config.norm, evaluation.model.classes())?)
        }
        AttackMethod::Square { queries, p_init, restarts } => {
            Box::new(Square { queries: *queries, p_init: *p_init, restarts: *restarts })
        }
        AttackMethod::Feature { steps, step_size, restarts } => {
            Box::new(Feature { steps: *steps, step_size: *step_size, restarts: *restarts })
        }
        AttackMethod::Uap { by, passes, fooling_rate, .. } => {
            let examples = evaluation.aids.crafted_on.ok_or_else(|| lacks("examples to craft on"))?;
            let eps = config.eps.ok_or_else(|| lacks("an eps"))?;
            let crafting = Crafting {
                model: evaluation.model,
                examples,
                ball: Ball { norm: config.norm, eps },
                seed: evaluation.seed,
                passes: *passes,
                fooling_rate: *fooling_rate,
            };
            match by {
                UapMethod::Gradient { step_size, batch_size } => {
                    Box::new(crafting.by_gradient(*step_size, *batch_size as usize)?)
                }
                UapMethod::DeepFool { .. } => return Err(LabError::Spec("not available".to_owned())),
            }
        }
        AttackMethod::Transfer { by, .. } => {
            let source = evaluation.aids.source.ok_or_else(|| lacks("a model to craft on"))?;
            Box::new(Transfer { source, by: attack(by, evaluation)? })
        }
    })
}

fn lacks(what: &str) -> LabError {
    LabError::Spec(format!("the attack has no {what}"))
}

/// Whether the method knows the norm and, if there is one, can lead to a target. The sweep reader checks the same; this is the last line.
fn allow(method: &AttackMethod, config: &AttackConfig, norms: &[Norm], targeted: bool) -> Result<(), LabError> {
    let name = method.name();
    if !norms.contains(&config.norm) {
        return Err(LabError::Spec(format!("the attack `{name}` does not know the norm {}", config.norm)));
    }
    if config.target.is_some() && !targeted {
        return Err(LabError::Spec(format!("the attack `{name}` leads to no target class")));
    }
    Ok(())
}
