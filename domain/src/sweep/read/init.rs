//! `[[init]]`.

use super::names::{AxisNames, required_name};
use super::{dataset, files, recipe};
use crate::catalogue;
use crate::experiment::CheckpointFormat;
use crate::sweep::FilePlace;
use crate::sweep::field::{Field, shortened};
use crate::sweep::place::Located;
use crate::sweep::report::suggest;
use crate::sweep::sections::{DatasetRef, InitSection, InitStart, Pretrain, RecipeRef};
use crate::sweep::table::Table;

const WAYS: &str = "say one of `scratch = true`, `checkpoint = \"…\"` and `pretrain = { dataset = …, recipe = … }`";

/// Reads an init.
pub(super) fn read<'a>(mut table: Table<'a>, names: &AxisNames<'a>) -> Option<InitSection> {
    let name = required_name(&mut table, "scratch");
    let robust = robust(&mut table);
    let start = start(&mut table, name.as_deref(), names).map(|start| match start {
        InitStart::Checkpoint { file, format, .. } => InitStart::Checkpoint { file, format, robust },
        other => other,
    });
    let at = table.at.clone();
    table.finish();
    Some(InitSection { name: name?, at, start: start? })
}

/// Whether a checkpoint is said to have been trained on perturbed images.
fn robust(table: &mut Table<'_>) -> Option<bool> {
    if table.peek("checkpoint").is_none() {
        let why = "belongs to a `checkpoint`: how this sweep draws or pre-trains weights is known without it";
        table.refuse(&["robust"], why);
        return None;
    }
    table.field("robust").and_then(|field| field.boolean())
}

fn start<'a>(table: &mut Table<'a>, name: Option<&str>, names: &AxisNames<'a>) -> Option<InitStart> {
    let ways: Vec<(&str, Field<'a>)> = ["scratch", "checkpoint", "pretrain"]
        .into_iter()
        .filter_map(|key| table.field(key).map(|field| (key, field)))
        .collect();
    match ways.as_slice() {
        [] if name == Some("scratch") => Some(InitStart::Scratch),
        [] => {
            table.report.mistake_with_help(&table.at, "nothing says where the weights come from", WAYS);
            None
        }
        [("scratch", field)] if field.value.as_bool() == Some(true) => Some(InitStart::Scratch),
        [("scratch", field)] => field.expected("true"),
        [("checkpoint", field)] => checkpoint(field),
        [(_, field)] => pretrain(field, names),
        [(first, _), (second, field), ..] => {
            let message = format!("`{second}` and `{first}` both say where the weights come from");
            table.report.mistake_with_help(&field.at, message, WAYS);
            None
        }
    }
}

fn checkpoint(field: &Field<'_>) -> Option<InitStart> {
    if field.value.is_table() {
        return from_catalogue(field);
    }
    let file = files::path(field)?;
    let extension = field.value.as_str()?.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let format = match extension.as_deref() {
        Some("safetensors") => CheckpointFormat::SafeTensors,
        Some("pth" | "pt") => CheckpointFormat::Pytorch,
        _ => return field.expected("a path that ends in .safetensors, .pth or .pt"),
    };
    Some(InitStart::Checkpoint { file, format, robust: None })
}

fn from_catalogue(field: &Field<'_>) -> Option<InitStart> {
    let mut table = field.table("a path, or { catalogue = … }")?;
    let known = catalogue::checkpoints();
    let names: Vec<(&str, usize)> = known.iter().enumerate().map(|(number, entry)| (entry.name, number)).collect();
    let named = table.required("catalogue", "the name of trained weights that `gauntlet backbones` lists");
    let number = named.and_then(|field| field.one_of("checkpoint", &names));
    table.finish();
    let entry = &known[number?];
    let file = field.located(FilePlace::Data(entry.file.path.clone()));
    Some(InitStart::Checkpoint { file, format: entry.format, robust: None })
}

fn pretrain<'a>(field: &Field<'a>, names: &AxisNames<'a>) -> Option<InitStart> {
    let mut table = field.table("{ dataset = …, recipe = … }")?;
    let dataset = table.required("dataset", "for example: dataset = \"fashion-mnist\"");
    let dataset = dataset.and_then(|field| source(&field, names));
    let recipe = table.required("recipe", "the name of a [[recipe]], or a table with its keys");
    let recipe = recipe.and_then(|field| source_recipe(&field, names));
    let init = table.field("init").map(|field| names.inits.resolve(&field));
    let seed = table.field("seed").map(|field| field.integer(0, i64::MAX));
    table.finish();
    let init = init.map_or(Some(None), |init| init.map(Some))?;
    let seed = seed.map_or(Some(None), |seed| seed.map(|seed| Some(seed.unsigned_abs())))?;
    Some(InitStart::Pretrain(Box::new(Pretrain { dataset: dataset?, recipe: recipe?, init, seed })))
}

fn source<'a>(field: &Field<'a>, names: &AxisNames<'a>) -> Option<Located<DatasetRef>> {
    if field.value.is_table() {
        let own = dataset::read(field.table("a data set")?, names)?;
        return Some(field.located(DatasetRef::Own(Box::new(own))));
    }
    let name = field.text("the name of a data set, or a table with its keys")?;
    if let Some(number) = names.datasets.number(name) {
        return Some(field.located(DatasetRef::Section(number)));
    }
    let own = dataset::from_catalogue(field, name);
    if own.is_none() {
        dataset::unknown(field, name, &names.datasets.in_order());
    }
    own.map(|own| field.located(DatasetRef::Own(Box::new(own))))
}

fn source_recipe<'a>(field: &Field<'a>, names: &AxisNames<'a>) -> Option<Located<RecipeRef>> {
    if field.value.is_table() {
        let own = recipe::read_inline(field.table("a recipe")?)?;
        return Some(field.located(RecipeRef::Own(Box::new(own))));
    }
    let name = field.text("the name of a [[recipe]], or a table with its keys")?;
    let number = names.recipes.number(name);
    if number.is_none() {
        let message = format!("there is no recipe `{}` in this sweep", shortened(name));
        let help = suggest(name, "declared", &names.recipes.in_order());
        field.report.push(field.at.mistake(message).with_optional_help(help));
    }
    number.map(|number| field.located(RecipeRef::Section(number)))
}
