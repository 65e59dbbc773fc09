//! What models have learnt, asked beside their accuracy.
//!
//! * [`similarity`]: how alike two models are, layer by layer; [`moments`]: what it gathers of the layers' activations;
//! * [`frequency`]: what a model makes of the low and the high frequencies of images, and the spectrum of perturbations;
//! * [`heat_map`]: which single frequencies a model errs on.

mod canonical;
pub mod frequency;
pub mod heat_map;
pub mod moments;
mod shown;
pub mod similarity;
