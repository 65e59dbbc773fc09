//! The bytes of a pickle, taken one after another.

use super::pickle::PickleProblem;

/// A pickle and how far it has been read.
pub(super) struct Bytes<'pickle> {
    all: &'pickle [u8],
    offset: usize,
}

impl<'pickle> Bytes<'pickle> {
    /// From the first byte on.
    pub(super) const fn new(all: &'pickle [u8]) -> Self {
        Self { all, offset: 0 }
    }

    /// How far it has been read.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn byte(&mut self) -> Result<u8, PickleProblem> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'pickle [u8], PickleProblem> {
        let rest = &self.all[self.offset..];
        let taken = rest.get(..length).ok_or(PickleProblem::CutShort { offset: self.all.len() })?;
        self.offset += length;
        Ok(taken)
    }

    /// An unsigned little-endian number of at most eight bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64, PickleProblem> {
        let digits = self.take(bytes)?;
        Ok(digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    }

    pub(super) fn length(&mut self, bytes: usize) -> Result<usize, PickleProblem> {
        let length = self.number(bytes)?;
        usize::try_from(length).map_err(|_| PickleProblem::CutShort { offset: self.all.len() })
    }

    /// The text up to the next line feed.
    pub(super) fn line(&mut self) -> Result<String, PickleProblem> {
        let end = self.all[self.offset..].iter().position(|byte| *byte == b'\n');
        let length = end.ok_or(PickleProblem::CutShort { offset: self.all.len() })?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(line)
    }
}

/// A signed little-endian number of any length, if it fits.
pub(super) fn signed(bytes: &[u8]) -> Option<i64> {
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let negative = bytes.last().is_some_and(|top| *top >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut digits = [fill; 8];
    digits[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(digits);
    (high.iter().all(|byte| *byte == fill) && (value < 0) == negative).then_some(value)
}
