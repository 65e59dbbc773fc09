//! The random stream of one image.
//!
//! Numbers are made from the bits of ChaCha8 here, and logarithm and sine come from the `libm` crate: neither a new version of `rand` nor
//! another C library changes an image.

use std::f64::consts::TAU;

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::GlyphOptions;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{GENERATOR, split_name};

/// The stream of one image.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// Seeded by the SHA-256 of what names the image.
    pub(super) fn new(options: &GlyphOptions, index: u32) -> Self {
        Self::named(&format!("gauntlet glyphs {GENERATOR} seed {} {} {index}", options.seed, split_name(options.split)))
    }

    /// Seeded by the SHA-256 of a name.
    pub(super) fn named(name: &str) -> Self {
        Self(ChaCha8Rng::from_seed(*Digest::of(name.as_bytes()).as_bytes()))
    }

    /// A whole number from 0 to `count` − 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        // For counts as small as these the bias is below 2⁻⁵⁰.
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// A number from `low` to `high`.
    pub(super) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Adds Gaussian noise of this standard deviation (Box and Muller 1958).
    pub(super) fn add_noise(&mut self, values: &mut [f64], deviation: f64) {
        for pair in values.chunks_mut(2) {
            // 1 − u lies above zero, where the logarithm is finite.
            let radius = deviation * libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
            let (sine, cosine) = libm::sincos(TAU * self.unit());
            for (value, direction) in pair.iter_mut().zip([cosine, sine]) {
                *value += radius * direction;
            }
        }
    }

    /// One of 2⁵³ equidistant numbers in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::experiment::Split;

    use super::*;

    fn random(index: u32) -> Random {
        let options = GlyphOptions {
            split: Split::Train,
            fonts: Digest::of(b""),
            generator: GENERATOR,
            seed: 0,
            rotation_degrees: 0.0,
            min_size: 1.0,
            max_size: 1.0,
            shift: 0.0,
            noise: 0.0,
            cue: None,
        };
        Random::new(&options, index)
    }

    #[test]
    fn noise_has_the_mean_and_the_deviation_of_a_gaussian() {
        let mut values = vec![0.0; 100_001];
        random(0).add_noise(&mut values, 0.5);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
        let tail = values.iter().filter(|value| value.abs() > 1.0).count() as f64 / values.len() as f64;
        assert!(
            mean.abs() < 0.005 && (variance - 0.25).abs() < 0.005 && (tail - 0.0455).abs() < 0.003,
            "{mean} {variance} {tail}"
        );
    }

    #[test]
    fn every_choice_is_as_likely_as_another() {
        let mut counts = [0; 7];
        let mut random = random(1);
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    }
}
