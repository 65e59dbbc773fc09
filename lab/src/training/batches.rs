//! The augmented batches of an epoch, in order.

use std::slice::ChunksExact;
use std::sync::Arc;

use gauntlet_data::{Frame, ImageFolder, Loader, Size, View, Wanted, resized_size};
use gauntlet_domain::experiment::{Augmentation, Fit, RandomCrop};

use super::augmentation::augment;
use crate::error::LabError;
use crate::examples::{Batch, Examples, threads};
use crate::random::{Purpose, Stream};

/// Tries of a random resized crop before it settles for the centre, as in torchvision.
const TRIES: u32 = 10;

/// How the images of an epoch change.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// The changes.
    pub augmentation: &'a Augmentation,
    /// Seed of the run.
    pub seed: u64,
    /// Counted from 0.
    pub epoch: u32,
}

/// Hands out the batches of an epoch; image files are decoded ahead on threads of their own.
pub struct Batches<'a> {
    examples: &'a Examples,
    changes: Changes<'a>,
    /// Where images are in files.
    ahead: Option<Ahead<'a>>,
}

struct Ahead<'a> {
    folder: &'a ImageFolder,
    loader: Loader,
    /// What was not asked for yet.
    rest: ChunksExact<'a, i64>,
}

impl<'a> Batches<'a> {
    /// The batches of this order of examples.
    ///
    /// # Errors
    /// No memory; a random crop of images whose originals are not at hand.
    pub fn new(
        examples: &'a Examples,
        order: &'a [i64],
        batch_size: usize,
        changes: Changes<'a>,
    ) -> Result<Self, LabError> {
        let ahead = examples.files().map(|folder| Ahead {
            folder,
            loader: Loader::new(Arc::clone(folder), threads()),
            rest: order.chunks_exact(batch_size),
        });
        if ahead.is_none() && changes.augmentation.crop.is_some() {
            return Err(LabError::Spec("random crops need a data set of image files".to_owned()));
        }
        Ok(Self { examples, changes, ahead })
    }

    /// The next batch, which is that of `indices`.
    ///
    /// # Errors
    /// A file that is damaged or has changed; no memory.
    pub fn next(&mut self, indices: &[i64]) -> Result<Batch, LabError> {
        let Changes { augmentation, seed, epoch } = self.changes;
        let mut batch = match &mut self.ahead {
            None => self.examples.select(indices)?,
            Some(ahead) => {
                while ahead.loader.has_room()
                    && let Some(batch) = ahead.rest.next()
                {
                    let wanted = |index: &i64| view(self.changes, ahead.folder, *index as usize);
                    ahead.loader.ask(&batch.iter().map(wanted).collect::<Vec<Wanted>>())?;
                }
                let pixels = self.examples.take(&mut ahead.loader, ahead.folder, indices.len())?;
                Batch { pixels, labels: self.examples.labels_of(indices)? }
            }
        };
        if augmentation.crop.is_none() {
            batch.pixels = augment(&batch.pixels, indices, augmentation, seed, epoch)?;
        }
        Ok(batch)
    }
}

/// What an epoch sees of an image file. Without a random crop the whole fitted image, which is changed later.
fn view(changes: Changes<'_>, folder: &ImageFolder, example: usize) -> Wanted {
    let Changes { augmentation, seed, epoch } = changes;
    let Some(crop) = augmentation.crop else { return Wanted { example, view: View::default() } };
    let mut stream = Stream::new(seed, Purpose::Augmentation { epoch, example: example as u64 });
    let shape = folder.shape();
    let wanted = Size { width: shape.width, height: shape.height };
    let frame = match (crop, folder.fit()) {
        (RandomCrop::Plain, Fit::Crop { resize }) => {
            let resized = resized_size(folder.size(example), resize);
            let top = stream.below(resized.height.saturating_sub(wanted.height) + 1);
            let left = stream.below(resized.width.saturating_sub(wanted.width) + 1);
            Frame::Cut { left, top }
        }
        (RandomCrop::Plain, Fit::Resize | Fit::Pad) => Frame::Fitted,
        (RandomCrop::Resized { scale, ratio }, _) => resized_crop(&mut stream, folder.size(example), scale, ratio),
    };
    Wanted { example, view: View { frame, mirror: augmentation.flip && stream.coin() } }
}

/// torchvision's `RandomResizedCrop`: a part of random area and aspect ratio; after ten that do not fit, the largest centre of an allowed ratio.
fn resized_crop(stream: &mut Stream, size: Size, scale: [f64; 2], ratio: [f64; 2]) -> Frame {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let [narrow, wide] = ratio.map(f64::ln);
    for _ in 0..TRIES {
        let area = width * height * stream.between(scale[0], scale[1]);
        let aspect = stream.between(narrow, wide).exp();
        let part = Size {
            width: (area * aspect).sqrt().round_ties_even() as u32,
            height: (area / aspect).sqrt().round_ties_even() as u32,
        };
        if (1..=size.width).contains(&part.width) && (1..=size.height).contains(&part.height) {
            let top = stream.below(size.height - part.height + 1);
            let left = stream.below(size.width - part.width + 1);
            return Frame::Part { left, top, size: part };
        }
    }
    let aspect = width / height;
    let part = if aspect < ratio[0] {
        Size { width: size.width, height: (width / ratio[0]).round_ties_even().clamp(1.0, height) as u32 }
    } else if aspect > ratio[1] {
        Size { width: (height * ratio[1]).round_ties_even().clamp(1.0, width) as u32, height: size.height }
    } else {
        size
    };
    Frame::Part { left: (size.width - part.width) / 2, top: (size.height - part.height) / 2, size: part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resized_crop_lies_in_the_image_and_has_the_areas_and_ratios_that_are_allowed() {
        let size = Size { width: 500, height: 375 };
        let mut areas = Vec::new();
        for example in 0..2_000 {
            let mut stream = Stream::new(0, Purpose::Augmentation { epoch: 0, example });
            let frame = resized_crop(&mut stream, size, [0.08, 1.0], [0.75, 4.0 / 3.0]);
            let Frame::Part { left, top, size: part } = frame else { panic!("{frame:?}") };
            assert!(left + part.width <= 500 && top + part.height <= 375, "{frame:?}");
            let aspect = f64::from(part.width) / f64::from(part.height);
            assert!((0.73..1.37).contains(&aspect), "{frame:?}");
            areas.push(f64::from(part.width * part.height) / (500.0 * 375.0));
        }
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        let smallest = areas.iter().copied().fold(1.0, f64::min);
        // torchvision's mean over 8,000 draws is 0.432: large parts seldom fit.
        assert!((0.07..0.1).contains(&smallest) && (0.415..0.45).contains(&mean), "{smallest} {mean}");
    }

    #[test]
    fn an_image_too_long_for_any_crop_gives_its_centre() {
        let mut stream = Stream::new(0, Purpose::Augmentation { epoch: 0, example: 0 });
        let size = Size { width: 1000, height: 10 };
        let frame = resized_crop(&mut stream, size, [0.9, 1.0], [0.75, 4.0 / 3.0]);
        assert_eq!(frame, Frame::Part { left: 493, top: 0, size: Size { width: 13, height: 10 } });
    }
}
