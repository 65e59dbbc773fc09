//! The template that every attack runs in.

use gauntlet_domain::experiment::{AttackConfig, AttackResult};
use tch::Tensor;

use super::ball::Ball;
use super::methods::{Active, Attack, attack};
use super::oracle::{Judgement, Oracle};
use super::outcomes::Table;
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

/// Attacks every example; `progress` hears how many are done.
///
/// # Errors
/// A model whose output is not finite; no memory.
pub fn evaluate(evaluation: &Evaluation<'_>, progress: &mut dyn FnMut(usize)) -> Result<Evaluated, LabError> {
    let config = evaluation.attack;
    let mut game = Game {
        oracle: Oracle::new(evaluation.model),
        attack: attack(config, evaluation.seed),
        table: Table::new(config.norm, evaluation.keep_images),
        ball: Ball { norm: config.norm, eps: config.eps },
        early_stop: config.early_stop,
    };
    let total = evaluation.examples.len();
    let mut first = 0;
    while first < total {
        let count = evaluation.batch_size.clamp(1, total - first);
        game.play(evaluation.examples, first, count)?;
        first += count;
        progress(first);
    }
    let model_queries = game.oracle.queries();
    let (outcomes, images) = game.table.finish()?;
    Ok(Evaluated { result: AttackResult { outcomes, model_queries }, images })
}

struct Game<'a> {
    oracle: Oracle<'a>,
    attack: Box<dyn Attack>,
    table: Table,
    ball: Ball,
    early_stop: bool,
}

impl Game<'_> {
    /// Attacks the examples `first` … `first + count` − 1.
    fn play(&mut self, examples: &Examples, first: usize, count: usize) -> Result<(), LabError> {
        let batch = examples.range(first, count)?;
        let clean = self.oracle.judge_clean(&batch.pixels, &batch.labels)?;
        self.table.append_clean(&batch, &clean)?;
        let indices = (first as u64..(first + count) as u64).collect();
        let all = Active { originals: batch.pixels, labels: batch.labels, examples: indices };
        let standing = standing(&clean, &all.labels)?;
        let mut active = all.keep(&standing)?;
        for number in 0..self.attack.tries() {
            if active.examples.is_empty() {
                break;
            }
            active = self.attempt(active, number)?;
        }
        Ok(())
    }

    /// One try at the examples; gives back those that withstood it.
    fn attempt(&mut self, mut active: Active, number: u32) -> Result<Active, LabError> {
        let mut points = self.ball.bound(&self.attack.start(&active, number)?, &active.originals)?;
        for _ in 0..self.attack.steps() {
            let pass = self.oracle.pass(&points, &active.labels)?;
            let mut stay = Vec::new();
            if self.early_stop {
                stay = standing(&pass.judgement, &active.labels)?;
                if stay.len() < active.examples.len() {
                    self.note(&active, &points, &pass.judgement)?;
                }
                if stay.is_empty() {
                    return Ok(active.keep(&stay)?);
                }
            }
            let leave = self.early_stop && stay.len() < active.examples.len();
            let used = if leave { stay.len() } else { active.examples.len() };
            let mut gradient = self.oracle.gradient(pass, used)?;
            if leave {
                let rows = Tensor::f_from_slice(&stay)?.f_to_device(points.device())?;
                active = active.keep(&stay)?;
                points = points.f_index_select(0, &rows)?;
                gradient = gradient.f_index_select(0, &rows)?;
            }
            points = self.ball.bound(&self.attack.step(&points, &gradient)?, &active.originals)?;
        }
        let judgement = self.oracle.judge(&points, &active.labels)?;
        self.note(&active, &points, &judgement)?;
        let stay = standing(&judgement, &active.labels)?;
        Ok(active.keep(&stay)?)
    }

    fn note(&mut self, active: &Active, points: &Tensor, judgement: &Judgement) -> Result<(), LabError> {
        self.table.note(&active.examples, points, &active.originals, judgement)
    }
}

/// Rows still classified right.
fn standing(judgement: &Judgement, labels: &Tensor) -> Result<Vec<i64>, LabError> {
    let right: Vec<bool> = Vec::try_from(judgement.predictions.f_eq_tensor(labels)?)?;
    Ok(right.iter().enumerate().filter(|(_, right)| **right).map(|(row, _)| row as i64).collect())
}
