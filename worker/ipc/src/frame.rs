//! Lines: how a message comes into bytes and back.

use std::io::{self, BufRead, Read as _, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest line either side sends or accepts, the line break included: 16 MiB.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Longest piece of a bad line that an error shows.
const SHOWN_CHARACTERS: usize = 120;

/// Why a message could not be sent or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe is broken.
    #[error("the pipe between agent and executor failed: {0}")]
    Io(#[from] io::Error),
    /// More than [`MAX_LINE_BYTES`] without a line break.
    #[error("a message of {found} bytes or more: at most {MAX_LINE_BYTES} are allowed")]
    TooLong {
        /// Bytes seen.
        found: usize,
    },
    /// The stream ended in the middle of a line: the other side died while it wrote.
    #[error("the stream ended within a message, after {found} bytes of it")]
    Truncated {
        /// Bytes of the unfinished line.
        found: usize,
    },
    /// Not a message.
    #[error("not a message: {source}, in the line `{line}`")]
    Malformed {
        /// The line, shortened.
        line: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A message that JSON cannot carry, such as a path that is not UTF-8.
    #[error("a message cannot be written: {0}")]
    Unwritable(serde_json::Error),
}

/// A message as one line, its line break included.
///
/// # Errors
/// [`FrameError::Unwritable`], [`FrameError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut line = serde_json::to_vec(message).map_err(FrameError::Unwritable)?;
    line.push(b'\n');
    if line.len() > MAX_LINE_BYTES { Err(FrameError::TooLong { found: line.len() }) } else { Ok(line) }
}

/// The message that one line holds, with or without its line break.
///
/// # Errors
/// [`FrameError::Malformed`], [`FrameError::TooLong`].
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, FrameError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(FrameError::TooLong { found: line.len() });
    }
    serde_json::from_slice(line).map_err(|source| {
        let text = String::from_utf8_lossy(line);
        FrameError::Malformed { line: text.trim_end().chars().take(SHOWN_CHARACTERS).collect(), source }
    })
}

/// Writes one message and flushes it.
///
/// # Errors
/// Those of [`encode`], and [`FrameError::Io`].
pub fn write_message<T: Serialize>(writer: &mut impl Write, message: &T) -> Result<(), FrameError> {
    writer.write_all(&encode(message)?)?;
    writer.flush()?;
    Ok(())
}

/// Reads one message; `None` at the end of the stream.
///
/// # Errors
/// Those of [`decode`], [`FrameError::Truncated`] and [`FrameError::Io`].
pub fn read_message<T: DeserializeOwned>(reader: &mut impl BufRead) -> Result<Option<T>, FrameError> {
    let mut line = Vec::new();
    // One byte more than allowed tells a line that is too long from one that just fits.
    let limit = MAX_LINE_BYTES as u64 + 1;
    reader.take(limit).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() > MAX_LINE_BYTES {
        return Err(FrameError::TooLong { found: line.len() });
    }
    if line.last() != Some(&b'\n') {
        return Err(FrameError::Truncated { found: line.len() });
    }
    decode(&line).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back_one_by_one_until_the_end() {
        let mut stream = Vec::new();
        write_message(&mut stream, &"one\ntwo").unwrap();
        write_message(&mut stream, &"three").unwrap();
        let mut reader = stream.as_slice();
        let mut next = || read_message::<String>(&mut reader).unwrap();
        assert_eq!([next(), next(), next()], [Some("one\ntwo".into()), Some("three".into()), None]);
    }

    #[test]
    fn a_stream_that_ends_within_a_message_says_so() {
        let error = read_message::<String>(&mut b"\"hal".as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "the stream ended within a message, after 4 bytes of it");
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(read_message::<String>(&mut endless), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn what_is_not_a_message_is_shown_shortened() {
        let garbage = format!("{}\n", "print from a library ".repeat(50));
        let error = read_message::<String>(&mut garbage.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("in the line `print from a library") && error.len() < 300, "{error}");
    }
}
