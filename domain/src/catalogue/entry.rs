//! What the catalogue says of a thing.

use serde::Serialize;

/// A thing that a sweep file can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What the sweep file calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// The keys that set it up.
    pub parameters: Vec<Parameter>,
}

/// A key of the sweep file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// The key; dotted inside a table.
    pub key: &'static str,
    /// Its value where the file says nothing, as the file would write it; none if it must be given.
    pub default: Option<String>,
    /// What it means, in one line.
    pub meaning: &'static str,
}

impl Parameter {
    pub(super) fn new(key: &'static str, default: impl ToString, meaning: &'static str) -> Self {
        Self { key, default: Some(default.to_string()), meaning }
    }

    pub(super) const fn required(key: &'static str, meaning: &'static str) -> Self {
        Self { key, default: None, meaning }
    }
}
