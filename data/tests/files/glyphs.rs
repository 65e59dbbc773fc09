//! Drawn letters. They need the typefaces that `make setup` brings.

use std::path::PathBuf;

use gauntlet_data::{DataError, Images, Places, glyphs, load};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{DatasetSource, Fit, GlyphOptions, ImageShape, Split};

use crate::support::{Folder, data_dir, message, spec};

const GREY: ImageShape = ImageShape { channels: 1, height: 32, width: 32 };
const PIXELS: usize = 32 * 32;

fn options(split: Split) -> GlyphOptions {
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
        cue: None,
    }
}

/// Upright letters of one size in the middle, without noise.
fn plain(split: Split) -> GlyphOptions {
    GlyphOptions { rotation_degrees: 0.0, min_size: 0.7, max_size: 0.7, shift: 0.0, noise: 0.0, ..options(split) }
}

fn draw(options: &GlyphOptions, shape: ImageShape, examples: u32) -> Images {
    glyphs::draw(options, shape, examples, &data_dir()).unwrap()
}

fn refused(options: &GlyphOptions, shape: ImageShape) -> String {
    message(glyphs::draw(options, shape, 1, &data_dir()))
}

#[test]
fn the_same_bits_are_drawn_everywhere() {
    let digest = |split| Digest::of(&draw(&options(split), GREY, 52).pixels).to_string();
    // They change together with `GENERATOR` or with the list of typefaces, never alone.
    assert_eq!(
        [digest(Split::Train), digest(Split::Test)],
        [
            "05534b5067b364cb5975ed27d2b33583ea0f26f2bf2bd62d93adf6d7bc869b43",
            "58f9323918d9cb089710ca2e5edaf8948258318769a51cbfbe325e1bd402a882",
        ]
    );
}

#[test]
fn an_image_does_not_depend_on_how_many_are_drawn() {
    let (few, many) = (draw(&options(Split::Train), GREY, 30), draw(&options(Split::Train), GREY, 100));
    assert_eq!(few.pixels[..], many.pixels[..30 * PIXELS]);
    assert_eq!(few.labels[24..], [24, 25, 0, 1, 2, 3]);
}

#[test]
fn splits_and_seeds_give_other_images() {
    let train = draw(&options(Split::Train), GREY, 26);
    assert_ne!(train, draw(&options(Split::Test), GREY, 26));
    assert_ne!(train, draw(&GlyphOptions { seed: 1, ..options(Split::Train) }, GREY, 26));
    let two = draw(&options(Split::Train), GREY, 52);
    assert_ne!(two.pixels[..26 * PIXELS], two.pixels[26 * PIXELS..], "the second A is not the first");
}

#[test]
fn three_channels_are_the_grey_image_three_times() {
    let (grey, rgb) =
        (draw(&options(Split::Test), GREY, 5), draw(&options(Split::Test), ImageShape { channels: 3, ..GREY }, 5));
    for (grey, rgb) in grey.pixels.chunks(PIXELS).zip(rgb.pixels.chunks(3 * PIXELS)) {
        assert!(rgb.chunks(PIXELS).all(|plane| plane == grey));
    }
}

/// First and last row and column that are not black.
fn extent(image: &[u8]) -> [usize; 4] {
    let lit = |(index, pixel): (usize, &u8)| (*pixel > 8).then_some((index / 32, index % 32));
    let points: Vec<(usize, usize)> = image.iter().enumerate().filter_map(lit).collect();
    let (rows, columns) = (points.iter().map(|point| point.0), points.iter().map(|point| point.1));
    [rows.clone().min(), rows.max(), columns.clone().min(), columns.max()].map(|edge| edge.expect("a letter"))
}

#[test]
fn letters_stand_in_the_middle_upright_and_white_on_black() {
    let drawn = draw(&plain(Split::Train), GREY, 520);
    for (index, image) in drawn.pixels.chunks(PIXELS).enumerate() {
        let [top, bottom, left, right] = extent(image);
        assert!((top + bottom).abs_diff(31) <= 2 && (left + right).abs_diff(31) <= 2, "{index}: {:?}", extent(image));
        assert!(image[0] == 0 && image[PIXELS - 1] == 0, "{index}");
    }
    // Whatever the typeface: L is heavy at the bottom, T and P at the top, and a mirrored or inverted letter would not be.
    let half = |index: usize, top: bool| {
        let image = &drawn.pixels[index * PIXELS..][..PIXELS];
        let (upper, lower) = image.split_at(PIXELS / 2);
        (if top { upper } else { lower }).iter().map(|pixel| u64::from(*pixel)).sum::<u64>()
    };
    for round in 0..20 {
        for (letter, top) in [('L', false), ('T', true), ('P', true), ('F', true), ('A', false)] {
            let index = round * 26 + (letter as usize - 'A' as usize);
            assert!(half(index, top) > half(index, !top), "{letter} of round {round}");
        }
    }
}

#[test]
fn size_shift_and_rotation_stay_within_their_bounds() {
    let upright = draw(&plain(Split::Train), GREY, 260);
    let shifted = draw(&GlyphOptions { shift: 0.0625, ..plain(Split::Train) }, GREY, 260);
    let mut largest = 0;
    for (upright, shifted) in upright.pixels.chunks(PIXELS).zip(shifted.pixels.chunks(PIXELS)) {
        let (from, to) = (extent(upright), extent(shifted));
        let distance = (from[0] + from[1]).abs_diff(to[0] + to[1]).max((from[2] + from[3]).abs_diff(to[2] + to[3]));
        largest = largest.max(distance);
    }
    // In half pixels: two pixels to either side, and a rounding.
    assert!((3..=6).contains(&largest), "{largest}");

    let large = draw(&GlyphOptions { min_size: 1.0, max_size: 1.0, ..plain(Split::Train) }, GREY, 26);
    let height = |images: &Images| {
        let heights = images.pixels.chunks(PIXELS).take(26).map(|image| extent(image)[1] - extent(image)[0]);
        heights.sum::<usize>() as f64
    };
    let ratio = height(&large) / height(&upright);
    assert!((ratio - 1.0 / 0.7).abs() < 0.1, "{ratio}");

    let turned = draw(&GlyphOptions { rotation_degrees: 15.0, ..plain(Split::Train) }, GREY, 26);
    assert_ne!(turned, draw(&plain(Split::Train), GREY, 26));
}

#[test]
fn a_letter_larger_than_the_image_is_cut_off_at_its_edges() {
    let drawn = draw(&GlyphOptions { min_size: 4.0, max_size: 4.0, shift: 1.0, ..options(Split::Test) }, GREY, 260);
    assert_eq!(drawn.pixels.len(), 260 * PIXELS);
}

#[test]
fn noise_has_the_wanted_deviation() {
    let noisy = draw(&GlyphOptions { noise: 0.1, ..plain(Split::Train) }, GREY, 260);
    let clean = draw(&plain(Split::Train), GREY, 260);
    // Where the letter is fully white, only the half below one survives clipping.
    let below = noisy.pixels.iter().zip(&clean.pixels).filter(|(_, clean)| **clean == 255);
    let squares: Vec<f64> = below.map(|(noisy, _)| ((f64::from(*noisy) - 255.0) / 255.0).powi(2)).collect();
    let deviation = (2.0 * squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    assert!((deviation - 0.1).abs() < 0.003, "{deviation}");
}

#[test]
fn options_of_another_build_or_out_of_bounds_are_refused() {
    let train = || options(Split::Train);
    assert_eq!(
        refused(&GlyphOptions { generator: 99, ..train() }, GREY),
        "glyphs: they were planned for version 99 of the drawing code, this build has version 1"
    );
    let expected = glyphs::fonts_digest().short();
    assert_eq!(
        refused(&GlyphOptions { fonts: Digest::of(b""), ..train() }, GREY),
        format!("glyphs: they were planned for the typefaces e3b0c442, this build has {expected}")
    );
    assert_eq!(
        refused(&train(), ImageShape { width: 28, ..GREY }),
        "glyphs: images of 1×32×28 are wanted, expected squares of 1 or 3 channels and 1 to 1024 pixels"
    );
    assert_eq!(
        refused(&train(), ImageShape { channels: 2, ..GREY }),
        "glyphs: images of 2×32×32 are wanted, expected squares of 1 or 3 channels and 1 to 1024 pixels"
    );
    let option = |changed: GlyphOptions| refused(&changed, GREY);
    assert_eq!(option(GlyphOptions { noise: -0.1, ..train() }), "glyphs: `noise` is -0.1, expected 0 to 1");
    assert_eq!(option(GlyphOptions { shift: f64::NAN, ..train() }), "glyphs: `shift` is NaN, expected 0 to 1");
    assert_eq!(
        option(GlyphOptions { min_size: 0.9, ..train() }),
        "glyphs: `min_size` is 0.9, expected above 0, and `max_size` at most"
    );
    assert_eq!(
        option(GlyphOptions { max_size: 40.0, ..train() }),
        "glyphs: `max_size` is 40, expected `min_size` to 4"
    );
    assert_eq!(
        option(GlyphOptions { rotation_degrees: 300.0, ..train() }),
        "glyphs: `rotation_degrees` is 300, expected 0 to 180"
    );
}

#[test]
fn the_typefaces_that_set_up_brings_are_those_that_the_planner_plans_with() {
    assert!(glyphs::check_fonts(&data_dir()).unwrap() > 100);
    assert_eq!(glyphs::fonts_digest(), gauntlet_domain::catalogue::glyph_fonts());
}

#[test]
fn a_split_of_glyphs_is_loaded_like_any_other() {
    let places = Places { data_dir: data_dir(), ..Places::default() };
    let load =
        |classes| load(&spec(DatasetSource::Glyphs(options(Split::Train)), 3, classes, [1, 32, 32], Fit::Pad), &places);
    assert_eq!(load(26).unwrap(), draw(&options(Split::Train), GREY, 3));
    assert_eq!(message(load(10)), "glyphs: 10 classes are wanted, expected 26");
}

#[test]
fn typefaces_that_are_missing_or_others_are_named() {
    let folder = Folder::new();
    let draw =
        |data_dir: PathBuf| -> Result<Images, DataError> { glyphs::draw(&options(Split::Train), GREY, 1, &data_dir) };
    let missing = draw(folder.path("absent")).unwrap_err().to_string();
    assert!(
        missing.starts_with("glyphs: the typeface `") && missing.ends_with("` is missing: run `make setup`"),
        "{missing}"
    );

    std::fs::create_dir(folder.path("fonts")).unwrap();
    for font in std::fs::read_dir(data_dir().join("fonts")).unwrap() {
        folder.file(&format!("fonts/{}", font.unwrap().file_name().display()), b"another font");
    }
    let other = draw(folder.path("")).unwrap_err().to_string();
    assert_eq!(glyphs::check_fonts(&folder.path("")).unwrap_err().to_string(), other);
    assert!(other.contains("is not the file that was planned with: its SHA-256 is "), "{other}");
}
