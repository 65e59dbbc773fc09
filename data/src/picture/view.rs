//! What of a decoded image a model sees.

use std::ops::Range;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use gauntlet_domain::experiment::{Fit, ImageShape};

use super::{ImageProblem, Picture, Size};

/// What of an image is wanted, drawn by whoever draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// Which part.
    pub frame: Frame,
    /// Mirrored left and right.
    pub mirror: bool,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frame {
    /// As the data set's `fit` says.
    #[default]
    Fitted,
    /// With `Fit::Crop`: a cut of the wanted size out of the image of [`resized_size`].
    Cut {
        /// Columns left of it.
        left: u32,
        /// Rows above it.
        top: u32,
    },
    /// A part of the original, resampled to the wanted size.
    Part {
        /// Columns left of it.
        left: u32,
        /// Rows above it.
        top: u32,
        /// Its size.
        size: Size,
    },
}

/// The size of an image whose shorter side was brought to `resize`: the longer one is rounded down, as torchvision does.
pub fn resized_size(size: Size, resize: u32) -> Size {
    let longer = |longer: u32, shorter: u32| {
        let length = u64::from(resize) * u64::from(longer) / u64::from(shorter.max(1));
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    if size.width <= size.height {
        Size { width: resize, height: longer(size.height, size.width) }
    } else {
        Size { width: longer(size.width, size.height), height: resize }
    }
}

/// Renders views; keeps its buffers from one to the next.
pub(crate) struct Renderer {
    resizer: Resizer,
    /// u8 \[H,W,C\].
    resampled: Vec<u8>,
    shape: ImageShape,
    fit: Fit,
}

/// A part of the original in its own pixels, and where in the target it goes.
struct Placement {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// Whether pixels around the part may count at its edges.
    context: bool,
    target: Size,
}

impl Renderer {
    pub(crate) fn new(shape: ImageShape, fit: Fit) -> Self {
        Self { resizer: Resizer::new(), resampled: Vec::new(), shape, fit }
    }

    /// Writes the view, u8 \[C,H,W\] of the wanted shape.
    pub(crate) fn render(&mut self, picture: &Picture, view: View, planes: &mut [u8]) -> Result<(), ImageProblem> {
        let grey = (self.shape.channels == 1 && picture.channels == 3).then(|| to_grey(picture));
        let picture = grey.as_ref().unwrap_or(picture);
        let placement = self.placement(picture.size, view.frame);
        self.resample(picture, &placement)?;
        let Size { width, height } = placement.target;
        if width < self.shape.width || height < self.shape.height {
            planes.fill(0);
        }
        let inside = Inside {
            across: self.shape.width as usize,
            left: (self.shape.width - width) as usize / 2,
            top: (self.shape.height - height) as usize / 2,
            width: width as usize,
            mirror: view.mirror,
        };
        let plane_length = (self.shape.width * self.shape.height) as usize;
        if picture.channels == 3 {
            inside.spread(&self.resampled, planes, plane_length);
        } else {
            let (first, others) = planes.split_at_mut(plane_length);
            inside.copy(&self.resampled, first);
            // Grey images are repeated.
            others.chunks_exact_mut(plane_length).for_each(|other| other.copy_from_slice(first));
        }
        Ok(())
    }

    fn placement(&self, size: Size, frame: Frame) -> Placement {
        let wanted = Size { width: self.shape.width, height: self.shape.height };
        match (frame, self.fit) {
            (Frame::Part { left, top, size }, _) => Placement {
                left: left.into(),
                top: top.into(),
                width: size.width.into(),
                height: size.height.into(),
                context: false,
                target: wanted,
            },
            (Frame::Cut { left, top }, Fit::Crop { resize }) => cut(size, resize, (left, top), wanted),
            (Frame::Fitted, Fit::Crop { resize }) => {
                let resized = resized_size(size, resize);
                let middle = |length: u32, wanted: u32| half_to_even(length.saturating_sub(wanted));
                let corner = (middle(resized.width, wanted.width), middle(resized.height, wanted.height));
                cut(size, resize, corner, wanted)
            }
            (Frame::Fitted | Frame::Cut { .. }, Fit::Resize) => whole(size, wanted),
            (Frame::Fitted | Frame::Cut { .. }, Fit::Pad) => whole(size, inside(size, wanted)),
        }
    }

    fn resample(&mut self, picture: &Picture, placement: &Placement) -> Result<(), ImageProblem> {
        let Size { width, height } = placement.target;
        self.resampled.resize(width as usize * height as usize * picture.channels, 0);
        let Self { resizer, resampled, .. } = self;
        if picture.channels == 1 {
            resample::<U8>(resizer, picture, placement, resampled)
        } else {
            resample::<U8x3>(resizer, picture, placement, resampled)
        }
    }
}

/// Where in a target the lines of an image go.
struct Inside {
    /// Columns of the target.
    across: usize,
    left: usize,
    top: usize,
    width: usize,
    mirror: bool,
}

impl Inside {
    fn line(&self, row: usize) -> Range<usize> {
        let start = (self.top + row) * self.across + self.left;
        start..start + self.width
    }

    /// Of one channel.
    fn copy(&self, source: &[u8], plane: &mut [u8]) {
        for (row, from) in source.chunks_exact(self.width).enumerate() {
            let line = &mut plane[self.line(row)];
            line.copy_from_slice(from);
            if self.mirror {
                line.reverse();
            }
        }
    }

    /// Of three interleaved channels.
    fn spread(&self, source: &[u8], planes: &mut [u8], plane_length: usize) {
        let (red, rest) = planes.split_at_mut(plane_length);
        let (green, blue) = rest.split_at_mut(plane_length);
        for (row, from) in source.chunks_exact(3 * self.width).enumerate() {
            let line = self.line(row);
            let lines = [&mut red[line.clone()], &mut green[line.clone()], &mut blue[line]];
            let [reds, greens, blues] = lines;
            for (((r, g), b), pixel) in reds.iter_mut().zip(&mut *greens).zip(&mut *blues).zip(from.as_chunks().0) {
                [*r, *g, *b] = *pixel;
            }
            if self.mirror {
                [reds, greens, blues].into_iter().for_each(<[u8]>::reverse);
            }
        }
    }
}

/// Writes u8 \[H,W,C\] of the target's size. Typed, because the library's untyped way compiles the code of every kind of pixel.
fn resample<P: PixelTrait>(
    resizer: &mut Resizer,
    picture: &Picture,
    placement: &Placement,
    buffer: &mut [u8],
) -> Result<(), ImageProblem> {
    let problem = |error: &dyn std::fmt::Display| ImageProblem::Damaged { reason: error.to_string() };
    let Size { width, height } = picture.size;
    let source = TypedImageRef::<P>::from_buffer(width, height, &picture.pixels).map_err(|error| problem(&error))?;
    let target = placement.target;
    let mut target = TypedImage::from_buffer(target.width, target.height, buffer).map_err(|error| problem(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let Placement { left, top, width: across, height: down, .. } = *placement;
    // The pixels that may count: all, or those of the part alone.
    let (inside, options) = if placement.context {
        ([0, 0, width, height], options.crop(left, top, across, down))
    } else {
        ([left, top, across, down].map(|length| length as u32), options)
    };
    let [left, top, width, height] = inside;
    let part = TypedCroppedImage::from_ref(&source, left, top, width, height).map_err(|error| problem(&error))?;
    resizer.resize_typed(&part, &mut target, &options).map_err(|error| problem(&error))
}

/// All of an image.
fn whole(size: Size, target: Size) -> Placement {
    let (width, height) = (size.width.into(), size.height.into());
    Placement { left: 0.0, top: 0.0, width, height, context: true, target }
}

/// The cut at `corner` of the resized image, in pixels of the original.
fn cut(size: Size, resize: u32, corner: (u32, u32), wanted: Size) -> Placement {
    let resized = resized_size(size, resize);
    let across = f64::from(size.width) / f64::from(resized.width);
    let down = f64::from(size.height) / f64::from(resized.height);
    let (left, top) = (f64::from(corner.0) * across, f64::from(corner.1) * down);
    Placement {
        left,
        top,
        // A cut at the edge must not leave the image by a rounding.
        width: (f64::from(wanted.width) * across).min(f64::from(size.width) - left),
        height: (f64::from(wanted.height) * down).min(f64::from(size.height) - top),
        context: true,
        target: wanted,
    }
}

/// The size of a whole image inside another; it is never enlarged.
fn inside(size: Size, wanted: Size) -> Size {
    let across = f64::from(wanted.width) / f64::from(size.width);
    let down = f64::from(wanted.height) / f64::from(size.height);
    let scale = across.min(down).min(1.0);
    let length = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most);
    Size { width: length(size.width, wanted.width), height: length(size.height, wanted.height) }
}

/// Half of a number; where it is odd, the even one of the two nearest, as Python rounds.
const fn half_to_even(number: u32) -> u32 {
    number / 2 + (number % 2) * (number / 2 % 2)
}

/// ITU-R 601 luma, in Pillow's fixed point.
fn to_grey(picture: &Picture) -> Picture {
    let luma = |&[r, g, b]: &[u8; 3]| {
        let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000;
        (sum >> 16) as u8
    };
    let pixels = picture.pixels.as_chunks().0.iter().map(luma).collect();
    Picture { size: picture.size, channels: 1, pixels }
}
