//! A table of the sweep file, read key by key; what nobody asked for is a mistake.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field::{Field, NumberRange, shortened};
use super::place::{Located, Place};
use super::report::{Report, suggest};

/// A table that remembers which keys were asked for.
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    pub(super) at: Place,
    pub(super) report: &'a Report,
    known: Vec<&'static str>,
    refused: Vec<&'static str>,
    accepts_all: bool,
}

impl<'a> Table<'a> {
    pub(super) fn new(table: &'a DeTable<'a>, at: Place, report: &'a Report) -> Self {
        Self { table, at, report, known: Vec::new(), refused: Vec::new(), accepts_all: false }
    }

    fn path_of(&self, key: &str) -> String {
        if self.at.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at.field) }
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.table.get_key_value(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The field `key`, if it is there, without making it known.
    pub(super) fn peek(&self, key: &str) -> Option<Field<'a>> {
        self.entry(key).map(|(_, value)| Field::new(value, self.path_of(key), self.report))
    }

    /// Takes every key for known: what they mean depends on something that could not be read.
    pub(super) fn accept_all(&mut self) {
        self.accepts_all = true;
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(field) = self.field(key) else { return Vec::new() };
        let expected = format!("one or more [[{key}]] sections");
        let Some(array) = field.value.as_array() else {
            field.expected::<()>(&expected);
            return Vec::new();
        };
        let entries = array.iter().enumerate();
        entries
            .filter_map(|(index, value)| Field::new(value, format!("{key}[{index}]"), self.report).table(&expected))
            .collect()
    }

    /// The field `key`, if it is there.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entry(key).map(|(_, value)| Field::new(value, self.path_of(key), self.report))
    }

    /// The field `key`; a mistake if it is not there.
    pub(super) fn required(&mut self, key: &'static str, help: &str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            let at = Place { field: self.path_of(key), span: self.at.span.clone() };
            self.report.mistake_with_help(&at, format!("`{key}` is missing"), help);
        }
        field
    }

    /// Says of each of `keys` that is there why it can't be.
    pub(super) fn refuse(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            self.refused.push(key);
            if let Some((name, _)) = self.entry(key) {
                let at = Place { field: self.path_of(key), span: name.span() };
                self.report.mistake(&at, format!("`{key}` {why}"));
            }
        }
    }

    /// Says of each key that nobody asked for that it is unknown.
    pub(super) fn finish(self) {
        if self.accepts_all {
            return;
        }
        let unknown = self.table.keys().filter(|key| {
            let key = key.get_ref().as_ref();
            !self.known.contains(&key) && !self.refused.contains(&key)
        });
        for key in unknown {
            let name = key.get_ref();
            let at = Place { field: self.path_of(&shortened(name)), span: key.span() };
            let message = format!("unknown key `{}`", shortened(name));
            self.report.push(at.mistake(message).with_optional_help(suggest(name, "known keys", &self.known)));
        }
    }

    pub(super) fn count(&mut self, key: &'static str, default: u32, least: u32, most: u32) -> u32 {
        self.field(key).and_then(|field| field.count(least, most)).unwrap_or(default)
    }

    pub(super) fn optional_count(&mut self, key: &'static str, least: u32, most: u32) -> Option<Located<u32>> {
        let field = self.field(key)?;
        field.count(least, most).map(|value| field.located(value))
    }

    pub(super) fn number(&mut self, key: &'static str, default: f64, range: &NumberRange) -> f64 {
        self.field(key).and_then(|field| field.number(range)).unwrap_or(default)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.field(key).and_then(|field| field.boolean()).unwrap_or(default)
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &'static str, default: T, what: &str, choices: &[(&'a str, T)]) -> T {
        self.field(key).and_then(|field| field.one_of(what, choices)).unwrap_or(default)
    }
}
