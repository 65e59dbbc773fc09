//! The methods of `[[analysis]]` that show images, as they are or changed.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::ops::Bound;

use crate::catalogue::defaults;
use crate::experiment::{AnalysisMethod, Corruption};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::table::Table;

const LARGEST_REACH: u32 = 512;

pub(super) fn similarity(table: &mut Table<'_>) -> AnalysisMethod {
    let share = NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0)));
    AnalysisMethod::Similarity { threshold: table.number("threshold", defaults::SIMILARITY_THRESHOLD, &share) }
}

pub(super) fn frequency(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    let read = |entry: &Field<'_>| {
        let radius = entry.number(&NumberRange::of(0.0..))?;
        Some((radius, radius.to_bits()))
    };
    let expected = "a list of radii in cycles per image, such as [4, 16]";
    let radii = different(table, "radii", &defaults::FREQUENCY_RADII, ("radius", expected), read)?;
    Some(AnalysisMethod::Frequency { radii })
}

pub(super) fn corruptions(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    let names = Corruption::ALL.map(|corruption| (corruption.name(), corruption));
    let kind = |entry: &Field<'_>| entry.one_of("corruption", &names).map(|corruption| (corruption, corruption));
    let severity = |entry: &Field<'_>| entry.count(1, Corruption::MOST_SEVERE).map(|severity| (severity, severity));
    let expected = "a list of corruptions, such as [\"fog\", \"motion_blur\"]";
    let kinds = different(table, "kinds", &defaults::CORRUPTION_KINDS, ("corruption", expected), kind);
    let expected = "a list of severities, such as [1, 3, 5]";
    let severities = different(table, "severities", &defaults::CORRUPTION_SEVERITIES, ("severity", expected), severity);
    Some(AnalysisMethod::Corruptions { kinds: kinds?, severities: severities? })
}

/// A list whose entries are all different, or the default; `read` gives an entry and what tells it from others.
fn different<T: Clone + Display, K: Hash + Eq>(
    table: &mut Table<'_>,
    key: &'static str,
    default: &[T],
    (what, expected): (&str, &str),
    read: impl Fn(&Field<'_>) -> Option<(T, K)>,
) -> Option<Vec<T>> {
    let Some(field) = table.field(key) else { return Some(default.to_vec()) };
    let mut seen = HashSet::new();
    let once = |entry: &Field<'_>| {
        let (value, identity) = read(entry)?;
        if !seen.insert(identity) {
            entry.report.mistake(&entry.at, format!("the {what} {value} stands twice in the list"));
            return None;
        }
        Some(value)
    };
    let values: Vec<Option<T>> = field.list_or_one(expected)?.iter().map(once).collect();
    values.into_iter().collect()
}

pub(super) fn heat_map(table: &mut Table<'_>) -> AnalysisMethod {
    let above_zero = NumberRange::of((Bound::Excluded(0.0), Bound::Unbounded));
    AnalysisMethod::HeatMap {
        norm: table.number("norm", defaults::HEAT_MAP_NORM, &above_zero),
        reach: table.optional_count("reach", 1, LARGEST_REACH).map_or(defaults::HEAT_MAP_REACH, |reach| reach.value),
    }
}
