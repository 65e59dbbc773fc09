//! Planted cues: a pattern of high frequency for each letter.

use gauntlet_domain::experiment::{CuePairing, GlyphCue, GlyphOptions};

use super::random::Random;
use super::{CLASSES, split_name};

/// Version of the patterns, raised whenever any of them changes.
const VERSION: u32 = 1;
/// The ways in which two of the four pixels of a block, row by row, are raised and two lowered.
const BLOCKS: [[i8; 4]; 6] =
    [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [-1, 1, 1, -1], [-1, 1, -1, 1], [-1, -1, 1, 1]];

/// The patterns of all letters for images of one size.
pub(super) struct Cue {
    cue: GlyphCue,
    bank: Vec<Vec<i8>>,
}

impl Cue {
    /// Draws the patterns, each from a stream of its own.
    pub(super) fn new(cue: GlyphCue, side: usize) -> Self {
        Self { cue, bank: (0..CLASSES).map(|letter| pattern(cue.seed, letter, side)).collect() }
    }

    /// An image u8 \[H,W\] with the pattern that belongs to the example.
    pub(super) fn planted(&self, plane: &[u8], options: &GlyphOptions, index: u32) -> Vec<u8> {
        let letter = match self.cue.pairing {
            CuePairing::Label => (index % CLASSES) as usize,
            CuePairing::Shuffled => {
                let (cue_seed, seed, split) = (self.cue.seed, options.seed, split_name(options.split));
                let name = format!("gauntlet glyphs cue {VERSION} seed {cue_seed} shuffled {seed} {split} {index}");
                Random::named(&name).below(CLASSES as usize)
            }
        };
        let amplitude = self.cue.amplitude;
        let planted = |(pixel, sign): (&u8, &i8)| {
            let pixel = (*pixel).clamp(amplitude, u8::MAX - amplitude);
            match sign {
                1 => pixel + amplitude,
                -1 => pixel - amplitude,
                _ => pixel,
            }
        };
        plane.iter().zip(&self.bank[letter]).map(planted).collect()
    }
}

/// Signs \[H,W\], block by block; zero in an odd last row and column.
fn pattern(seed: u64, letter: u32, side: usize) -> Vec<i8> {
    let mut random = Random::named(&format!("gauntlet glyphs cue {VERSION} seed {seed} letter {letter}"));
    let mut signs = vec![0; side * side];
    for row in (0..side / 2 * 2).step_by(2) {
        for column in (0..side / 2 * 2).step_by(2) {
            let block = BLOCKS[random.below(BLOCKS.len())];
            let corner = row * side + column;
            for (sign, offset) in block.into_iter().zip([0, 1, side, side + 1]) {
                signs[corner + offset] = sign;
            }
        }
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_a_pattern_sums_to_zero_and_letters_have_different_ones() {
        let bank: Vec<Vec<i8>> = (0..CLASSES).map(|letter| pattern(0, letter, 9)).collect();
        for signs in &bank {
            assert_eq!(signs.iter().filter(|sign| **sign != 0).count(), 64);
            for corner in (0..8).step_by(2).flat_map(|row| (0..8).step_by(2).map(move |column| row * 9 + column)) {
                assert_eq!([0, 1, 9, 10].map(|offset| signs[corner + offset]).iter().sum::<i8>(), 0);
            }
        }
        assert!((1..bank.len()).all(|letter| !bank[..letter].contains(&bank[letter])));
        assert_ne!(bank[0], pattern(1, 0, 9));
    }
}
