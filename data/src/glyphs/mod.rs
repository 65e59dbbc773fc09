//! Capital letters drawn from typefaces: a data set that needs no download, with as many examples as wanted.
//!
//! Example `i` is the letter `i mod 26`. Everything random about it comes from a stream of its own, so that it is the same image however
//! many others are drawn, and the arithmetic is such that every machine draws the same bits.

mod canvas;
mod cue;
mod faces;
mod random;

use std::path::{Path, PathBuf};

use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{DatasetSpec, GlyphCue, GlyphOptions, ImageShape, Split};

use crate::error::DataError;
use crate::images::{DatasetProblem, Images, black};
use crate::subset::{Chosen, choose};
use cue::Cue;
use faces::Face;
use random::Random;

/// Version of the drawing code, raised whenever any image changes, and number of letters; the planner needs them too.
pub use gauntlet_domain::catalogue::{GLYPH_CLASSES as CLASSES, GLYPH_GENERATOR as GENERATOR};

const LARGEST_SIZE: f64 = 4.0;
const LARGEST_SIDE: u32 = 1024;

/// Digest of the list of typefaces, their digests and splits (`data/fonts.lock`) that this build draws from.
pub fn fonts_digest() -> Digest {
    Digest::of(faces::LOCK.as_bytes())
}

/// Why glyphs cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GlyphsProblem {
    /// Planned by another build.
    #[error("they were planned for version {found} of the drawing code, this build has version {GENERATOR}")]
    Generator {
        /// What the spec asks for.
        found: u32,
    },
    /// Planned by another build.
    #[error("they were planned for the typefaces {found}, this build has {expected}", found = found.short(), expected = expected.short())]
    Fonts {
        /// What the spec asks for.
        found: Digest,
        /// What this build has.
        expected: Digest,
    },
    /// A typeface that set-up should have brought.
    #[error("the typeface `{}` is missing: run `make setup`", path.display())]
    MissingFace {
        /// Where it should lie.
        path: PathBuf,
    },
    /// A typeface that cannot be drawn from, although it is the right file.
    #[error("the typeface `{face}` has no outline of `{letter}`")]
    Outline {
        /// Its file name.
        face: String,
        /// The letter.
        letter: char,
    },
    /// An image that is not square, or of two channels.
    #[error("images of {}×{}×{} are wanted, expected squares of 1 or 3 channels and 1 to {LARGEST_SIDE} pixels", shape.channels, shape.height, shape.width)]
    Shape {
        /// What the spec wants.
        shape: ImageShape,
    },
    /// Not enough classes for all letters.
    #[error("{found} classes are wanted, expected {CLASSES}")]
    Classes {
        /// What the spec wants.
        found: u32,
    },
    /// More than the counts per class leave.
    #[error("{expected} examples are wanted, and {found} are kept")]
    TooFew {
        /// What is kept.
        found: u32,
        /// What the spec wants.
        expected: u32,
    },
    /// An option out of bounds.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: f64,
        /// What it should be.
        expected: &'static str,
    },
}

/// Draws the first `examples` images of the split that `options` describe, as u8 \[N,C,H,W\]; three channels are equal.
///
/// Typefaces are read from the folder `fonts` of `data_dir`.
///
/// # Errors
/// Options out of bounds or meant for another build, an image that is no square, and typefaces that are missing or not the locked ones.
pub fn draw(options: &GlyphOptions, shape: ImageShape, examples: u32, data_dir: &Path) -> Result<Images, DataError> {
    let first: Vec<Chosen> =
        (0..examples).map(|index| Chosen { index: index as usize, label: index % CLASSES }).collect();
    draw_chosen(options, shape, &first, data_dir)
}

/// The examples that a spec wants, of which there are as many of each letter as wanted.
pub(crate) fn letters(spec: &DatasetSpec) -> Result<Vec<Chosen>, DataError> {
    if spec.subset.classes.is_none() && spec.classes < CLASSES {
        return Err(GlyphsProblem::Classes { found: spec.classes }.into());
    }
    let of_each = spec.subset.per_class.unwrap_or(spec.examples).min(spec.examples);
    let most = of_each.saturating_mul(CLASSES);
    choose((0..most).map(|index| index % CLASSES), spec).map_err(|problem| match problem {
        DatasetProblem::TooFew { found, expected } => GlyphsProblem::TooFew { found, expected }.into(),
        _ => GlyphsProblem::Classes { found: spec.classes }.into(),
    })
}

/// Draws some examples by their numbers.
pub(crate) fn draw_chosen(
    options: &GlyphOptions,
    shape: ImageShape,
    chosen: &[Chosen],
    data_dir: &Path,
) -> Result<Images, DataError> {
    check_build(options)?;
    check_options(options)?;
    check_shape(shape)?;
    let faces = faces::load(options.split, data_dir)?;
    let cue = options.cue.map(|cue| Cue::new(cue, shape.width as usize));
    let mut pixels = black(chosen.len(), shape)?;
    let image_bytes = (shape.channels * shape.height * shape.width) as usize;
    for (example, image) in chosen.iter().zip(pixels.chunks_exact_mut(image_bytes)) {
        let index = example.index as u32;
        let plane = draw_one(&faces, options, index, shape.width as usize);
        let plane = cue.as_ref().map_or_else(|| plane.clone(), |cue| cue.planted(&plane, options, index));
        image.chunks_exact_mut(plane.len()).for_each(|channel| channel.copy_from_slice(&plane));
    }
    let labels = chosen.iter().map(|example| example.label).collect();
    Ok(Images { pixels, labels, shape })
}

/// Reads the typefaces of both splits from the folder `fonts` of `data_dir`; gives their number.
///
/// # Errors
/// A typeface that is missing or is not the locked one.
pub fn check_fonts(data_dir: &Path) -> Result<usize, DataError> {
    let counts = [Split::Train, Split::Test].map(|split| faces::load(split, data_dir).map(|faces| faces.len()));
    counts.into_iter().sum()
}

/// The image u8 \[H,W\] of an example, before any cue.
fn draw_one(faces: &[Face], options: &GlyphOptions, index: u32, side: usize) -> Vec<u8> {
    let mut random = Random::new(options, index);
    // The order of these lines is part of what an image is.
    let face = &faces[random.below(faces.len())];
    let size = random.uniform(options.min_size, options.max_size) * side as f64;
    let degrees = random.uniform(-options.rotation_degrees, options.rotation_degrees);
    let [right, down] = [(); 2].map(|()| random.uniform(-options.shift, options.shift) * side as f64);
    let letter = &face.letters[(index % CLASSES) as usize];

    let mut values = canvas::draw(letter, canvas::Pose { size, degrees, right, down }, side);
    random.add_noise(&mut values, options.noise);
    values.into_iter().map(|value| (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect()
}

fn check_build(options: &GlyphOptions) -> Result<(), GlyphsProblem> {
    if options.generator != GENERATOR {
        return Err(GlyphsProblem::Generator { found: options.generator });
    }
    let expected = fonts_digest();
    if options.fonts != expected {
        return Err(GlyphsProblem::Fonts { found: options.fonts, expected });
    }
    Ok(())
}

fn check_options(options: &GlyphOptions) -> Result<(), GlyphsProblem> {
    let amplitude = f64::from(options.cue.map_or(1, |cue| cue.amplitude));
    let bounds = [
        ("rotation_degrees", options.rotation_degrees, 0.0..=180.0, "0 to 180"),
        ("min_size", options.min_size, f64::MIN_POSITIVE..=options.max_size, "above 0, and `max_size` at most"),
        ("max_size", options.max_size, options.min_size..=LARGEST_SIZE, "`min_size` to 4"),
        ("shift", options.shift, 0.0..=1.0, "0 to 1"),
        ("noise", options.noise, 0.0..=1.0, "0 to 1"),
        ("cue.amplitude", amplitude, 1.0..=f64::from(GlyphCue::LARGEST), "1 to 127 grey levels"),
    ];
    let outside = bounds.into_iter().find(|(_, found, allowed, _)| !allowed.contains(found));
    outside.map_or(Ok(()), |(option, found, _, expected)| Err(GlyphsProblem::Option { option, found, expected }))
}

fn check_shape(shape: ImageShape) -> Result<(), GlyphsProblem> {
    let square = shape.height == shape.width && (1..=LARGEST_SIDE).contains(&shape.width);
    if square && matches!(shape.channels, 1 | 3) { Ok(()) } else { Err(GlyphsProblem::Shape { shape }) }
}

/// Name of a split in the list of typefaces and in the seeds.
const fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "test",
    }
}
