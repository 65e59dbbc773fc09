//! What of a decoded image a model sees.

use fast_image_resize::images::{Image, TypedCroppedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, PixelType, ResizeAlg, ResizeOptions, Resizer};
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
        Self { resizer: Resizer::new(), shape, fit }
    }

    /// u8 \[C,H,W\] of the wanted shape.
    pub(crate) fn render(&mut self, picture: Picture, view: View) -> Result<Vec<u8>, ImageProblem> {
        let picture = if self.shape.channels == 1 { to_grey(picture) } else { picture };
        let placement = self.placement(picture.size, view.frame);
        let Placement { target, .. } = placement;
        let resampled = self.resample(&picture, &placement)?;
        let wanted = Size { width: self.shape.width, height: self.shape.height };
        let mut planes = vec![0; (self.shape.channels * wanted.width * wanted.height) as usize];
        let (top, left) = ((wanted.height - target.height) / 2, (wanted.width - target.width) / 2);
        let plane_length = (wanted.width * wanted.height) as usize;
        for (channel, plane) in planes.chunks_exact_mut(plane_length).enumerate() {
            // Grey images are repeated.
            let channel = channel.min(picture.channels - 1);
            let rows = plane.chunks_exact_mut(wanted.width as usize).skip(top as usize);
            let sources = resampled.chunks_exact(target.width as usize * picture.channels);
            for (row, source) in rows.zip(sources) {
                let row = &mut row[left as usize..(left + target.width) as usize];
                let values = source.iter().skip(channel).step_by(picture.channels);
                row.iter_mut().zip(values).for_each(|(pixel, value)| *pixel = *value);
                if view.mirror {
                    row.reverse();
                }
            }
        }
        Ok(planes)
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

    fn resample(&mut self, picture: &Picture, placement: &Placement) -> Result<Vec<u8>, ImageProblem> {
        if picture.channels == 1 {
            resample::<U8>(&mut self.resizer, picture, placement, PixelType::U8)
        } else {
            resample::<U8x3>(&mut self.resizer, picture, placement, PixelType::U8x3)
        }
    }
}

/// u8 \[H,W,C\] of the target's size. Typed, because the library's untyped way compiles the code of every kind of pixel.
fn resample<P: PixelTrait>(
    resizer: &mut Resizer,
    picture: &Picture,
    placement: &Placement,
    kind: PixelType,
) -> Result<Vec<u8>, ImageProblem> {
    let problem = |error: &dyn std::fmt::Display| ImageProblem::Damaged { reason: error.to_string() };
    let Size { width, height } = picture.size;
    let source = TypedImageRef::<P>::from_buffer(width, height, &picture.pixels).map_err(|error| problem(&error))?;
    let mut target = Image::new(placement.target.width, placement.target.height, kind);
    let Some(mut pixels) = target.typed_image_mut::<P>() else {
        return Err(problem(&"the kind of its pixels"));
    };
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
    resizer.resize_typed(&part, &mut pixels, &options).map_err(|error| problem(&error))?;
    Ok(target.into_vec())
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
fn to_grey(picture: Picture) -> Picture {
    if picture.channels == 1 {
        return picture;
    }
    let luma = |&[r, g, b]: &[u8; 3]| {
        let sum = 19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 0x8000;
        (sum >> 16) as u8
    };
    let pixels = picture.pixels.as_chunks().0.iter().map(luma).collect();
    Picture { channels: 1, pixels, ..picture }
}
