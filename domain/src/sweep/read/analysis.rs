//! `[[analysis]]`.

mod attacks;
mod images;

use super::names::{AxisNames, required_name};
use super::rule::{self, resolve_seed};
use crate::experiment::OtherClasses;
use crate::sweep::analysis_section::{Against, AnalysisSection};
use crate::sweep::attack_section::SourceRun;
use crate::sweep::field::Field;
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
    Transfer,
    Uap,
    Landscape,
    Saliency,
    Confidence,
    Spectrum,
}

const METHODS: [(&str, Method); 10] = [
    ("similarity", Method::Similarity),
    ("frequency", Method::Frequency),
    ("heat-map", Method::HeatMap),
    ("corruptions", Method::Corruptions),
    ("transfer", Method::Transfer),
    ("uap", Method::Uap),
    ("landscape", Method::Landscape),
    ("saliency", Method::Saliency),
    ("confidence", Method::Confidence),
    ("spectrum", Method::Spectrum),
];

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
        Method::Similarity => Some(images::similarity(&mut table)),
        Method::Frequency => images::frequency(&mut table),
        Method::HeatMap => Some(images::heat_map(&mut table)),
        Method::Corruptions => images::corruptions(&mut table),
        Method::Transfer => attacks::transfer(&mut table),
        Method::Uap => attacks::uap(&mut table),
        Method::Landscape => attacks::landscape(&mut table),
        Method::Saliency => Some(attacks::saliency(&mut table)),
        Method::Confidence => attacks::confidence(&mut table),
        Method::Spectrum => attacks::spectrum(&mut table),
    };
    let Some(method) = method else {
        // What the other keys are is known all the same.
        let _later = table.field("against");
        table.finish();
        return None;
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
    // A run of the grid has the run's own classes, what a run started from may have others under the same numbers.
    let method = match &against {
        Some(against) if against.value == Against::Start => method.with_other_classes(OtherClasses::Own),
        _ => method,
    };
    let at = table.at.clone();
    table.finish();
    let runs = runs.map_or(Some(None), |runs| runs.map(Some));
    Some(AnalysisSection { name: name?, at, method, against, examples, runs: runs? })
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
