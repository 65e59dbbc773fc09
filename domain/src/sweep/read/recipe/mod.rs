//! `[[recipe]]`.

mod objective;
mod optimizer;
mod schedule;
mod steps;
mod validation;

use super::names::{name_text, required_name};
use crate::catalogue::{PLANNED_RECIPES, defaults};
use crate::experiment::{Augmentation, Length, Optimizer, Recipe};
use crate::sweep::sections::RecipeSection;
use crate::sweep::table::Table;

const TRAINING_KEYS: [&str; 14] = [
    "epochs",
    "iterations",
    "batch_size",
    "micro_batch_size",
    "optimizer",
    "gradient_clip",
    "schedule",
    "precision",
    "ema",
    "validation",
    "augment",
    "inner",
    "beta",
    "coefficient",
];
const MOST_STEPS: u32 = i32::MAX as u32;
const LARGEST_SHIFT: u32 = 1024;

#[derive(Clone, Copy)]
enum Method {
    None,
    Standard,
    PgdAt,
    Dm,
}

const METHODS: [(&str, Method); 4] =
    [("standard", Method::Standard), ("pgd-at", Method::PgdAt), ("dm", Method::Dm), ("none", Method::None)];

/// Reads a recipe.
pub(super) fn read(mut table: Table<'_>) -> Option<RecipeSection> {
    let name = required_name(&mut table, "standard");
    let section = unnamed(table);
    Some(RecipeSection { name: name?, ..section? })
}

/// Reads the recipe of a pre-training, which is named by its method unless it says otherwise.
pub(super) fn read_inline(mut table: Table<'_>) -> Option<RecipeSection> {
    let name = table.field("name").map(|field| name_text(&field).map(str::to_owned));
    let section = unnamed(table)?;
    Some(match name {
        Some(name) => RecipeSection { name: name?, ..section },
        None => section,
    })
}

fn unnamed(mut table: Table<'_>) -> Option<RecipeSection> {
    let method = table.required("method", "for example: method = \"standard\"");
    let method = method.and_then(|field| field.one_of_or_planned("method", &METHODS, &PLANNED_RECIPES));
    let at = table.at.clone();
    let training = match method {
        None => {
            table.accept_all();
            None
        }
        Some(Method::None) => {
            table.refuse(&TRAINING_KEYS, "belongs to a training, and the method `none` trains nothing");
            Some(None)
        }
        Some(method) => training(&mut table, method).map(Some),
    };
    table.finish();
    let training = training?;
    let name = training.as_ref().map_or("none", |training| training.objective.name()).to_owned();
    Some(RecipeSection { name, at, training })
}

fn training(table: &mut Table<'_>, method: Method) -> Option<Recipe> {
    let length = length(table);
    let batch_size = table.count("batch_size", defaults::BATCH_SIZE, 2, MOST_STEPS);
    let micro_batch_size = steps::micro_batch_size(table, batch_size);
    let optimizer = optimizer::optimizer(table);
    let adam = !matches!(optimizer, Some((Optimizer::Sgd { .. }, _)));
    let gradient_clip = steps::gradient_clip(table);
    let schedule = schedule::schedule(table, adam);
    let precision = steps::precision(table);
    let ema = steps::ema(table);
    let augmentation = augmentation(table);
    let objective = objective::objective(table, method, batch_size);
    let validation = validation::validation(table, objective.as_ref().is_some_and(|o| o.inner().is_some()));
    let (optimizer, decay_norm_and_bias) = optimizer?;
    Some(Recipe {
        objective: objective?,
        length,
        batch_size,
        micro_batch_size,
        optimizer,
        decay_norm_and_bias,
        gradient_clip,
        schedule,
        precision,
        ema,
        validation,
        augmentation,
    })
}

fn length(table: &mut Table<'_>) -> Length {
    let [epochs, iterations] = ["epochs", "iterations"].map(|key| table.optional_count(key, 1, MOST_STEPS));
    match (epochs, iterations) {
        (Some(_), Some(iterations)) => {
            let help = "`epochs` counts passes over the training split, `iterations` steps of the optimiser";
            table.report.mistake_with_help(&iterations.at, "both `epochs` and `iterations` are given: say one", help);
            Length::Iterations(iterations.value)
        }
        (None, Some(iterations)) => Length::Iterations(iterations.value),
        (Some(epochs), None) => Length::Epochs(epochs.value),
        (None, None) => Length::Epochs(defaults::EPOCHS),
    }
}

fn augmentation(table: &mut Table<'_>) -> Augmentation {
    let field = table.field("augment");
    let Some(mut table) = field.and_then(|field| field.table("{ shift = …, flip = … }")) else {
        return Augmentation::default();
    };
    let augmentation =
        Augmentation { shift: table.count("shift", 0, 0, LARGEST_SHIFT), flip: table.boolean("flip", false) };
    table.finish();
    augmentation
}
