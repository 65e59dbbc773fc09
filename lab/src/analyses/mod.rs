//! What models have learnt, asked beside their accuracy.
//!
//! * [`similarity`]: how alike two models are, layer by layer;
//! * [`moments`]: what it gathers of the layers' activations.

mod canonical;
pub mod moments;
pub mod similarity;
