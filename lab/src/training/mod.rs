//! Training: objectives, optimisers, augmentation, the loop and its resumable checkpoints.

mod augmentation;
mod batches;
mod ema;
mod inner;
mod learner;
pub mod losses;
mod objective;
mod optimizer;
mod passes;
mod phases;
mod run;
mod state;
mod step;
mod validation;

pub use augmentation::augment;
pub use batches::{Batches, Changes};
pub use ema::Average;
pub use inner::{Draws, Target, craft};
pub use learner::{Branch, Learner};
pub use objective::{Pass, Shown, Step, StepLoss};
pub use optimizer::{OptimizerState, clip};
pub(crate) use passes::RecomputedPass;
pub use passes::{Passes, Route};
pub use phases::{Phase, phases};
pub use run::{Observation, Plan, Training, Wish, train};
pub use step::{Gradients, gradients};
pub use validation::Parts;
