//! The methods of `[[analysis]]` that attack images.

use std::collections::HashSet;

use super::super::attack;
use super::super::epsilon::{LINF_AND_L2, epsilon, length};
use crate::catalogue::defaults;
use crate::experiment::{AnalysisMethod, Ascents, Norm, OtherClasses, UapMethod};
use crate::sweep::attack_section::{AttackTemplate, UapTemplate};
use crate::sweep::field::Field;
use crate::sweep::table::Table;

const MOST_STEPS: u32 = 1_000_000;

pub(super) fn transfer(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    Some(AnalysisMethod::Transfer { by: ascents(table)?, other_classes: OtherClasses::Same })
}

pub(super) fn uap(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    let norm = table.one_of("norm", Norm::Linf, "norm", &LINF_AND_L2);
    let eps = table.required("eps", "for example: eps = \"10/255\"").and_then(|field| epsilon(&field, norm));
    let crafted = attack::uap(table, norm);
    let eps = eps?.value();
    let Some(AttackTemplate::Uap { craft_examples, by, passes, fooling_rate }) = crafted else { return None };
    let by = match by {
        UapTemplate::DeepFool { steps, overshoot, candidates } => {
            let candidates = candidates.map_or(defaults::DEEPFOOL_CANDIDATES, |candidates| candidates.value);
            UapMethod::DeepFool { steps, overshoot, candidates }
        }
        UapTemplate::Gradient { step_size, batch_size } => {
            UapMethod::Gradient { step_size: step_size.resolve(eps), batch_size }
        }
    };
    let craft_examples = craft_examples.map(|count| count.value);
    Some(AnalysisMethod::Uap { norm, eps, by, passes, fooling_rate, craft_examples })
}

pub(super) fn landscape(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    let distances = match table.field("distances") {
        Some(field) => lengths(&field, Norm::Linf, "a distance")?,
        None => defaults::LANDSCAPE_GREY_LEVELS.map(|levels| levels / 255.0).to_vec(),
    };
    Some(AnalysisMethod::Landscape { distances })
}

pub(super) fn saliency(table: &mut Table<'_>) -> AnalysisMethod {
    let steps = table.count("steps", defaults::SALIENCY_STEPS, 1, MOST_STEPS);
    AnalysisMethod::Saliency { steps, other_classes: OtherClasses::Same }
}

pub(super) fn confidence(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    ascents(table).map(|by| AnalysisMethod::Confidence { by })
}

pub(super) fn spectrum(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    ascents(table).map(|by| AnalysisMethod::Spectrum { by })
}

/// How images are attacked.
fn ascents(table: &mut Table<'_>) -> Option<Ascents> {
    let norm = table.one_of("norm", Norm::Linf, "norm", &LINF_AND_L2);
    let epsilons = table.required("epsilons", "for example: epsilons = [\"1/255\", \"4/255\"]");
    let epsilons = epsilons.and_then(|field| lengths(&field, norm, "an ε"));
    let steps = table.count("steps", defaults::ANALYSIS_STEPS, 1, MOST_STEPS);
    Some(Ascents { norm, epsilons: epsilons?, steps, step_of_eps: defaults::ANALYSIS_REACH / f64::from(steps) })
}

/// One length in pixel space or a list of them, each once.
fn lengths(field: &Field<'_>, norm: Norm, what: &str) -> Option<Vec<f64>> {
    let mut seen = HashSet::new();
    let each = |entry: &Field<'_>| {
        let length = length(entry, norm, what)?;
        if !seen.insert(length.value().to_bits()) {
            entry.report.mistake(&entry.at, format!("the length {length} stands twice in the list"));
            return None;
        }
        Some(length.value())
    };
    let lengths: Vec<Option<f64>> =
        field.list_or_one("a list of lengths such as [\"1/255\", \"4/255\"]")?.iter().map(each).collect();
    lengths.into_iter().collect()
}
