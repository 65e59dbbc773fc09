//! What is wrong with a sweep, in the user's words.

use std::ops::Range;

/// One mistake, with the place where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The field, such as `attack[1].eps`; empty for the file as a whole.
    pub field: String,
    /// Bytes of the sweep file it stands at.
    pub span: Range<usize>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do, where there is something to say.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(super) fn with_optional_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// The same mistake with something to do about it.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Line and column (both from 1; the column in characters) of the mistake in `source`.
    pub fn line_and_column(&self, source: &str) -> (usize, usize) {
        let before = source.get(..self.span.start.min(source.len())).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
