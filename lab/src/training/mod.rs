//! Training: objectives, optimisers, augmentation, the loop and its resumable checkpoints.

mod augmentation;
mod batches;
mod inner;
mod objective;
mod optimizer;
mod run;
mod state;

pub use augmentation::augment;
pub use batches::{Batches, Draws};
pub use inner::{Target, craft};
pub use objective::{StepLoss, discrepancy, step_loss};
pub use optimizer::OptimizerState;
pub use run::{Observation, Plan, Training, train};
