//! Image files: JPEG and PNG, decoded to bytes.
//!
//! Files are not trusted. What a header claims is compared with [`MOST_PIXELS`] before memory is taken for it, and what is cut short is an error.
//! Colours come as from Pillow's `convert("RGB")`, which torchvision's `ImageFolder` uses: alpha is dropped, CMYK is read by Adobe's convention, and
//! the orientation that EXIF claims is not applied. Of 16-bit PNGs the high byte of each value is kept (Pillow clips grey ones instead).

mod jpeg;
mod png;
mod view;

pub(crate) use view::Renderer;
pub use view::{Frame, View, resized_size};

/// The most pixels an image may have: decoded, 192 MiB of RGB.
pub const MOST_PIXELS: u64 = 1 << 26;
/// The largest file that is read as an image.
pub const MOST_IMAGE_BYTES: u64 = 1 << 28;

const JPEG_MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];
const PNG_MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Why a file is no image that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageProblem {
    /// A name that is none of an image.
    #[error("is not an image: the name of one ends in .jpg, .jpeg or .png")]
    Extension,
    /// Bytes that are none of an image, whatever the name says.
    #[error("is not an image: it starts neither like a JPEG nor like a PNG")]
    Magic,
    /// A header that makes no sense.
    #[error("its header is broken: {reason}")]
    Header {
        /// What is wrong.
        reason: String,
    },
    /// More pixels than are decoded.
    #[error("claims {width}×{height} pixels, more than the {MOST_PIXELS} allowed")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A file of more bytes than are read.
    #[error("has {found} bytes, more than the {MOST_IMAGE_BYTES} allowed for an image")]
    FileTooLarge {
        /// Size of the file.
        found: u64,
    },
    /// Ends before the image does.
    #[error("cut short: the end of the image is missing")]
    CutShort,
    /// Damaged.
    #[error("cannot be decoded: {reason}")]
    Damaged {
        /// What the decoder says.
        reason: String,
    },
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Self, ImageProblem> {
        if bytes.starts_with(&JPEG_MAGIC) {
            Ok(Self::Jpeg)
        } else if bytes.starts_with(&PNG_MAGIC) {
            Ok(Self::Png)
        } else {
            Err(ImageProblem::Magic)
        }
    }
}

/// Width and height of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    fn checked(width: u32, height: u32) -> Result<Self, ImageProblem> {
        if width == 0 || height == 0 {
            return Err(ImageProblem::Header { reason: format!("an image of {width}×{height} pixels") });
        }
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(ImageProblem::TooLarge { width, height });
        }
        Ok(Self { width, height })
    }
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Its size.
    pub(crate) size: Size,
    /// 1 (grey) or 3 (RGB).
    pub(crate) channels: usize,
    /// u8 \[H,W,C\].
    pub(crate) pixels: Vec<u8>,
}

/// Whether a name is one of an image.
pub(crate) fn is_image_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}

/// The size that the header tells, which is not too large.
pub(crate) fn probe(bytes: &[u8]) -> Result<Size, ImageProblem> {
    match Format::of(bytes)? {
        Format::Jpeg => Ok(jpeg::Header::read(bytes)?.size),
        Format::Png => png::size(bytes),
    }
}

/// Decodes a file. The bytes tell the format: ImageNet holds a PNG by the name of a JPEG.
pub(crate) fn decode(bytes: &[u8]) -> Result<Picture, ImageProblem> {
    match Format::of(bytes)? {
        Format::Jpeg => jpeg::decode(bytes),
        Format::Png => png::decode(bytes),
    }
}
