//! The template that every attack runs in.

use std::ops::Range;

use gauntlet_domain::adaptive::narrow_enough;
use gauntlet_domain::experiment::{AttackConfig, AttackResult, EVALUATION_BLOCK};
use tch::Tensor;

use super::arena::{Arena, Rules, Standing};
use super::methods::attack;
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::training::Wish;

/// An evaluation of a model under one attack.
#[derive(Clone, Copy)]
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

/// A prepared evaluation, attacked a block at a time: what an attack crafts once for all examples is crafted already.
///
/// A block is [`EVALUATION_BLOCK`] consecutive examples, the first of which has a multiple of that as its index. Nothing crosses the border of a
/// block: the result of consecutive blocks is what they [`append`](AttackResult::append) to, to the bit, wherever and whenever each was attacked.
pub struct Blocks<'a> {
    evaluation: Evaluation<'a>,
    attack: Box<dyn Attack + 'a>,
    range: Range<usize>,
}

impl<'a> Blocks<'a> {
    /// The blocks of a range of the examples.
    ///
    /// # Errors
    /// A range that is empty, ends beyond the examples, or does not consist of whole blocks but for the end of the last one; an attack that does not
    /// fit; a part of the examples under an attack that crafts once for all of them.
    pub fn new(evaluation: Evaluation<'a>, range: Range<usize>) -> Result<Self, LabError> {
        let (block, total) = (EVALUATION_BLOCK as usize, evaluation.examples.len());
        let Range { start, end } = range;
        if range.is_empty() || end > total {
            return Err(LabError::Spec(format!("examples {start} to {end} of {total} cannot be attacked")));
        }
        if !start.is_multiple_of(block) || !(end == total || end.is_multiple_of(block)) {
            let problem = format!("examples {start} to {end} of {total} are no whole blocks of {block}");
            return Err(LabError::Spec(problem));
        }
        let method = &evaluation.attack.method;
        if range.len() < total && !method.can_be_split() {
            return Err(LabError::Spec(format!("`{}` crafts for all examples and cannot be split", method.name())));
        }
        if range.len() < total && !evaluation.attack.can_be_split() {
            return Err(LabError::Spec("an evaluation that may stop early cannot be split".to_owned()));
        }
        Ok(Self { attack: attack(method, &evaluation)?, evaluation, range })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.range.len().div_ceil(EVALUATION_BLOCK as usize)
    }

    /// Whether the first so many of them, which came to this, are all that is evaluated: because there are no more, or because the attack's
    /// `stop_at_interval` asks for no more.
    pub fn suffice(&self, blocks: usize, result: Option<&AttackResult>) -> bool {
        let enough = |result: &AttackResult| {
            let (robust, examples) = (result.outcomes.robust_correct(), result.outcomes.examples());
            let narrow = |width| narrow_enough(robust as u64, examples as u64, width);
            self.evaluation.attack.stop_at_interval.is_some_and(narrow)
        };
        blocks >= self.count() || result.is_some_and(enough)
    }

    /// Examples in the first so many of them.
    pub fn examples_before(&self, blocks: usize) -> usize {
        blocks.saturating_mul(EVALUATION_BLOCK as usize).min(self.range.len())
    }

    /// Attacks block number `number`, counted from 0; `progress` hears how many examples of the range are done and answers with what it wishes:
    /// [`Wish::Stop`] ends the block between two batches.
    ///
    /// # Errors
    /// There is no such block; a model whose output is not finite; no memory; [`LabError::Interrupted`].
    pub fn attack(&self, number: usize, progress: &mut dyn FnMut(usize) -> Wish) -> Result<Evaluated, LabError> {
        let [before, after] = [number, number + 1].map(|blocks| self.examples_before(blocks));
        let block = self.range.start + before..self.range.start + after;
        if block.is_empty() {
            return Err(LabError::Defect(format!("there is no block {number} of {}", self.count())));
        }
        run(&self.evaluation, self.attack.as_ref(), block, &mut |done| progress(before + done))
    }
}

/// Attacks every example, whatever `stop_at_interval` says; `progress` hears how many are done.
///
/// # Errors
/// A model whose output is not finite; no memory.
pub fn evaluate(evaluation: &Evaluation<'_>, progress: &mut dyn FnMut(usize)) -> Result<Evaluated, LabError> {
    evaluate_range(evaluation, 0..evaluation.examples.len(), progress)
}

/// Attacks the [`Blocks`] of a range of indices; `progress` hears how many of its examples are done.
///
/// Results of ranges that follow each other [`append`](AttackResult::append) to that of the whole, to the bit.
///
/// # Errors
/// As [`Blocks::new`]; a model whose output is not finite; no memory.
pub fn evaluate_range(
    evaluation: &Evaluation<'_>,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluated, LabError> {
    let blocks = Blocks::new(*evaluation, range)?;
    let heedless = &mut |done| {
        progress(done);
        Wish::GoOn
    };
    let mut whole = blocks.attack(0, heedless)?;
    for number in 1..blocks.count() {
        whole.append(blocks.attack(number, heedless)?)?;
    }
    Ok(whole)
}

impl Evaluated {
    /// Adds what an evaluation of the examples that follow came to.
    fn append(&mut self, next: Self) -> Result<(), LabError> {
        self.result.append(next.result);
        self.images = match (self.images.take(), next.images) {
            (Some(images), Some(more)) => Some(Tensor::f_cat(&[images, more], 0)?),
            _ => None,
        };
        Ok(())
    }
}

/// Lets an attack meet the examples of a block.
pub(super) fn run(
    evaluation: &Evaluation<'_>,
    attack: &dyn Attack,
    block: Range<usize>,
    progress: &mut dyn FnMut(usize) -> Wish,
) -> Result<Evaluated, LabError> {
    let Evaluation { examples, batch_size, .. } = *evaluation;
    let (start, total) = (block.start, block.len());
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
