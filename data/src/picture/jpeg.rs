//! JPEG (ITU-T T.81).

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{ImageProblem, Picture, Size};

const MARKER: u8 = 0xff;
const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [MARKER, 0xd9];
/// A thousand passes over a small file would decode for minutes; encoders make ten.
const MOST_SCANS: usize = 64;

/// What stands before the first scan.
pub(super) struct Header {
    pub(super) size: Size,
    components: u8,
    /// Where the first scan starts.
    scan: usize,
}

impl Header {
    /// Walks from segment to segment up to the first scan.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ImageProblem> {
        let mut frame = None;
        let mut at = 2;
        loop {
            let &[first, kind] = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(ImageProblem::CutShort)?;
            match (first, kind) {
                // Fill bytes may stand before a marker.
                (MARKER, MARKER) => at += 1,
                (MARKER, START_OF_SCAN) => break,
                // Markers without a segment.
                (MARKER, 0x01 | 0xd0..=0xd7) => at += 2,
                (MARKER, _) => {
                    let length = bytes.get(at + 2..).and_then(<[u8]>::first_chunk).ok_or(ImageProblem::CutShort)?;
                    let length = usize::from(u16::from_be_bytes(*length));
                    let segment = bytes.get(at + 4..at + 2 + length.max(2)).ok_or(ImageProblem::CutShort)?;
                    // All starts of a frame but the codes in between, which are tables.
                    if matches!(kind, 0xc0..=0xcf) && !matches!(kind, 0xc4 | 0xc8 | 0xcc) {
                        frame = Some(frame_of(segment)?);
                    }
                    at += 2 + length.max(2);
                }
                _ => {
                    let reason = format!("no marker at byte {at}");
                    return Err(ImageProblem::Header { reason });
                }
            }
        }
        let (size, components) =
            frame.ok_or_else(|| ImageProblem::Header { reason: "no frame before the first scan".to_owned() })?;
        Ok(Self { size, components, scan: at })
    }
}

/// Size and number of components of a frame header.
fn frame_of(segment: &[u8]) -> Result<(Size, u8), ImageProblem> {
    let &[_precision, high, low, wide, narrow, components] = segment.first_chunk().ok_or(ImageProblem::CutShort)?;
    let (height, width) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([wide, narrow]));
    Ok((Size::checked(width.into(), height.into())?, components))
}

/// Decodes a whole file; one that ends early is refused.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, ImageProblem> {
    let Header { size, components, scan } = Header::read(bytes)?;
    if !bytes[scan..].array_windows().any(|pair| *pair == END_OF_IMAGE) {
        return Err(ImageProblem::CutShort);
    }
    let (channels, colours) = match components {
        1 => (1, ColorSpace::Luma),
        3 | 4 => (3, ColorSpace::RGB),
        _ => return Err(ImageProblem::Header { reason: format!("{components} components") }),
    };
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(colours)
        .jpeg_set_max_scans(MOST_SCANS)
        .set_max_width(size.width as usize)
        .set_max_height(size.height as usize)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(|error| ImageProblem::Damaged { reason: format!("{error:?}") })?;
    if pixels.len() != size.width as usize * size.height as usize * channels {
        return Err(ImageProblem::Damaged { reason: format!("{} bytes for {size:?}", pixels.len()) });
    }
    Ok(Picture { size, channels, pixels })
}
