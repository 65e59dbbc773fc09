//! One value of the sweep file, asked to be of a type.

use std::ops::{Bound, RangeBounds};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Located, Place};
use super::report::{Report, listed, suggest};
use super::table::Table;
use super::words::grouped;

/// A value and its place.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) at: Place,
    pub(super) report: &'a Report,
}

impl<'a> Field<'a> {
    pub(super) fn new(value: &'a Spanned<DeValue<'a>>, path: String, report: &'a Report) -> Self {
        Self { value: value.get_ref(), at: Place { field: path, span: value.span() }, report }
    }

    /// Says that something else was expected here.
    pub(super) fn expected<T>(&self, expected: &str) -> Option<T> {
        self.report.mistake(&self.at, format!("expected {expected}, found {}", describe(self.value)));
        None
    }

    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        Located { value, at: self.at.clone() }
    }

    pub(super) fn text(&self, expected: &str) -> Option<&'a str> {
        self.value.as_str().map_or_else(|| self.expected(expected), Some)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.as_bool().map_or_else(|| self.expected("true or false"), Some)
    }

    /// An integer from `least` to `most`. Where the upper bound is only what can be stored it is not worth a word.
    pub(super) fn integer(&self, least: i64, most: i64) -> Option<i64> {
        const MOST: i64 = i32::MAX as i64;
        let expected = match (least, most) {
            (_, MOST..) => format!("an integer of at least {least}"),
            _ => format!("an integer from {least} to {}", grouped(most.unsigned_abs())),
        };
        match self.written_integer() {
            Some(value) if (least..=most).contains(&value) => Some(value),
            _ => self.expected(&expected),
        }
    }

    fn written_integer(&self) -> Option<i64> {
        self.value.as_integer().and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok())
    }

    /// The number if it is an integer of at least 0 that can be stored; nothing is said otherwise.
    pub(super) fn unsigned(&self) -> Option<u32> {
        self.written_integer().and_then(|value| u32::try_from(value).ok())
    }

    pub(super) fn count(&self, least: u32, most: u32) -> Option<u32> {
        self.integer(least.into(), most.into()).and_then(|value| u32::try_from(value).ok())
    }

    /// A finite number, written as an integer or a float.
    fn finite(&self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse::<f64>().ok(),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    pub(super) fn number(&self, range: &NumberRange) -> Option<f64> {
        // Without the addition, −0.0 would be another identity than 0.0.
        let number = self.finite().map(|number| number + 0.0).filter(|number| range.contains(number));
        number.map_or_else(|| self.expected(&range.expected()), Some)
    }

    /// One of some names.
    pub(super) fn one_of<T: Copy>(&self, what: &str, choices: &[(&'a str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let Some(text) = self.value.as_str() else { return self.expected(&format!("one of {}", listed(&names))) };
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let message = format!("unknown {what} `{}`", shortened(text));
            self.report.push(self.at.mistake(message).with_optional_help(suggest(text, "available", &names)));
        }
        found
    }

    pub(super) fn table(&self, expected: &str) -> Option<Table<'a>> {
        let table: Option<&'a DeTable<'a>> = self.value.as_table();
        match table {
            Some(table) => Some(Table::new(table, self.at.clone(), self.report)),
            None => self.expected(expected),
        }
    }

    /// The entries of a non-empty list.
    pub(super) fn list(&self, expected: &str) -> Option<Vec<Field<'a>>> {
        let Some(array) = self.value.as_array() else { return self.expected(expected) };
        if array.is_empty() {
            self.report.mistake(&self.at, format!("expected {expected}, found an empty list"));
            return None;
        }
        let entry = |(index, value)| Field::new(value, format!("{}[{index}]", self.at.field), self.report);
        Some(array.iter().enumerate().map(entry).collect())
    }

    /// The entries of a non-empty list, or the one value that stands in its place.
    pub(super) fn list_or_one(&self, expected: &str) -> Option<Vec<Field<'a>>> {
        if self.value.is_array() { self.list(expected) } else { Some(vec![self.clone()]) }
    }
}

/// A range of numbers, with the words for it.
pub(super) struct NumberRange {
    low: Bound<f64>,
    high: Bound<f64>,
}

impl NumberRange {
    pub(super) fn of(range: impl RangeBounds<f64>) -> Self {
        Self { low: range.start_bound().cloned(), high: range.end_bound().cloned() }
    }

    pub(super) const fn above_zero() -> Self {
        Self { low: Bound::Excluded(0.0), high: Bound::Unbounded }
    }

    fn contains(&self, number: &f64) -> bool {
        (self.low, self.high).contains(number)
    }

    fn expected(&self) -> String {
        let low = match self.low {
            Bound::Included(low) => format!(" of at least {low}"),
            Bound::Excluded(low) => format!(" above {low}"),
            Bound::Unbounded => String::new(),
        };
        let high = match self.high {
            Bound::Included(high) => format!("at most {high}"),
            Bound::Excluded(high) => format!("below {high}"),
            Bound::Unbounded => String::new(),
        };
        let and = if low.is_empty() || high.is_empty() { "" } else { " and " };
        format!("a number{low}{and}{high}")
    }
}

/// A value in a few words.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", shortened(text)),
        DeValue::Integer(integer) => shortened(&integer.to_string()),
        DeValue::Float(float) => shortened(float.as_str()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => format!("the date {datetime}"),
        DeValue::Array(array) if array.is_empty() => "an empty list".to_owned(),
        DeValue::Array(array) => format!("a list of {}", array.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// At most forty characters of a text, on one line.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}
