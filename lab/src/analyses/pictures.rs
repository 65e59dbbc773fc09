//! Images that an analysis leaves, to look at.

use gauntlet_domain::experiment::{AnalysisImage, MOST_ANALYSIS_IMAGES, MOST_IMAGE_BYTES};
use tch::{Kind, Tensor};

use crate::error::LabError;

/// How many images of these f32 \[n,C,H,W\] an analysis may leave, whatever they show: a file may be a little larger than its pixels.
pub fn room(pixels: &Tensor) -> usize {
    let bytes: i64 = pixels.size().iter().skip(1).product();
    (MOST_IMAGE_BYTES / 4 * 3 / bytes.max(1) as usize).min(MOST_ANALYSIS_IMAGES)
}

/// An image, f32 \[C,H,W\] in \[0,1\] with one or three channels, rounded to 8 bits.
///
/// # Errors
/// A tensor of another shape.
pub fn picture(name: impl Into<String>, pixels: &Tensor) -> Result<AnalysisImage, LabError> {
    let (color, [height, width]) = match pixels.size().as_slice() {
        [1, height, width] => (png::ColorType::Grayscale, [*height, *width]),
        [3, height, width] => (png::ColorType::Rgb, [*height, *width]),
        other => return Err(LabError::Spec(format!("a tensor of size {other:?} is no image"))),
    };
    let levels = pixels.f_clamp(0.0, 1.0)?.f_mul_scalar(255.0)?.f_round()?.f_to_kind(Kind::Uint8)?;
    // A file holds the channels of a pixel side by side.
    let levels: Vec<u8> = Vec::try_from(levels.f_permute([1, 2, 0])?.f_contiguous()?.f_view([-1])?)?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(color);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&levels)?;
        writer.finish()
    });
    written.map_err(|error| LabError::Defect(format!("an image cannot be encoded: {error}")))?;
    Ok(AnalysisImage { name: name.into(), png: file })
}

/// A perturbation, f32 \[C,H,W\], as an image: none is grey, and its largest value to either side is black or white.
///
/// # Errors
/// As [`picture`].
pub fn amplified(name: impl Into<String>, perturbation: &Tensor) -> Result<AnalysisImage, LabError> {
    let largest = perturbation.f_abs()?.f_max()?.f_double_value(&[])?.max(f32::MIN_POSITIVE.into());
    picture(name, &perturbation.f_div_scalar(2.0 * largest)?.f_add_scalar(0.5)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(image: &AnalysisImage) -> (png::ColorType, [u32; 2], Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(&image.png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.color_type, [info.height, info.width], pixels)
    }

    #[test]
    fn an_image_is_written_pixel_by_pixel_in_whole_levels() {
        let pixels = Tensor::from_slice(&[0.0f32, 0.5, 1.0, 2.0, -1.0, 0.25]).view([3, 1, 2]);
        let image = picture("example-0", &pixels).unwrap();
        assert_eq!(decoded(&image), (png::ColorType::Rgb, [1, 2], vec![0, 255, 0, 128, 255, 64]));
        let grey = picture("grey", &pixels.view([1, 2, 3])).unwrap();
        assert_eq!(decoded(&grey), (png::ColorType::Grayscale, [2, 3], vec![0, 128, 255, 255, 0, 64]));
        assert!(picture("none", &pixels.view([2, 1, 3])).is_err());
    }

    #[test]
    fn a_perturbation_spans_black_to_white() {
        let perturbation = Tensor::from_slice(&[-0.1f32, 0.0, 0.1]).view([1, 1, 3]);
        assert_eq!(decoded(&amplified("uap", &perturbation).unwrap()).2, [0, 128, 255]);
        assert_eq!(decoded(&amplified("none", &(perturbation * 0.0)).unwrap()).2, [128; 3]);
    }

    #[test]
    fn however_large_images_are_those_that_have_room_are_not_too_many() {
        let of_side = |side: i64| Tensor::zeros([2, 3, side, side], (Kind::Float, tch::Device::Cpu));
        assert_eq!((room(&of_side(32)), room(&of_side(1024)), room(&of_side(2048))), (MOST_ANALYSIS_IMAGES, 2, 0));
    }
}
