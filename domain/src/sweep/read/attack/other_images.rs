//! Attacks that are crafted elsewhere: on other images, or on the model of another run.

use super::boundary::candidates;
use super::gradient::step_size;
use super::method::{METHODS, Method};
use super::{MOST_EXAMPLES, MOST_STEPS, share, template};
use crate::catalogue::defaults;
use crate::experiment::Norm;
use crate::sweep::attack_section::{AttackTemplate, SourceRun, UapTemplate};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::place::Located;
use crate::sweep::read::names::AxisNames;
use crate::sweep::read::rule::resolve_seed;
use crate::sweep::report::listed;
use crate::sweep::sections::StepSize;
use crate::sweep::table::Table;

/// What belongs to the attack as a whole, not to how it is crafted.
const OUTER_KEYS: [&str; 8] =
    ["name", "norm", "eps", "target", "early_stop", "stop_at_interval", "cascade", "examples"];
const DEEPFOOL_KEYS: [&str; 3] = ["steps", "overshoot", "candidates"];
const GRADIENT_KEYS: [&str; 2] = ["step_size", "batch_size"];
const WAYS: [(&str, bool); 2] = [("deepfool", true), ("gradient", false)];

/// Reads the keys of a universal perturbation that say how it is crafted.
pub(in crate::sweep::read) fn uap(table: &mut Table<'_>, norm: Norm) -> Option<AttackTemplate> {
    let by_deepfool = table.one_of("by", true, "way to craft", &WAYS);
    let by = if by_deepfool {
        table.refuse(&GRADIENT_KEYS, "belongs to by = \"gradient\"");
        Some(UapTemplate::DeepFool {
            steps: table.count("steps", defaults::UAP_DEEPFOOL_STEPS, 1, MOST_STEPS),
            overshoot: table.number("overshoot", defaults::DEEPFOOL_OVERSHOOT, &NumberRange::of(0.0..)),
            candidates: candidates(table),
        })
    } else {
        table.refuse(&DEEPFOOL_KEYS, "belongs to by = \"deepfool\"");
        let step_size = step_size(table, norm, defaults::UAP_STEP_OF_EPS);
        let batch_size = table.count("batch_size", defaults::UAP_BATCH_SIZE, 1, MOST_EXAMPLES);
        step_size.map(|step_size| UapTemplate::Gradient { step_size, batch_size })
    };
    Some(AttackTemplate::Uap {
        craft_examples: table.optional_count("craft_examples", 1, MOST_EXAMPLES),
        passes: table.count("passes", defaults::UAP_PASSES, 1, MOST_STEPS),
        fooling_rate: table.number("fooling_rate", defaults::UAP_FOOLING_RATE, &share()),
        by: by?,
    })
}

pub(super) fn transfer<'a>(
    table: &mut Table<'a>,
    names: &AxisNames<'a>,
    seeds: &[u64],
    norm: Option<Norm>,
) -> Option<AttackTemplate> {
    let source = table.required("source", "for example: source = { init = \"scratch\", recipe = \"standard\" }");
    let source = source.and_then(|field| source_run(&field, names, seeds));
    let by = match table.field("by") {
        Some(field) => crafted_by(&field, norm),
        None => Some(default_attack()),
    };
    Some(AttackTemplate::Transfer { source: source?, by: Box::new(by?) })
}

/// The attack of `by`, in the norm of the whole.
fn crafted_by(field: &Field<'_>, norm: Option<Norm>) -> Option<AttackTemplate> {
    let mut table = field.table("a table such as { method = \"pgd\", steps = 20 }")?;
    table.refuse(&OUTER_KEYS, "belongs to the attack as a whole: write it beside `by`");
    let method = table.required("method", "for example: method = \"pgd\"").and_then(|field| transferred(&field));
    let Some(method) = method else {
        table.accept_all();
        table.finish();
        return None;
    };
    method.refuse_foreign_keys(&mut table);
    let template = template(&mut table, method, norm.unwrap_or(Norm::L1));
    table.finish();
    template
}

fn transferred(field: &Field<'_>) -> Option<Method> {
    let method = field.one_of("method", &METHODS)?;
    if method.transfers() {
        return Some(method);
    }
    let known: Vec<&str> = METHODS.iter().filter(|(_, method)| method.transfers()).map(|(name, _)| *name).collect();
    let message = format!("the method `{}` can't be transferred", method.name());
    field.report.mistake_with_help(&field.at, message, format!("available: {}", listed(&known)));
    None
}

/// PGD with its defaults.
const fn default_attack() -> AttackTemplate {
    AttackTemplate::Pgd {
        steps: defaults::PGD_STEPS,
        step_size: StepSize::OfEps(defaults::PGD_STEP_OF_EPS),
        random_start: defaults::PGD_RANDOM_START,
        restarts: defaults::PGD_RESTARTS,
    }
}

fn source_run<'a>(field: &Field<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<Located<SourceRun>> {
    let mut table = field.table("a table such as { init = \"scratch\", recipe = \"standard\" }")?;
    let init = table.required("init", "the init of the run that the attack is crafted on");
    let init = init.and_then(|field| names.inits.resolve(&field));
    let recipe = table.required("recipe", "the recipe of the run that the attack is crafted on");
    let recipe = recipe.and_then(|field| names.recipes.resolve(&field));
    let model = table.field("backbone").map(|field| names.models.resolve(&field));
    let seed = table.field("seed").map(|field| resolve_seed(&field, seeds).map(|number| seeds[number]));
    table.finish();
    let model = model.map_or(Some(None), |model| model.map(Some));
    let seed = seed.map_or(Some(None), |seed| seed.map(Some));
    Some(field.located(SourceRun { model: model?, init: Some(init?), recipe: Some(recipe?), seed: seed? }))
}
