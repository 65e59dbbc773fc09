//! `[[include]]` and `[[exclude]]`.

use super::names::{AxisNames, Names};
use crate::sweep::field::Field;
use crate::sweep::grid::Rule;
use crate::sweep::table::Table;

/// Reads a rule.
pub(super) fn read<'a>(mut table: Table<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<Rule> {
    let mut axis = |key: &'static str, names: &Names<'a>| {
        table.field(key).map(|field| entries(&field, |entry| names.resolve(entry)))
    };
    let dataset = axis("dataset", &names.datasets);
    let model = axis("backbone", &names.models);
    let init = axis("init", &names.inits);
    let recipe = axis("recipe", &names.recipes);
    let attack = axis("attack", &names.attacks);
    let seed = table.field("seed").map(|field| entries(&field, |entry| resolve_seed(entry, seeds)));
    if table.is_empty() {
        table.report.mistake(&table.at, "the rule names nothing: say for example recipe = \"standard\"");
    }
    let at = table.at.clone();
    table.finish();
    let axes = [dataset, model, init, recipe, seed, attack].map(|axis| axis.map_or(Some(None), |axis| axis.map(Some)));
    let [dataset, model, init, recipe, seed, attack] = axes;
    Some(Rule { at, axes: [dataset?, model?, init?, recipe?, seed?, attack?] })
}

/// Sorted numbers of the entries of an axis.
fn entries<'a>(field: &Field<'a>, resolve: impl Fn(&Field<'a>) -> Option<usize>) -> Option<Vec<usize>> {
    let numbers: Vec<Option<usize>> = field.list_or_one("a value or a list of values")?.iter().map(resolve).collect();
    let mut numbers = numbers.into_iter().collect::<Option<Vec<_>>>()?;
    numbers.sort_unstable();
    Some(numbers)
}

/// The number of the seed that the entry names; a mistake if there is none.
pub(super) fn resolve_seed(entry: &Field<'_>, seeds: &[u64]) -> Option<usize> {
    let seed = entry.integer(0, i64::MAX)?.unsigned_abs();
    let number = seeds.iter().position(|known| *known == seed);
    // Without any known seed the list of seeds itself was wrong, which has been said.
    if number.is_none() && !seeds.is_empty() {
        entry.report.mistake(&entry.at, format!("there is no seed {seed} in this sweep"));
    }
    number
}
