//! Random changes of training images.

use gauntlet_domain::experiment::Augmentation;
use tch::{Kind, Tensor};

use crate::random::{Purpose, Stream};

/// Shifts (what enters is black) and mirrors `pixels`, f32 \[n,C,H,W\], each by draws of its own example in this epoch (counted from 0).
///
/// # Errors
/// No memory.
pub fn augment(
    pixels: &Tensor,
    examples: &[i64],
    augmentation: &Augmentation,
    seed: u64,
    epoch: u32,
) -> tch::Result<Tensor> {
    if *augmentation == Augmentation::default() {
        return Ok(pixels.shallow_clone());
    }
    let margin = i64::from(augmentation.shift);
    let size = pixels.size();
    let padded = pixels.f_constant_pad_nd([margin; 4])?;
    let mut shifted = Vec::with_capacity(examples.len());
    let mut mirrored = Vec::with_capacity(examples.len());
    for (row, example) in examples.iter().enumerate() {
        let mut stream = Stream::new(seed, Purpose::Augmentation { epoch, example: *example as u64 });
        let (down, right) = (stream.shift(augmentation.shift), stream.shift(augmentation.shift));
        let image = padded.f_select(0, row as i64)?;
        shifted.push(image.f_narrow(1, margin + down, size[2])?.f_narrow(2, margin + right, size[3])?);
        mirrored.push(augmentation.flip && stream.coin());
    }
    let shifted = Tensor::f_stack(&shifted, 0)?;
    if !augmentation.flip {
        return Ok(shifted);
    }
    let mirrored = Tensor::f_from_slice(&mirrored)?.f_to_device(pixels.device())?.f_view([-1, 1, 1, 1])?;
    shifted.f_flip([3])?.f_where_self(&mirrored.f_to_kind(Kind::Bool)?, &shifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_moves_as_far_as_allowed_and_differently_in_each_epoch() {
        let mut image = vec![0f32; 81];
        image[4 * 9 + 4] = 1.0;
        let images = Tensor::from_slice(&image).view([1, 1, 9, 9]).repeat([40, 1, 1, 1]);
        let examples: Vec<i64> = (0..40).collect();
        let augmentation = Augmentation { shift: 2, flip: true, crop: None };
        let places = |epoch| -> Vec<i64> {
            let moved = augment(&images, &examples, &augmentation, 0, epoch).unwrap();
            assert_eq!(moved.sum(Kind::Float).double_value(&[]), 40.0);
            Vec::try_from(moved.flatten(1, -1).argmax(1, false)).unwrap()
        };
        assert_eq!(places(0), places(0));
        assert_ne!(places(0), places(1));
        assert!(places(0).iter().all(|place| (2..=6).contains(&(place / 9)) && (2..=6).contains(&(place % 9))));
    }
}
