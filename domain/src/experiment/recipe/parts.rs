//! Which parameters a training moves, and when.

use serde::{Deserialize, Serialize};

use super::{Length, Objective};

/// What keeps its weights. Frozen stages are in eval mode throughout, so their running statistics stay as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frozen {
    /// The first so many stages of the backbone.
    Stages(u32),
    /// Everything but the classification head: a linear probe.
    Backbone,
}

impl Frozen {
    /// Everything is trained.
    pub const NOTHING: Self = Self::Stages(0);
}

/// A first phase that trains the classification head alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadFirst {
    /// How long, before the length of the recipe begins.
    pub length: Length,
    /// Peak learning rate; the schedule has the shape of the recipe's.
    pub learning_rate: f64,
    /// What it minimises.
    pub objective: Objective,
}
