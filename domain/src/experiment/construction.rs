//! Data sets that are made of another one and of what a model sees in it.

use serde::{Deserialize, Serialize};

use super::threat::Norm;

/// Which data set is made: those of Ilyas et al. 2019 (arXiv 1905.02175), in their words.
///
/// Images are f32 in [0,1], and all come from the train split that the model is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "set", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Construction {
    /// D_R of a robust model, D_NR of another one: another image of the split, changed until the model's penultimate features of it are those of the
    /// example, under the example's label. Only what the model uses of the example can be learnt from it.
    ///
    /// Gradient descent on the squared distance of the features, every step of one L2 length, held to [0,1] and to no ball.
    Represented {
        /// Steps, all of which are taken.
        steps: u32,
        /// L2 length of a step, in pixel space.
        step_size: f64,
    },
    /// D_rand: each image changed within a ball towards a class that is drawn for it, and labelled so. What the label goes with is not robust.
    RandomTarget(Descent),
    /// D_det: towards the class that follows its own (the first one follows the last), and labelled so. The robust features go with wrong labels.
    NextTarget(Descent),
}

/// Projected gradient descent on the cross-entropy of a target class, from the image itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descent {
    /// Norm of the ball: L∞ or L2.
    pub norm: Norm,
    /// Its radius, in pixel space.
    pub eps: f64,
    /// Steps, all of which are taken.
    pub steps: u32,
    /// Length of a step in this norm, in pixel space.
    pub step_size: f64,
}

impl Construction {
    /// Gradient steps for each image.
    pub const fn steps(&self) -> u32 {
        match self {
            Self::Represented { steps, .. } => *steps,
            Self::RandomTarget(descent) | Self::NextTarget(descent) => descent.steps,
        }
    }
}
