//! What a method minimises, and its inner attack.

use super::Method;
use crate::catalogue::defaults;
use crate::experiment::{Epsilon, InnerAttack, Norm, Objective, Start};
use crate::sweep::field::NumberRange;
use crate::sweep::read::epsilon::{NORMS, epsilon, step_size};
use crate::sweep::sections::StepSize;
use crate::sweep::table::Table;

const MOST_INNER_STEPS: u32 = 10_000;

pub(super) fn objective(table: &mut Table<'_>, method: Method, batch_size: u32) -> Option<Objective> {
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
