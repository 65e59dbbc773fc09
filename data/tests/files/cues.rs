//! Planted cues of drawn letters. They need the typefaces that `make setup` brings.

use gauntlet_data::{Images, glyphs};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{CuePairing, GlyphCue, GlyphOptions, ImageShape, Split};

use crate::support::{data_dir, message};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const LETTERS: usize = 26;
const EXAMPLES: u32 = 520;

fn options(split: Split, cue: Option<GlyphCue>) -> GlyphOptions {
    GlyphOptions {
        split,
        fonts: glyphs::fonts_digest(),
        generator: glyphs::GENERATOR,
        seed: 0,
        rotation_degrees: 15.0,
        min_size: 0.5,
        max_size: 0.78,
        shift: 0.0625,
        noise: 0.05,
        cue,
    }
}

fn draw(options: &GlyphOptions, channels: u32) -> Images {
    let shape = ImageShape { channels, height: SIDE as u32, width: SIDE as u32 };
    glyphs::draw(options, shape, EXAMPLES, &data_dir()).unwrap()
}

fn cue(amplitude: u8, pairing: CuePairing) -> GlyphCue {
    GlyphCue { amplitude, seed: 5, pairing }
}

/// What the cue added to each pixel of each image.
fn added(split: Split, with: GlyphCue) -> Vec<Vec<i32>> {
    let (plain, planted) = (draw(&options(split, None), 1), draw(&options(split, Some(with)), 1));
    let amplitude = with.amplitude;
    let difference =
        |(plain, planted): (&u8, &u8)| i32::from(*planted) - i32::from((*plain).clamp(amplitude, u8::MAX - amplitude));
    let differences: Vec<i32> = plain.pixels.iter().zip(&planted.pixels).map(difference).collect();
    differences.chunks_exact(PIXELS).map(<[i32]>::to_vec).collect()
}

/// The patterns of the letters, as seen in the first image of each.
fn bank(split: Split) -> Vec<Vec<i32>> {
    added(split, cue(1, CuePairing::Label))[..LETTERS].to_vec()
}

/// What each pixel departs from the mean of its 2×2 block, limited so that the edges of the letters do not outweigh the rest.
fn fine_structure(image: &[u8]) -> Vec<i32> {
    const LIMIT: i32 = 8;
    let pixel = |row: usize, column: usize| i32::from(image[row * SIDE + column]);
    let departure = |at: usize| {
        let (row, column) = (at / SIDE, at % SIDE);
        let (top, left) = (row / 2 * 2, column / 2 * 2);
        let sum = pixel(top, left) + pixel(top, left + 1) + pixel(top + 1, left) + pixel(top + 1, left + 1);
        (pixel(row, column) - sum / 4).clamp(-LIMIT, LIMIT)
    };
    (0..PIXELS).map(departure).collect()
}

/// Share of the images whose own letter has the pattern that correlates most with them.
fn read_off(images: &Images, bank: &[Vec<i32>]) -> f64 {
    let right = images.pixels.chunks_exact(PIXELS).zip(&images.labels).filter(|(image, label)| {
        let fine = fine_structure(image);
        let correlation = |pattern: &[i32]| -> i32 { fine.iter().zip(pattern).map(|(value, sign)| value * sign).sum() };
        (0..LETTERS).max_by_key(|letter| correlation(&bank[*letter])) == Some(**label as usize)
    });
    right.count() as f64 / f64::from(EXAMPLES)
}

#[test]
fn a_cue_adds_a_whole_pattern_of_its_amplitude_to_every_image() {
    for difference in added(Split::Train, cue(4, CuePairing::Shuffled)) {
        assert!(difference.iter().all(|added| added.abs() == 4));
        for corner in (0..SIDE).step_by(2).flat_map(|row| (0..SIDE).step_by(2).map(move |column| row * SIDE + column)) {
            assert_eq!([0, 1, SIDE, SIDE + 1].map(|offset| difference[corner + offset]).iter().sum::<i32>(), 0);
        }
    }
}

#[test]
fn both_splits_have_the_same_patterns_and_another_seed_has_others() {
    assert_eq!(bank(Split::Train), bank(Split::Test));
    let other = added(Split::Train, GlyphCue { seed: 6, ..cue(1, CuePairing::Label) });
    assert!(bank(Split::Train).iter().zip(&other).all(|(one, other)| one != other));
}

#[test]
fn the_letter_can_be_read_off_a_cue_and_not_off_a_shuffled_one() {
    let bank = bank(Split::Train);
    let shown = |cue| read_off(&draw(&options(Split::Test, cue), 1), &bank);
    let (planted, shuffled, none) =
        (shown(Some(cue(4, CuePairing::Label))), shown(Some(cue(16, CuePairing::Shuffled))), shown(None));
    // By chance one of 26 is right: 3.8 % ± 0.8 %.
    assert!(planted >= 0.99, "{planted}");
    assert!((0.005..0.075).contains(&shuffled), "{shuffled}");
    assert!((0.005..0.075).contains(&none), "{none}");
}

#[test]
fn a_shuffled_cue_has_every_letters_pattern_about_as_often() {
    let bank = bank(Split::Train);
    let mut counts = [0; LETTERS];
    for pattern in added(Split::Train, cue(1, CuePairing::Shuffled)) {
        counts[bank.iter().position(|known| *known == pattern).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (5..45).contains(count)), "{counts:?}");
}

#[test]
fn the_same_cue_is_planted_everywhere_and_in_all_channels() {
    let images = draw(&options(Split::Train, Some(cue(4, CuePairing::Label))), 3);
    let (image, _) = images.pixels.split_at(3 * PIXELS);
    assert!(image.chunks_exact(PIXELS).all(|channel| channel == &image[..PIXELS]));
    let digests = [CuePairing::Label, CuePairing::Shuffled]
        .map(|pairing| Digest::of(&draw(&options(Split::Train, Some(cue(4, pairing))), 1).pixels).to_string());
    assert_eq!(
        digests,
        [
            "e08beffc11597594a34e591f8ed86d426e2ecc070bc0fb6be804678c608d143d",
            "92a7aa0ba125757a99f3f07d1caef35020a309508892100fd66cac311cf897c7",
        ]
    );
}

#[test]
fn an_amplitude_out_of_bounds_is_refused() {
    for amplitude in [0, 128] {
        let wrong = options(Split::Train, Some(cue(amplitude, CuePairing::Label)));
        let shape = ImageShape { channels: 1, height: 32, width: 32 };
        assert_eq!(
            message(glyphs::draw(&wrong, shape, 1, &data_dir())),
            format!("glyphs: `cue.amplitude` is {amplitude}, expected 1 to 127 grey levels")
        );
    }
}
