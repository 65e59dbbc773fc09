//! `[[recipe]]`.

mod augmentation;
mod inner;
mod method;
mod objective;
mod optimizer;
mod parts;
mod schedule;
mod steps;
mod validation;

use super::names::{name_text, required_name};
use crate::catalogue::defaults;
use crate::experiment::{EpsilonSchedule, Frozen, Length, Objective, Optimizer, Recipe};
use crate::sweep::field::NumberRange;
use crate::sweep::sections::RecipeSection;
use crate::sweep::table::Table;
use augmentation::augmentation;
use method::{METHODS, Method};
use optimizer::OptimizerKeys;

const TRAINING_KEYS: [&str; 22] = [
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
    "label_smoothing",
    "dropout",
    "batch_norm_momentum",
    "freeze",
    "head_first",
    "inner",
    "eps_schedule",
    "beta",
    "lambda",
    "coefficient",
    "replays",
];
const MOST_STEPS: u32 = i32::MAX as u32;

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
    let field = table.required("method", "for example: method = \"standard\"");
    let method = field.and_then(|field| field.one_of("method", &METHODS));
    let at = table.at.clone();
    let Some(method) = method else {
        table.accept_all();
        return None;
    };
    method.refuse_foreign_keys(&mut table);
    let freeze = if method == Method::None { None } else { parts::freeze(&mut table, method) };
    let training = if method == Method::None { Some(None) } else { training(&mut table, method).map(Some) };
    table.finish();
    let name = METHODS.iter().find(|(_, other)| *other == method).map_or("none", |(name, _)| name).to_owned();
    Some(RecipeSection { name, at, training: training?, freeze })
}

fn training(table: &mut Table<'_>, method: Method) -> Option<Recipe> {
    let length = length(table, Length::Epochs(defaults::EPOCHS));
    let batch_size = table.count("batch_size", defaults::BATCH_SIZE, 2, MOST_STEPS);
    let micro_batch_size = steps::micro_batch_size(table, batch_size);
    let optimizer = optimizer::optimizer(table);
    let adam = !optimizer.as_ref().is_some_and(|optimizer| matches!(optimizer.rule, Optimizer::Sgd { .. }));
    let gradient_clip = steps::gradient_clip(table);
    let schedule = schedule::schedule(table, adam);
    let precision = steps::precision(table);
    let ema = steps::ema(table);
    let augmentation = augmentation(table);
    let label_smoothing = table.number("label_smoothing", defaults::LABEL_SMOOTHING, &NumberRange::of(0.0..1.0));
    let dropout = method != Method::LinearProbe && table.boolean("dropout", defaults::DROPOUT);
    let batch_norm_momentum = steps::batch_norm_momentum(table);
    let epsilon_schedule =
        if method.is_adversarial() { inner::epsilon_schedule(table) } else { EpsilonSchedule::Constant };
    let objective = objective::objective(table, method, batch_size);
    let rate = optimizer.as_ref().map_or(defaults::ADAM_LEARNING_RATE, |optimizer| optimizer.rule.learning_rate());
    let head_first =
        parts::head_first(table, method, (objective.as_ref().unwrap_or(&Objective::Standard), length, rate));
    let validation = validation::validation(table, objective.as_ref().is_some_and(|o| o.inner().is_some()));
    let OptimizerKeys { rule, head_learning_rate, decay_norm_and_bias } = optimizer?;
    Some(Recipe {
        objective: objective?,
        epsilon_schedule,
        label_smoothing,
        frozen: Frozen::NOTHING,
        head_first,
        length,
        batch_size,
        micro_batch_size,
        optimizer: rule,
        head_learning_rate,
        decay_norm_and_bias,
        gradient_clip,
        dropout,
        batch_norm_momentum,
        schedule,
        precision,
        ema,
        validation,
        augmentation,
    })
}

/// Reads `epochs` or `iterations`.
fn length(table: &mut Table<'_>, default: Length) -> Length {
    let [epochs, iterations] = ["epochs", "iterations"].map(|key| table.optional_count(key, 1, MOST_STEPS));
    match (epochs, iterations) {
        (Some(_), Some(iterations)) => {
            let help = "`epochs` counts passes over the training split, `iterations` steps of the optimiser";
            table.report.mistake_with_help(&iterations.at, "both `epochs` and `iterations` are given: say one", help);
            Length::Iterations(iterations.value)
        }
        (None, Some(iterations)) => Length::Iterations(iterations.value),
        (Some(epochs), None) => Length::Epochs(epochs.value),
        (None, None) => default,
    }
}
