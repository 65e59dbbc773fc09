//! The file as a whole.

use toml::de::DeTable;

use super::names::{AxisNames, Names, name_text};
use super::{analysis, attack, dataset, init, model, recipe, rule};
use crate::catalogue::defaults;
use crate::sweep::analysis_section;
use crate::sweep::cascade;
use crate::sweep::check;
use crate::sweep::diagnostic::Diagnostic;
use crate::sweep::field::Field;
use crate::sweep::grid::{self, Rules};
use crate::sweep::place::Place;
use crate::sweep::report::Report;
use crate::sweep::sections::{InitSection, InitStart, Sweep};
use crate::sweep::table::Table;

/// A sweep id is the name, a hyphen and eight digits, and at most 128 characters long.
const LONGEST_NAME: usize = 119;

/// Reads a sweep file; see [`crate::sweep::parse`].
pub(in crate::sweep) fn read(source: &str) -> Result<Sweep, Vec<Diagnostic>> {
    let report = Report::default();
    let (root, errors) = DeTable::parse_recoverable(source);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        report.mistake(&Place { field: String::new(), span }, format!("not TOML: {}", error.message()));
    }
    let sweep = if report.is_empty() { document(root.get_ref(), source, &report) } else { None };
    match sweep {
        Some(sweep) if report.is_empty() => Ok(sweep),
        _ => Err(report.into_diagnostics()),
    }
}

fn document<'a>(root: &'a DeTable<'a>, source: &'a str, report: &'a Report) -> Option<Sweep> {
    let mut table = Table::new(root, Place::default(), report);
    let name = table.required("name", "name = \"my-sweep\"").and_then(|field| sweep_name(&field));
    let description = table.field("description").and_then(|field| field.text("a text")).map(str::to_owned);
    let seeds = table.field("seeds").map_or_else(|| Some(vec![defaults::SEED]), |field| seeds(&field));
    let sections = ["dataset", "model", "init", "recipe", "attack", "analysis"].map(|key| table.sections(key));
    require_sections(&table);
    let [excludes, includes] = ["exclude", "include"].map(|key| table.sections(key));
    table.finish();
    let [datasets, models, inits, recipes, attacks, analyses] = sections;

    let mut names = AxisNames {
        datasets: Names::collect(&datasets, "data set", source),
        models: Names::collect_by(&models, "model", source, model::peeked_name),
        inits: Names::collect(&inits, "init", source),
        recipes: Names::collect(&recipes, "recipe", source),
        attacks: Names::collect(&attacks, "attack", source),
    };
    // Nothing refers to them, and yet each has a name of its own.
    Names::collect(&analyses, "analysis", source);
    if inits.is_empty() {
        names.inits.add("scratch");
    }
    let datasets = each(datasets, |table| dataset::read(table, &names));
    let models = each(models, model::read);
    let inits = if inits.is_empty() { Some(vec![scratch()]) } else { each(inits, |table| init::read(table, &names)) };
    let recipes = each(recipes, recipe::read);
    let empty = Vec::new();
    let known_seeds = seeds.as_ref().unwrap_or(&empty);
    let attacks = each(attacks, |table| attack::read(table, &names, known_seeds));
    let analyses = each(analyses, |table| analysis::read(table, &names, known_seeds));
    let excludes = each(excludes, |table| rule::read(table, &names, known_seeds));
    let includes = each(includes, |table| rule::read(table, &names, known_seeds));

    let mut sweep = Sweep {
        name: name?,
        description,
        seeds: seeds?,
        datasets: datasets?,
        models: models?,
        inits: inits?,
        recipes: recipes?,
        attacks: attacks?,
        analyses: analyses?,
        grid: grid::Grid::default(),
    };
    let rules = Rules { includes: includes?, excludes: excludes? };
    if report.is_empty() && check::inits_lead_somewhere(&sweep, report) {
        sweep.grid = grid::build(&sweep, &rules, report)?;
        check::used_splits_exist(&sweep, report);
        check::sources_are_runs(&sweep, report);
        cascade::can_be_followed(&sweep, report);
        analysis_section::can_be_asked(&sweep, report);
    }
    Some(sweep)
}

/// Reads every section; none if any of them could not be read.
fn each<'a, T>(tables: Vec<Table<'a>>, read: impl Fn(Table<'a>) -> Option<T>) -> Option<Vec<T>> {
    let sections: Vec<Option<T>> = tables.into_iter().map(read).collect();
    sections.into_iter().collect()
}

fn require_sections(table: &Table<'_>) {
    for key in ["dataset", "model", "recipe", "attack"] {
        let example = match key {
            "dataset" => "[[dataset]]\nname = \"glyphs\"",
            "model" => "[[model]]\nbackbone = \"resnet18-w16\"",
            "recipe" => "[[recipe]]\nname = \"standard\"\nmethod = \"standard\"",
            _ => "[[attack]]\nname = \"pgd20\"\nmethod = \"pgd\"\neps = \"8/255\"",
        };
        if table.peek(key).is_none() {
            let at = Place { field: key.to_owned(), span: 0..0 };
            table.report.mistake_with_help(
                &at,
                format!("a sweep needs at least one [[{key}]]"),
                format!("for example:\n{example}"),
            );
        }
    }
}

fn scratch() -> InitSection {
    InitSection { name: "scratch".to_owned(), at: Place::default(), start: InitStart::Scratch }
}

fn sweep_name(field: &Field<'_>) -> Option<String> {
    let name = name_text(field)?;
    if name.len() > LONGEST_NAME {
        return field.expected(&format!("a name of at most {LONGEST_NAME} characters"));
    }
    Some(name.to_owned())
}

fn seeds(field: &Field<'_>) -> Option<Vec<u64>> {
    let expected = "a list of integers of at least 0, such as [0, 1]";
    let mut seen = std::collections::HashSet::new();
    let seeds: Vec<Option<u64>> = field
        .list(expected)?
        .iter()
        .map(|entry| {
            let seed = entry.integer(0, i64::MAX)?.unsigned_abs();
            if !seen.insert(seed) {
                entry.report.mistake(&entry.at, format!("seed {seed} stands twice in the list"));
                return None;
            }
            Some(seed)
        })
        .collect();
    seeds.into_iter().collect()
}
