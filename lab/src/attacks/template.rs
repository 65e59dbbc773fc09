//! The template that every attack runs in.

use std::ops::Range;

use gauntlet_domain::experiment::{AttackConfig, AttackResult};
use tch::Tensor;

use super::arena::{Arena, Rules, Standing};
use super::methods::attack;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::training::Wish;

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
    let heedless = &mut |done| {
        progress(done);
        Wish::GoOn
    };
    evaluate_heeding(evaluation, range, heedless)
}

/// As [`evaluate_range`]; `progress` answers with what it wishes, and [`Wish::Stop`] ends the evaluation between two batches.
///
/// # Errors
/// Those of [`evaluate_range`], and [`LabError::Interrupted`].
pub fn evaluate_heeding(
    evaluation: &Evaluation<'_>,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize) -> Wish,
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
    progress: &mut dyn FnMut(usize) -> Wish,
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
            if done < total && progress(done) == Wish::Stop {
                return Err(LabError::Interrupted);
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
