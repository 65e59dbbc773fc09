//! The template that every attack runs in.

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, AttackResult, Norm};
use tch::Tensor;

use super::arena::{Arena, Rules, Standing};
use super::carlini_wagner::CarliniWagner;
use super::deepfool::DeepFool;
use super::fab::Fab;
use super::gradient::{Noise, Pgd};
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
    let config = evaluation.attack;
    let attack = attack(config)?;
    let mut arena = Arena::new(evaluation.model, Rules::new(config, evaluation.seed), evaluation.keep_images);
    let total = evaluation.examples.len();
    let mut standing = Standing::default();
    for (first, count) in batches(total, evaluation.batch_size) {
        standing.extend(arena.enter(&evaluation.examples.range(first, count)?, first as u64)?);
    }
    for number in 0..attack.tries() {
        // Survivors fill whole batches again, however few of each batch the tries before have left.
        let players = std::mem::take(&mut standing);
        for (first, count) in batches(players.len(), evaluation.batch_size) {
            let part = players.part(first, count);
            let rows: Vec<i64> = part.slots.iter().map(|slot| *slot as i64).collect();
            arena.bring(evaluation.examples.select(&rows)?, part, 0)?;
            attack.attempt(&mut arena, number)?;
            standing.extend(arena.withdraw()?);
            let done = share_done(total, (number, attack.tries()), (first + count, players.len()));
            if done < total {
                progress(done);
            }
        }
    }
    progress(total);
    let (table, model_queries) = arena.finish();
    let (outcomes, images) = table.finish()?;
    Ok(Evaluated { result: AttackResult { outcomes, model_queries }, images })
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
fn attack(config: &AttackConfig) -> Result<Box<dyn Attack>, LabError> {
    Ok(match &config.method {
        AttackMethod::Noise { draws } => Box::new(Noise { draws: *draws }),
        AttackMethod::Fgsm => {
            Box::new(Pgd { steps: 1, step_size: config.eps.unwrap_or_default(), random_start: false, restarts: 1 })
        }
        AttackMethod::Pgd { steps, step_size, random_start, restarts } => {
            Box::new(Pgd { steps: *steps, step_size: *step_size, random_start: *random_start, restarts: *restarts })
        }
        AttackMethod::Cw { confidence, steps, learning_rate, initial_const, binary_search_steps } => {
            allow(config, &[Norm::L2], true)?;
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
            allow(config, &[Norm::Linf, Norm::L2], false)?;
            Box::new(DeepFool { steps: *steps, overshoot: *overshoot, candidates: *candidates })
        }
        AttackMethod::Fab { targeted, steps, restarts, target_classes, alpha_max, beta, eta } => {
            allow(config, &Norm::ALL, false)?;
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
        other => return Err(LabError::Spec(format!("the attack `{}` is not available", other.name()))),
    })
}

/// Whether the method knows the norm and, if there is one, can lead to a target. The sweep reader checks the same; this is the last line.
fn allow(config: &AttackConfig, norms: &[Norm], targeted: bool) -> Result<(), LabError> {
    let name = config.method.name();
    if !norms.contains(&config.norm) {
        return Err(LabError::Spec(format!("the attack `{name}` does not know the norm {}", config.norm)));
    }
    if config.target.is_some() && !targeted {
        return Err(LabError::Spec(format!("the attack `{name}` leads to no target class")));
    }
    Ok(())
}
