//! At which frequencies adversarial perturbations lie, beside random noise of the same length.
//!
//! Energy is the squared magnitude of the two-dimensional DFT, gathered by the distance from frequency zero, rounded to whole cycles per image, as
//! [`frequency`](super::frequency) does it. White noise has at each distance as large a share of its energy as there are frequencies.

use gauntlet_domain::experiment::Ascents;
use tch::{Kind, Tensor};

use super::frequency;
use super::shown::{Progress, indices};
use super::universal::noise;
use crate::attacks::{Ascent, Ball};
use crate::error::LabError;
use crate::examples::Examples;
use crate::models::Model;
use crate::training::Wish;

/// Where perturbations of one radius lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// The radius of the ball, in pixel space.
    pub eps: f64,
    /// What was crafted on the model.
    pub adversarial: Energy,
    /// Random perturbations of length ε, the null reference.
    pub noise: Energy,
}

/// Energy of perturbations by distance from frequency zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Energy {
    /// The distance in whole cycles per image, and the sum over images, averaged over their channels.
    rings: Vec<(u32, f64)>,
}

impl Energy {
    /// The energy of more perturbations, float \[n,C,H,W\], is added.
    ///
    /// # Errors
    /// Images of another size than before; as [`frequency::spectrum`].
    pub fn add(&mut self, perturbations: &Tensor) -> Result<(), LabError> {
        let images = perturbations.size()[0] as f64;
        let energy = |ring: frequency::Ring| (ring.radius, ring.power * f64::from(ring.frequencies) * images);
        let more: Vec<(u32, f64)> = frequency::spectrum(perturbations)?.into_iter().map(energy).collect();
        if self.rings.is_empty() {
            self.rings = more;
            return Ok(());
        }
        let radii = |rings: &[(u32, f64)]| rings.iter().map(|(radius, _)| *radius).collect::<Vec<_>>();
        if radii(&self.rings) != radii(&more) {
            return Err(LabError::Spec("images of several sizes have no spectrum in common".to_owned()));
        }
        self.rings.iter_mut().zip(more).for_each(|((_, sum), (_, energy))| *sum += energy);
        Ok(())
    }

    /// The share of all energy at each distance, nearest first; together 1. Perturbations of nothing have no shares.
    pub fn shares(&self) -> Vec<(u32, f64)> {
        let whole: f64 = self.rings.iter().map(|(_, energy)| energy).sum();
        let rings = self.rings.iter().filter(|_| whole > 0.0);
        rings.map(|(radius, energy)| (*radius, energy / whole)).collect()
    }
}

/// Spectra of adversarial perturbations at each radius, away from the labels, and of noise.
///
/// Every example is attacked, also one that the model gets wrong, and all steps are taken. What is looked at is what is left of a perturbation in an image
/// of \[0,1\], of the noise as well. `go_on` hears how many images of how many were crafted; [`Wish::Stop`] ends it.
///
/// # Errors
/// A model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn spectrum(
    model: &Model,
    examples: &Examples,
    by: &Ascents,
    seed: u64,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<Vec<Spectrum>, LabError> {
    let (count, step) = (examples.len(), batch_size.max(1));
    let none = |eps: &f64| Spectrum { eps: *eps, adversarial: Energy::default(), noise: Energy::default() };
    let mut found: Vec<Spectrum> = by.epsilons.iter().map(none).collect();
    let mut progress = Progress::new((count * found.len()) as u64, go_on)?;
    for first in (0..count).step_by(step) {
        let batch = examples.range(first, step.min(count - first))?;
        let all = indices(first, batch.labels.numel());
        for at in &mut found {
            let ball = Ball { norm: by.norm, eps: at.eps };
            let ascent = Ascent { model, ball, steps: by.steps, step_size: by.step_of_eps * at.eps };
            let added = |images: &Tensor| images.f_to_kind(Kind::Double)?.f_sub(&batch.pixels.f_to_kind(Kind::Double)?);
            at.adversarial.add(&added(&ascent.lead(&batch, &all)?)?)?;
            let noisy = batch.pixels.f_add(&noise(ball, seed, &batch.pixels, first)?)?.f_clamp(0.0, 1.0)?;
            at.noise.add(&added(&noisy)?)?;
            progress.add(all.len())?;
        }
    }
    Ok(found)
}
