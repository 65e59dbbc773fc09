//! Training: objectives, optimisers, augmentation, the loop and its resumable checkpoints.

mod augmentation;
mod ema;
mod inner;
mod objective;
mod optimizer;
mod passes;
mod run;
mod state;
mod step;
mod validation;

pub use augmentation::augment;
pub use ema::Average;
pub use inner::{Draws, Target, craft};
pub use objective::{StepLoss, discrepancy, step_loss};
pub use optimizer::{OptimizerState, clip};
pub use passes::Passes;
pub use run::{Observation, Plan, Training, Wish, train};
pub use step::{Gradients, gradients};
pub use validation::Parts;
