//! Mistakes, collected while a sweep is read.

use std::cell::{Cell, RefCell};

use super::diagnostic::Diagnostic;
use super::place::Place;

/// More would not be read, and a hostile file could ask for millions.
const LIMIT: usize = 100;

/// Beyond so many names no suggestion is looked for: the search is quadratic.
const SUGGESTION_LIMIT: usize = 1_000;

/// The mistakes found so far.
#[derive(Default)]
pub(super) struct Report {
    found: RefCell<Vec<Diagnostic>>,
    left_out: Cell<usize>,
}

impl Report {
    pub(super) fn push(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        if found.len() < LIMIT {
            found.push(diagnostic);
        } else {
            self.left_out.set(self.left_out.get() + 1);
        }
    }

    pub(super) fn mistake(&self, at: &Place, message: impl Into<String>) {
        self.push(at.mistake(message));
    }

    pub(super) fn mistake_with_help(&self, at: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(at.mistake(message).with_help(help));
    }

    /// Whether what is said from here on is only counted.
    pub(super) fn is_full(&self) -> bool {
        self.found.borrow().len() >= LIMIT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All mistakes in the order of the file.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| diagnostic.span.start);
        if self.left_out.get() > 0 {
            found.push(Place::default().mistake(format!("{} more mistakes are left out", self.left_out.get())));
        }
        found
    }
}

/// What a misspelt `name` was probably meant to be.
pub(super) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let near = known.into_iter().take(SUGGESTION_LIMIT).filter(|candidate| {
        let allowed = (candidate.len().max(wanted.len()) / 3).max(1);
        candidate.len().abs_diff(wanted.len()) <= allowed && strsim::damerau_levenshtein(candidate, &wanted) <= allowed
    });
    near.min_by_key(|candidate| strsim::damerau_levenshtein(candidate, &wanted))
}

/// "did you mean `…`?" where something known is close, and the first names of all that is known.
pub(super) fn suggest(name: &str, what: &str, known: &[&str]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    let list = listed(known);
    Some(match closest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    })
}

/// Names in backticks, at most twenty.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let mut list = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        list.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    list
}
