//! The phases of a training: the head first where the recipe says so, then what the recipe is about.

use gauntlet_domain::experiment::{Frozen, Length, Objective, Recipe};

/// A stretch of a training with one objective, one set of trained parameters, and a schedule of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phase<'a> {
    /// What is minimised.
    pub objective: &'a Objective,
    /// What is not trained.
    pub frozen: Frozen,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Peak learning rate of the head.
    pub head_learning_rate: f64,
    /// Step of the whole training at which it begins.
    pub first: u32,
    /// Its steps.
    pub steps: u32,
    /// How often each minibatch is shown.
    pub replays: u32,
}

impl Phase<'_> {
    /// The step of the whole training at which it is over.
    pub const fn end(&self) -> u32 {
        self.first.saturating_add(self.steps)
    }
}

/// The phases of a recipe with so many minibatches in an epoch.
pub fn phases(recipe: &Recipe, batches_per_epoch: u32) -> Vec<Phase<'_>> {
    let steps = |length, replays: u32| match length {
        Length::Epochs(epochs) => epochs.saturating_mul(batches_per_epoch).saturating_mul(replays),
        Length::Iterations(steps) => steps,
    };
    let head = recipe.head_first.as_ref().map(|first| Phase {
        objective: &first.objective,
        frozen: Frozen::Backbone,
        learning_rate: first.learning_rate,
        head_learning_rate: first.learning_rate,
        first: 0,
        steps: steps(first.length, 1),
        replays: 1,
    });
    let learning_rate = recipe.optimizer.learning_rate();
    let replays = recipe.objective.replays();
    let whole = Phase {
        objective: &recipe.objective,
        frozen: recipe.frozen,
        learning_rate,
        head_learning_rate: recipe.head_learning_rate.unwrap_or(learning_rate),
        first: head.as_ref().map_or(0, |head| head.steps),
        steps: steps(recipe.length, replays),
        replays,
    };
    head.into_iter().chain([whole]).collect()
}
