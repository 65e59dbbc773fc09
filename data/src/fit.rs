//! Bringing images to the wanted size and number of channels.
//!
//! Resampling is written out here rather than taken from a library because it must give the same bits on every machine: only the four
//! basic operations and rounding are used, in one order.

use std::path::Path;

use gauntlet_domain::experiment::{Fit, ImageShape};

use crate::error::{DataError, InFile};
use crate::images::{DatasetProblem, black};

/// Images u8 \[N,C,H,W\] of the shape `found` as images of the shape `wanted`; grey ones are repeated where three channels are wanted.
pub(crate) fn fit(
    pixels: Vec<u8>,
    found: ImageShape,
    wanted: ImageShape,
    fit: Fit,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    if found == wanted {
        return Ok(pixels);
    }
    let plane = Plane { height: found.height as usize, width: found.width as usize };
    let target = Plane { height: wanted.height as usize, width: wanted.width as usize };
    let filter = match fit {
        Fit::Pad => Filter::Pad(Border::around(found, wanted).in_file(path)?),
        Fit::Crop { .. } => return Err(DatasetProblem::CropOfTensors).in_file(path),
        Fit::Resize => {
            Filter::Resize { rows: taps(plane.height, target.height), columns: taps(plane.width, target.width) }
        }
    };
    let planes = pixels.len() / plane.pixels().max(1);
    // Three equal planes of an image follow each other where there was one.
    let copies = (wanted.channels / found.channels) as usize;
    let mut fitted = black(planes / found.channels as usize, wanted)?;
    let sources = pixels.chunks_exact(plane.pixels());
    for (source, targets) in sources.zip(fitted.chunks_exact_mut(copies * target.pixels())) {
        let (first, others) = targets.split_at_mut(target.pixels());
        filter.apply(source, plane, first, target);
        others.chunks_exact_mut(target.pixels()).for_each(|other| other.copy_from_slice(first));
    }
    Ok(fitted)
}

#[derive(Clone, Copy)]
struct Plane {
    height: usize,
    width: usize,
}

impl Plane {
    const fn pixels(self) -> usize {
        self.height * self.width
    }
}

enum Filter {
    Pad(Border),
    Resize { rows: Vec<Taps>, columns: Vec<Taps> },
}

impl Filter {
    fn apply(&self, source: &[u8], plane: Plane, target: &mut [u8], wanted: Plane) {
        match self {
            Self::Pad(border) => border.copy(source, plane, target, wanted),
            Self::Resize { rows, columns } => resize(source, plane, target, rows, columns),
        }
    }
}

/// Black rows above and columns left of an image; where the border is odd, the larger half lies below and right.
struct Border {
    top: usize,
    left: usize,
}

impl Border {
    fn around(found: ImageShape, wanted: ImageShape) -> Result<Self, DatasetProblem> {
        let rows = wanted.height.checked_sub(found.height);
        let columns = wanted.width.checked_sub(found.width);
        match (rows, columns) {
            (Some(rows), Some(columns)) => Ok(Self { top: (rows / 2) as usize, left: (columns / 2) as usize }),
            _ => Err(DatasetProblem::TooLargeToPad {
                height: found.height,
                width: found.width,
                wanted_height: wanted.height,
                wanted_width: wanted.width,
            }),
        }
    }

    fn copy(&self, source: &[u8], plane: Plane, target: &mut [u8], wanted: Plane) {
        let rows = target.chunks_exact_mut(wanted.width).skip(self.top);
        for (row, from) in rows.zip(source.chunks_exact(plane.width)) {
            row[self.left..self.left + plane.width].copy_from_slice(from);
        }
    }
}

/// The pixels that make one pixel, and their weights, which sum to one.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

/// A triangle filter, as wide as the scale where it shrinks: pixel centres lie at half-integers, and edges take what is there.
fn taps(source: usize, target: usize) -> Vec<Taps> {
    let scale = source as f64 / target as f64;
    let support = scale.max(1.0);
    let tap = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        // Casting a negative number gives zero.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(source);
        let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - centre) / support).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        Taps { first, weights: weights.into_iter().map(|weight| weight / sum).collect() }
    };
    (0..target).map(tap).collect()
}

/// Columns first, then rows, rounded once at the end.
fn resize(source: &[u8], plane: Plane, target: &mut [u8], rows: &[Taps], columns: &[Taps]) {
    let mut narrowed = Vec::with_capacity(plane.height * columns.len());
    for row in source.chunks_exact(plane.width) {
        narrowed.extend(columns.iter().map(|taps| {
            let pixels = taps.weights.iter().zip(&row[taps.first..]);
            pixels.map(|(weight, pixel)| weight * f64::from(*pixel)).sum::<f64>()
        }));
    }
    for (row, taps) in target.chunks_exact_mut(columns.len()).zip(rows) {
        for (column, pixel) in row.iter_mut().enumerate() {
            let lines = narrowed.chunks_exact(columns.len()).skip(taps.first);
            let sum: f64 = taps.weights.iter().zip(lines).map(|(weight, line)| weight * line[column]).sum();
            *pixel = (sum + 0.5) as u8;
        }
    }
}
