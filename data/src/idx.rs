//! MNIST's IDX format: a magic number, the lengths of the axes, the values; all big-endian, often gzipped.

use std::fmt;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const CHUNK_BYTES: usize = 1 << 16;

/// What an IDX file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdxKind {
    /// u8 \[N,H,W\].
    Images,
    /// u8 \[N\].
    Labels,
}

impl IdxKind {
    const fn axes(self) -> u8 {
        match self {
            Self::Images => 3,
            Self::Labels => 1,
        }
    }

    const fn magic(self) -> [u8; 4] {
        [0, 0, UNSIGNED_BYTE, self.axes()]
    }
}

impl fmt::Display for IdxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images",
            Self::Labels => "labels",
        })
    }
}

/// Lengths of the axes, written `60000×28×28`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axes(pub Vec<u32>);

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&lengths.join("×"))
    }
}

/// Why a file is not in IDX format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdxProblem {
    /// Too short even for a header.
    #[error("cut short: {found} bytes where the header of IDX {kind} alone takes {expected}")]
    ShortHeader {
        /// What was expected.
        kind: IdxKind,
        /// Bytes there.
        found: usize,
        /// Bytes of the header.
        expected: usize,
    },
    /// Another format, another type of values, or another number of axes.
    #[error("starts with the bytes {}; a file of IDX {kind} starts with {} (u8, {} dimensions)", hexadecimal(found), hexadecimal(&kind.magic()), kind.axes())]
    Magic {
        /// What was expected.
        kind: IdxKind,
        /// The first four bytes.
        found: [u8; 4],
    },
    /// An axis of length zero.
    #[error("holds no {kind}: its header says {axes}")]
    Empty {
        /// What was expected.
        kind: IdxKind,
        /// From the header.
        axes: Axes,
    },
    /// More than a file can hold.
    #[error("its header claims {axes} values, more than any file holds")]
    TooLarge {
        /// From the header.
        axes: Axes,
    },
    /// Ends before the last value.
    #[error("cut short: the header says {axes}, which are {expected} bytes, and only {found} follow")]
    Truncated {
        /// From the header.
        axes: Axes,
        /// Bytes after the header, as claimed.
        expected: u64,
        /// Bytes after the header, as found.
        found: u64,
    },
    /// Goes on after the last value.
    #[error("too long: the header says {axes}, which are {expected} bytes, and more follow")]
    Trailing {
        /// From the header.
        axes: Axes,
        /// Bytes after the header, as claimed.
        expected: u64,
    },
    /// Not what gzip writes.
    #[error("its gzip compression is damaged: {reason}")]
    Gzip {
        /// What the decoder says.
        reason: String,
    },
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

/// An IDX file whose header has been read.
pub(crate) struct IdxFile<'bytes> {
    source: Box<dyn Read + 'bytes>,
    /// Lengths of the axes, none of them zero; three for images, one for labels.
    pub(crate) axes: Axes,
    /// Bytes after the header, as claimed.
    length: u64,
}

impl<'bytes> IdxFile<'bytes> {
    /// Reads the header of a file, gzipped or not.
    pub(crate) fn open(bytes: &'bytes [u8], kind: IdxKind) -> Result<Self, IdxProblem> {
        let mut source: Box<dyn Read + 'bytes> =
            if bytes.starts_with(&GZIP_MAGIC) { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        let axes = read_axes(&mut source, kind)?;
        let length = axes.0.iter().try_fold(1_u64, |product, axis| product.checked_mul(u64::from(*axis)));
        let length = length.ok_or_else(|| IdxProblem::TooLarge { axes: axes.clone() })?;
        if length == 0 {
            return Err(IdxProblem::Empty { kind, axes });
        }
        Ok(Self { source, axes, length })
    }

    /// Passes the values to `visit`, chunk by chunk, and checks that they are as many as the header says. No more than that is ever decoded.
    pub(crate) fn read(mut self, mut visit: impl FnMut(&[u8])) -> Result<Axes, IdxProblem> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut found = 0;
        while found < self.length {
            let wanted = CHUNK_BYTES.min(usize::try_from(self.length - found).unwrap_or(CHUNK_BYTES));
            let count = read_some(&mut self.source, &mut chunk[..wanted])?;
            if count == 0 {
                return Err(IdxProblem::Truncated { axes: self.axes, expected: self.length, found });
            }
            visit(&chunk[..count]);
            found += count as u64;
        }
        // The decoder compares checksums when it is asked for more than there is.
        match self.source.read(&mut chunk[..1]) {
            Ok(0) => Ok(self.axes),
            Ok(_) => Err(IdxProblem::Trailing { axes: self.axes, expected: self.length }),
            Err(error) => Err(IdxProblem::Gzip { reason: error.to_string() }),
        }
    }
}

fn read_axes(source: &mut impl Read, kind: IdxKind) -> Result<Axes, IdxProblem> {
    let mut header = [0; 16];
    let expected = 4 + 4 * usize::from(kind.axes());
    let found = fill(source, &mut header[..expected])?;
    let (magic, lengths) = header[..expected].split_at(4);
    if found >= 4 && magic != kind.magic() {
        return Err(IdxProblem::Magic { kind, found: [magic[0], magic[1], magic[2], magic[3]] });
    }
    if found < expected {
        return Err(IdxProblem::ShortHeader { kind, found, expected });
    }
    Ok(Axes(lengths.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect()))
}

/// Reads until `buffer` is full or the source ends; gives the number of bytes read.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, IdxProblem> {
    let mut found = 0;
    while found < buffer.len() {
        match read_some(source, &mut buffer[found..])? {
            0 => break,
            count => found += count,
        }
    }
    Ok(found)
}

/// Reads some bytes; none at the end, also where a gzip stream ends in the middle.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, IdxProblem> {
    match source.read(buffer) {
        Ok(count) => Ok(count),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(IdxProblem::Gzip { reason: error.to_string() }),
    }
}
