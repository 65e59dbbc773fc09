//! The methods of `[[analysis]]` that attack images.

use std::collections::HashSet;

use super::super::epsilon::epsilon;
use crate::catalogue::defaults;
use crate::experiment::{AnalysisMethod, Ascents, Norm, OtherClasses};
use crate::sweep::field::Field;
use crate::sweep::table::Table;

const MOST_STEPS: u32 = 1_000_000;
const NORMS: [(&str, Norm); 2] = [("linf", Norm::Linf), ("l2", Norm::L2)];

pub(super) fn transfer(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    Some(AnalysisMethod::Transfer { by: ascents(table)?, other_classes: OtherClasses::Same })
}

/// How images are attacked.
fn ascents(table: &mut Table<'_>) -> Option<Ascents> {
    let norm = table.one_of("norm", Norm::Linf, "norm", &NORMS);
    let epsilons = table.required("epsilons", "for example: epsilons = [\"1/255\", \"4/255\"]");
    let epsilons = epsilons.and_then(|field| lengths(&field, norm));
    let steps = table.count("steps", defaults::ANALYSIS_STEPS, 1, MOST_STEPS);
    Some(Ascents { norm, epsilons: epsilons?, steps, step_of_eps: defaults::ANALYSIS_REACH / f64::from(steps) })
}

/// One length in pixel space or a list of them, each once.
fn lengths(field: &Field<'_>, norm: Norm) -> Option<Vec<f64>> {
    let mut seen = HashSet::new();
    let length = |entry: &Field<'_>| {
        let length = epsilon(entry, norm)?;
        if !seen.insert(length.value().to_bits()) {
            entry.report.mistake(&entry.at, format!("the length {length} stands twice in the list"));
            return None;
        }
        Some(length.value())
    };
    let lengths: Vec<Option<f64>> =
        field.list_or_one("a list of lengths such as [\"1/255\", \"4/255\"]")?.iter().map(length).collect();
    lengths.into_iter().collect()
}
