//! Typefaces: which ones there are, and the outlines of their letters.

use std::path::Path;

use ab_glyph::{Font, FontVec, Outline};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::Split;

use super::{GlyphsProblem, split_name};
use crate::error::DataError;
use crate::file::read_verified;

/// One face a line: SHA-256, file name, family, split, with two spaces between them.
pub(super) const LOCK: &str = include_str!("../../fonts.lock");
const FONTS_DIR: &str = "fonts";

/// A typeface.
pub(super) struct Face {
    /// Outlines of A–Z.
    pub(super) letters: Vec<Letter>,
}

/// The outline of a letter.
pub(super) struct Letter {
    /// In units of the typeface; up is positive.
    pub(super) outline: Outline,
    /// Units of the typeface in one font size.
    pub(super) units_per_em: f32,
}

/// The faces of a split, in the order of the lock.
pub(super) fn load(split: Split, data_dir: &Path) -> Result<Vec<Face>, DataError> {
    let folder = data_dir.join(FONTS_DIR);
    entries().filter(|entry| entry.split == split_name(split)).map(|entry| face(&entry, &folder)).collect()
}

/// A line of the lock.
struct Entry {
    digest: Digest,
    file: &'static str,
    split: &'static str,
}

fn entries() -> impl Iterator<Item = Entry> {
    LOCK.lines().filter(|line| !line.is_empty()).map(|line| {
        let [digest, file, _family, split] = line.split("  ").collect::<Vec<_>>()[..] else {
            panic!("data/fonts.lock, compiled into this program, has the line `{line}`");
        };
        let digest = digest.parse().expect("data/fonts.lock, compiled into this program, has digests");
        Entry { digest, file, split }
    })
}

fn face(entry: &Entry, folder: &Path) -> Result<Face, DataError> {
    let path = folder.join(entry.file);
    let bytes = match read_verified(&path, &entry.digest) {
        Err(DataError::NotFound { path }) => return Err(GlyphsProblem::MissingFace { path }.into()),
        read => read?,
    };
    let no_outline = |letter| GlyphsProblem::Outline { face: entry.file.to_owned(), letter };
    let font = FontVec::try_from_vec(bytes).map_err(|_| no_outline('A'))?;
    let letter = |letter| {
        let outline = font.outline(font.glyph_id(letter)).ok_or_else(|| no_outline(letter))?;
        let units_per_em = font.units_per_em().ok_or_else(|| no_outline(letter))?;
        Ok(Letter { outline, units_per_em })
    };
    Ok(Face { letters: ('A'..='Z').map(letter).collect::<Result<_, GlyphsProblem>>()? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn families(split: &str) -> BTreeSet<&'static str> {
        LOCK.lines().filter(|line| line.ends_with(split)).filter_map(|line| line.split("  ").nth(2)).collect()
    }

    #[test]
    fn the_lock_names_faces_of_both_splits_and_no_family_twice() {
        let (train, test) = (families("  train"), families("  test"));
        assert!(train.len() >= 10 && test.len() >= 4, "{train:?} {test:?}");
        assert_eq!(train.intersection(&test).count(), 0);
        assert_eq!(entries().map(|entry| entry.file).collect::<BTreeSet<_>>().len(), entries().count());
    }
}
