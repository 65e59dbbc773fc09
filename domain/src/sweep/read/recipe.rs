//! `[[recipe]]`.

use super::epsilon::{NORMS, epsilon, step_size};
use super::names::{name_text, required_name};
use crate::catalogue::{PLANNED_RECIPES, defaults};
use crate::experiment::{
    Augmentation, Decay, Epsilon, InnerAttack, Length, Norm, Objective, Optimizer, RandomCrop, Recipe, Schedule, Start,
};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::sections::{RecipeSection, StepSize};
use crate::sweep::table::Table;

const TRAINING_KEYS: [&str; 9] =
    ["epochs", "iterations", "batch_size", "optimizer", "schedule", "augment", "inner", "beta", "coefficient"];
const MOST_STEPS: u32 = i32::MAX as u32;
const MOST_INNER_STEPS: u32 = 10_000;
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
    let optimizer = optimizer(table);
    let adam = !matches!(optimizer, Some(Optimizer::Sgd { .. }));
    let schedule = schedule(table, adam);
    let augmentation = augmentation(table);
    let objective = objective(table, method, batch_size);
    Some(Recipe { objective: objective?, length, batch_size, optimizer: optimizer?, schedule, augmentation })
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

fn optimizer(table: &mut Table<'_>) -> Option<Optimizer> {
    let default = Optimizer::Adam { learning_rate: defaults::ADAM_LEARNING_RATE, weight_decay: defaults::WEIGHT_DECAY };
    let Some(field) = table.field("optimizer") else { return Some(default) };
    let mut table = field.table("{ kind = \"sgd\" or \"adam\", learning_rate = … }")?;
    let kind = table.required("kind", "kind = \"sgd\" or kind = \"adam\"");
    let sgd = kind.and_then(|field| field.one_of("optimizer", &[("sgd", true), ("adam", false)]));
    let above_zero = NumberRange::above_zero();
    let weight_decay = table.number("weight_decay", defaults::WEIGHT_DECAY, &NumberRange::of(0.0..));
    let optimizer = match sgd {
        None => {
            table.accept_all();
            None
        }
        Some(true) => {
            let learning_rate = table.required("learning_rate", "for example: learning_rate = 0.1");
            let momentum = table.number("momentum", defaults::MOMENTUM, &NumberRange::of(0.0..1.0));
            let nesterov = table.boolean("nesterov", false);
            if nesterov && momentum == 0.0 {
                table.report.mistake(&table.at, "nesterov needs a momentum above 0");
            }
            let learning_rate = learning_rate.and_then(|field| field.number(&above_zero));
            learning_rate.map(|learning_rate| Optimizer::Sgd { learning_rate, momentum, nesterov, weight_decay })
        }
        Some(false) => {
            table.refuse(&["momentum", "nesterov"], "belongs to sgd");
            let learning_rate = table.number("learning_rate", defaults::ADAM_LEARNING_RATE, &above_zero);
            Some(Optimizer::Adam { learning_rate, weight_decay })
        }
    };
    table.finish();
    optimizer
}

fn schedule(table: &mut Table<'_>, adam: bool) -> Schedule {
    let last = if adam { defaults::ADAM_FINAL_LEARNING_RATE } else { defaults::SGD_FINAL_LEARNING_RATE };
    let default = Schedule { warmup: defaults::WARMUP, decay: Decay::Cosine { final_learning_rate: last } };
    let field = table.field("schedule");
    let Some(mut table) = field.and_then(|field| field.table("{ kind = \"cosine\" or \"constant\", … }")) else {
        return default;
    };
    let cosine = table.one_of("kind", true, "schedule", &[("cosine", true), ("constant", false)]);
    let warmup = table.number("warmup", defaults::WARMUP, &NumberRange::of(0.0..1.0));
    let decay = if cosine {
        let final_learning_rate = table.number("final_learning_rate", last, &NumberRange::of(0.0..));
        Decay::Cosine { final_learning_rate }
    } else {
        table.refuse(&["final_learning_rate"], "belongs to the cosine schedule");
        Decay::Constant
    };
    table.finish();
    Schedule { warmup, decay }
}

fn augmentation(table: &mut Table<'_>) -> Augmentation {
    let field = table.field("augment");
    let Some(mut table) = field.and_then(|field| field.table("{ shift = …, flip = … }")) else {
        return Augmentation::default();
    };
    let shift = table.count("shift", 0, 0, LARGEST_SHIFT);
    let flip = table.boolean("flip", false);
    let plain = table.boolean("crop", false);
    let resized = table.field("resized_crop").map(|field| resized_crop(&field));
    if plain && resized.is_some() {
        table.refuse(&["crop"], "and `resized_crop` are both given: say one");
    }
    if shift > 0 && (plain || resized.is_some()) {
        table.refuse(&["shift"], "moves what a random crop has moved already: say one");
    }
    let crop = resized.or_else(|| plain.then_some(RandomCrop::Plain));
    table.finish();
    Augmentation { shift, flip, crop }
}

fn resized_crop(field: &Field<'_>) -> RandomCrop {
    let (mut scale, mut ratio) = (defaults::RESIZED_CROP_SCALE, defaults::RESIZED_CROP_RATIO);
    if let Some(mut table) = field.table("{ scale = [0.08, 1], ratio = [0.75, 1.3333] }") {
        let share = NumberRange::of((std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(1.0)));
        scale = interval(&mut table, "scale", scale, &share);
        ratio = interval(&mut table, "ratio", ratio, &NumberRange::above_zero());
        table.finish();
    }
    RandomCrop::Resized { scale, ratio }
}

/// `[smallest, largest]`.
fn interval(table: &mut Table<'_>, key: &'static str, default: [f64; 2], range: &NumberRange) -> [f64; 2] {
    let Some(field) = table.field(key) else { return default };
    let numbers: Option<Vec<f64>> = field
        .list("[smallest, largest]")
        .map(|numbers| numbers.iter().filter_map(|field| field.number(range)).collect());
    match numbers.as_deref() {
        Some(&[smallest, largest]) if smallest <= largest => [smallest, largest],
        Some(_) => field.expected("[smallest, largest]").unwrap_or(default),
        None => default,
    }
}

fn objective(table: &mut Table<'_>, method: Method, batch_size: u32) -> Option<Objective> {
    const DM_KEYS: [&str; 2] = ["beta", "coefficient"];
    match method {
        Method::None => None,
        Method::Standard => {
            table.refuse(&["inner"], "belongs to the methods `pgd-at` and `dm`");
            table.refuse(&DM_KEYS, "belongs to the method `dm`");
            Some(Objective::Standard)
        }
        Method::PgdAt => {
            table.refuse(&DM_KEYS, "belongs to the method `dm`");
            let defaults = InnerDefaults {
                eps: None,
                steps: defaults::PGD_AT_STEPS,
                of_eps: defaults::PGD_AT_STEP_OF_EPS,
                start: Start::Uniform,
            };
            inner(table, &defaults).map(|inner| Objective::PgdAt { inner })
        }
        Method::Dm => {
            let coefficient = coefficient(table, batch_size);
            let defaults = InnerDefaults {
                eps: defaults::DM_EPS.parse().ok(),
                steps: defaults::DM_STEPS,
                of_eps: defaults::DM_STEP_OF_EPS,
                start: Start::Gaussian,
            };
            let clean_start = table.peek("inner").and_then(|field| {
                let start = field.value.get("start")?;
                (start.get_ref().as_str() == Some("clean")).then(|| start.span())
            });
            if let Some(span) = clean_start {
                let mut at = table.at.clone();
                at.field.push_str(".inner.start");
                at.span = span;
                let message = "`dm` cannot start at the image itself: the distance it climbs has no gradient there";
                table.report.mistake_with_help(&at, message, "say \"gaussian\" (the study) or \"uniform\"");
            }
            inner(table, &defaults).map(|inner| Objective::Dm { coefficient, inner })
        }
    }
}

fn coefficient(table: &mut Table<'_>, batch_size: u32) -> f64 {
    let [coefficient, beta] = ["coefficient", "beta"].map(|key| table.field(key));
    let above_zero = NumberRange::above_zero();
    if let (Some(_), Some(beta)) = (&coefficient, &beta) {
        let message = "both `coefficient` and `beta` are given: say one";
        table.report.mistake_with_help(&beta.at, message, "coefficient = beta / batch_size");
    }
    let beta = beta.and_then(|field| field.number(&above_zero)).unwrap_or(defaults::DM_BETA);
    coefficient.and_then(|field| field.number(&above_zero)).unwrap_or(beta / f64::from(batch_size))
}

struct InnerDefaults {
    eps: Option<Epsilon>,
    steps: u32,
    of_eps: f64,
    start: Start,
}

fn inner(table: &mut Table<'_>, defaults: &InnerDefaults) -> Option<InnerAttack> {
    let help = "for example: inner = { eps = \"8/255\" }";
    let field = if defaults.eps.is_none() { table.required("inner", help) } else { table.field("inner") };
    let Some(field) = field else {
        let eps = defaults.eps.as_ref()?.value();
        let step_size = defaults.of_eps * eps;
        return Some(InnerAttack { norm: Norm::Linf, eps, steps: defaults.steps, step_size, start: defaults.start });
    };
    let mut table = field.table("{ eps = …, steps = …, step_size = …, start = … }")?;
    let norm = table.one_of("norm", Norm::Linf, "norm", &NORMS);
    let eps = if defaults.eps.is_none() { table.required("eps", help) } else { table.field("eps") };
    let eps = eps.map_or_else(|| defaults.eps.clone(), |field| epsilon(&field, norm));
    let steps = table.count("steps", defaults.steps, 1, MOST_INNER_STEPS);
    let step = table.field("step_size").map(|field| step_size(&field, norm));
    let starts = [("clean", Start::Clean), ("uniform", Start::Uniform), ("gaussian", Start::Gaussian)];
    let start = table.one_of("start", defaults.start, "start", &starts);
    table.finish();
    let eps = eps?.value();
    let step_size = step.unwrap_or(Some(StepSize::OfEps(defaults.of_eps)))?.resolve(eps);
    Some(InnerAttack { norm, eps, steps, step_size, start })
}
