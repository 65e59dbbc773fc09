//! Training: objectives, optimisers, augmentation, the loop and its resumable checkpoints.

mod augmentation;
mod inner;
mod learner;
pub mod losses;
mod objective;
mod optimizer;
mod phases;
mod run;
mod state;

pub use augmentation::augment;
pub use inner::{Draws, Target, craft};
pub use learner::{Branch, Learner};
pub use objective::{Pass, Shown, Step, StepLoss};
pub use optimizer::OptimizerState;
pub use phases::{Phase, phases};
pub use run::{Observation, Plan, Training, train};
