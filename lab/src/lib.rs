//! The science of Gauntlet: models, training and attacks on libtorch.
//!
//! A task comes in as a [`TaskSpec`](gauntlet_domain::experiment::TaskSpec) with the places of its files, and a checkpoint or a table of outcomes
//! comes out: [`Lab::execute`]. Everything random in between is drawn from streams that the spec's seed names ([`random`]), never from a global
//! generator, so that a result depends on nothing but the spec, the instruction set and the number of threads.
//!
//! * [`models`]: networks under torchvision's parameter names, their preprocessing, their first weights;
//! * [`training`]: objectives, optimisers, the loop, resumable checkpoints;
//! * [`attacks`]: one template that owns the rules of the game, and the attacks that play it;
//! * [`analyses`]: what models have learnt, asked beside their accuracy.
//!
//! This crate must **not** know: the network, a database, an async runtime, or where files come from. Reading data is
//! `gauntlet-data`'s part; a CUDA device is supported by the same code as the CPU, but no test here has run on one.

pub mod analyses;
pub mod attacks;
mod checkpoint;
mod device;
mod error;
mod examples;
mod execute;
pub mod models;
pub mod random;
pub mod training;

pub use device::{DeviceName, InvalidDevice, LIBTORCH_VERSION, Probe, probe};
pub use error::{LabError, WeightsError};
pub use examples::{Batch, Examples};
pub use execute::{Inputs, Lab, Observer, Settings, TaskOutput};

// Tests inside the crate share what tests outside of it use.
#[cfg(test)]
extern crate self as gauntlet_lab;
