//! Where in a sweep file something was said.

use std::ops::{Deref, Range};

use super::diagnostic::Diagnostic;

/// A field of the sweep file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Dotted path, such as `attack[1].eps`; empty for the file as a whole.
    pub field: String,
    /// Bytes of the sweep file.
    pub span: Range<usize>,
}

impl Place {
    /// A mistake at this place.
    pub fn mistake(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { field: self.field.clone(), span: self.span.clone(), message: message.into(), help: None }
    }
}

/// A value of the sweep file with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Place,
}

impl<T> Located<T> {
    /// The same place with a value made of this one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), at: self.at }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
