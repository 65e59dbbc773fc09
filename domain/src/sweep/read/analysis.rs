//! `[[analysis]]`.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::ops::Bound;

use super::names::{AxisNames, required_name};
use super::rule::{self, resolve_seed};
use crate::catalogue::defaults;
use crate::experiment::{AnalysisMethod, Corruption};
use crate::sweep::analysis_section::{Against, AnalysisSection};
use crate::sweep::attack_section::SourceRun;
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::grid::Rule;
use crate::sweep::table::Table;

const MOST_EXAMPLES: u32 = i32::MAX as u32;

/// What `method` can say.
#[derive(Clone, Copy)]
enum Method {
    Similarity,
    Frequency,
    HeatMap,
    Corruptions,
}

const METHODS: [(&str, Method); 4] = [
    ("similarity", Method::Similarity),
    ("frequency", Method::Frequency),
    ("heat-map", Method::HeatMap),
    ("corruptions", Method::Corruptions),
];
const LARGEST_REACH: u32 = 512;

/// Reads an analysis.
pub(super) fn read<'a>(mut table: Table<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<AnalysisSection> {
    let name = required_name(&mut table, "likeness");
    let method = table.required("method", "for example: method = \"similarity\"");
    let method = method.and_then(|field| field.one_of("method", &METHODS));
    let examples = table.optional_count("examples", 1, MOST_EXAMPLES);
    let runs = table.field("runs").map(|field| runs(&field, names, seeds));
    let Some(method) = method else {
        table.accept_all();
        table.finish();
        return None;
    };
    let method = match method {
        Method::Similarity => similarity(&mut table),
        Method::Frequency => frequency(&mut table)?,
        Method::HeatMap => heat_map(&mut table),
        Method::Corruptions => corruptions(&mut table)?,
    };
    let against = match method.compares() {
        true => {
            let help =
                "against = \"start\" for what each run started from, or another run such as { init = \"scratch\" }";
            let field = table.required("against", help)?;
            Some(field.located(against(&field, names, seeds)?))
        }
        false => {
            table.refuse(
                &["against"],
                &format!("is no choice of the method `{}`: it looks at one model", method.name()),
            );
            None
        }
    };
    let at = table.at.clone();
    table.finish();
    let runs = runs.map_or(Some(None), |runs| runs.map(Some));
    Some(AnalysisSection { name: name?, at, method, against, examples, runs: runs? })
}

fn similarity(table: &mut Table<'_>) -> AnalysisMethod {
    let share = NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0)));
    AnalysisMethod::Similarity { threshold: table.number("threshold", defaults::SIMILARITY_THRESHOLD, &share) }
}

fn frequency(table: &mut Table<'_>) -> Option<AnalysisMethod> {
    let read = |entry: &Field<'_>| {
        let radius = entry.number(&NumberRange::of(0.0..))?;
        Some((radius, radius.to_bits()))
    };
    let expected = "a list of radii in cycles per image, such as [4, 16]";
    let radii = different(table, "radii", &defaults::FREQUENCY_RADII, ("radius", expected), read)?;
    Some(AnalysisMethod::Frequency { radii })
}

fn corruptions(table: &mut Table<'_>) -> Option<AnalysisMethod> {
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

fn heat_map(table: &mut Table<'_>) -> AnalysisMethod {
    let above_zero = NumberRange::of((Bound::Excluded(0.0), Bound::Unbounded));
    AnalysisMethod::HeatMap {
        norm: table.number("norm", defaults::HEAT_MAP_NORM, &above_zero),
        reach: table.optional_count("reach", 1, LARGEST_REACH).map_or(defaults::HEAT_MAP_REACH, |reach| reach.value),
    }
}

/// The runs that an analysis is asked of.
fn runs<'a>(field: &Field<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<Rule> {
    let mut table = field.table("a table such as { init = \"pretrained\" }")?;
    table.refuse(&["attack"], "is no axis of an analysis");
    rule::read(table, names, seeds)
}

fn against<'a>(field: &Field<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<Against> {
    let expected = "\"start\", or a table such as { init = \"scratch\" }";
    if let Some(text) = field.value.as_str() {
        return if text == "start" { Some(Against::Start) } else { field.expected(expected) };
    }
    let mut table = field.table(expected)?;
    let init = table.field("init").map(|field| names.inits.resolve(&field));
    let recipe = table.field("recipe").map(|field| names.recipes.resolve(&field));
    let seed = table.field("seed").map(|field| resolve_seed(&field, seeds).map(|number| seeds[number]));
    if table.is_empty() {
        table.report.mistake(&table.at, "the run names nothing: say for example seed = 1");
    }
    table.finish();
    let [init, recipe] = [init, recipe].map(|number| number.map_or(Some(None), |number| number.map(Some)));
    let seed = seed.map_or(Some(None), |seed| seed.map(Some));
    Some(Against::Run(SourceRun { model: None, init: init?, recipe: recipe?, seed: seed? }))
}
