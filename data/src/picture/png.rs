//! PNG (ISO/IEC 15948).

use std::io::Cursor;

use png::{ColorType, Decoder, DecodingError, Limits, Transformations};

use super::{ImageProblem, Picture, Size};

/// What the decoder may take for itself: rows and chunks, not the image.
const DECODER_BYTES: usize = 1 << 26;
/// Where width and height stand, after the signature, the length and the name of the first chunk.
const SIZE_AT: usize = 16;

/// The size in the first chunk.
pub(super) fn size(bytes: &[u8]) -> Result<Size, ImageProblem> {
    let sides: [u8; 8] = *bytes.get(SIZE_AT..).and_then(<[u8]>::first_chunk).ok_or(ImageProblem::CutShort)?;
    let [a, b, c, d, e, f, g, h] = sides;
    if bytes[SIZE_AT - 4..SIZE_AT] != *b"IHDR" {
        return Err(ImageProblem::Header { reason: "it does not start with IHDR".to_owned() });
    }
    Size::checked(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

/// Decodes the first image of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, ImageProblem> {
    let size = size(bytes)?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(problem)?;
    let (colours, _) = reader.output_color_type();
    let length =
        reader.output_buffer_size().ok_or(ImageProblem::TooLarge { width: size.width, height: size.height })?;
    let mut pixels = vec![0; length];
    reader.next_frame(&mut pixels).map_err(problem)?;
    let (channels, pixels) = match colours {
        ColorType::Grayscale => (1, pixels),
        ColorType::GrayscaleAlpha => (1, pixels.iter().copied().step_by(2).collect()),
        ColorType::Rgb => (3, pixels),
        ColorType::Rgba => (3, pixels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()),
        // `EXPAND` leaves no palette.
        ColorType::Indexed => return Err(ImageProblem::Damaged { reason: "a palette without colours".to_owned() }),
    };
    if pixels.len() != size.width as usize * size.height as usize * channels {
        return Err(ImageProblem::Damaged { reason: format!("{} bytes for {size:?}", pixels.len()) });
    }
    Ok(Picture { size, channels, pixels })
}

fn problem(error: DecodingError) -> ImageProblem {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => ImageProblem::CutShort,
        other => ImageProblem::Damaged { reason: other.to_string() },
    }
}
