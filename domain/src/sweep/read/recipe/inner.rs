//! `inner = { … }` and `eps_schedule = { … }`.

use crate::catalogue::defaults;
use crate::experiment::{Epsilon, EpsilonSchedule, InnerAttack, Norm, Start};
use crate::sweep::field::NumberRange;
use crate::sweep::read::epsilon::{NORMS, epsilon, step_size};
use crate::sweep::sections::StepSize;
use crate::sweep::table::Table;

const MOST_INNER_STEPS: u32 = 10_000;

/// What a method's inner attack is where the sweep file says nothing, and what it may say.
pub(super) struct InnerDefaults {
    /// None where it must be said.
    pub(super) eps: Option<Epsilon>,
    pub(super) steps: u32,
    pub(super) of_eps: f64,
    pub(super) start: Start,
    /// Why some keys can't be given.
    pub(super) refused: Option<(&'static [&'static str], &'static str)>,
}

impl InnerDefaults {
    /// An attack whose radius must be said and whose every part may be.
    pub(super) const fn new(steps: u32, of_eps: f64, start: Start) -> Self {
        Self { eps: None, steps, of_eps, start, refused: None }
    }
}

/// Reads the inner attack.
pub(super) fn inner(table: &mut Table<'_>, defaults: &InnerDefaults) -> Option<InnerAttack> {
    let help = "for example: inner = { eps = \"8/255\" }";
    let field = if defaults.eps.is_none() { table.required("inner", help) } else { table.field("inner") };
    let Some(field) = field else {
        let eps = defaults.eps.as_ref()?.value();
        let step_size = defaults.of_eps * eps;
        return Some(InnerAttack { norm: Norm::Linf, eps, steps: defaults.steps, step_size, start: defaults.start });
    };
    let mut table = field.table("{ eps = …, steps = …, step_size = …, start = … }")?;
    if let Some((keys, why)) = defaults.refused {
        table.refuse(keys, why);
    }
    let may_say = |key: &str| !defaults.refused.is_some_and(|(keys, _)| keys.contains(&key));
    let norm = if may_say("norm") { table.one_of("norm", Norm::Linf, "norm", &NORMS) } else { Norm::Linf };
    let eps = if defaults.eps.is_none() { table.required("eps", help) } else { table.field("eps") };
    let eps = eps.map_or_else(|| defaults.eps.clone(), |field| epsilon(&field, norm));
    let steps =
        if may_say("steps") { table.count("steps", defaults.steps, 1, MOST_INNER_STEPS) } else { defaults.steps };
    let step = table.field("step_size").map(|field| step_size(&field, norm));
    let starts = [("clean", Start::Clean), ("uniform", Start::Uniform), ("gaussian", Start::Gaussian)];
    let start = if may_say("start") { table.one_of("start", defaults.start, "start", &starts) } else { defaults.start };
    table.finish();
    let eps = eps?.value();
    let step_size = step.unwrap_or(Some(StepSize::OfEps(defaults.of_eps)))?.resolve(eps);
    Some(InnerAttack { norm, eps, steps, step_size, start })
}

/// Says that an attack can't start at the image where what it climbs has no gradient there.
pub(super) fn refuse_clean_start(table: &Table<'_>, method: &str, climbs: &str, published: &str) {
    let clean_start = table.peek("inner").and_then(|field| {
        let start = field.value.get("start")?;
        (start.get_ref().as_str() == Some("clean")).then(|| start.span())
    });
    if let Some(span) = clean_start {
        let mut at = table.at.clone();
        at.field.push_str(".inner.start");
        at.span = span;
        let message =
            format!("`{method}` cannot start at the image itself: the {climbs} it climbs has no gradient there");
        table.report.mistake_with_help(&at, message, format!("say \"gaussian\" ({published}) or \"uniform\""));
    }
}

/// Reads how the inner attack grows.
pub(super) fn epsilon_schedule(table: &mut Table<'_>) -> EpsilonSchedule {
    let field = table.field("eps_schedule");
    let Some(mut table) = field.and_then(|field| field.table("{ kind = \"constant\" or \"ramp\", … }")) else {
        return EpsilonSchedule::Constant;
    };
    let ramps = table.one_of("kind", false, "eps_schedule", &[("constant", false), ("ramp", true)]);
    let schedule = if ramps {
        let share = NumberRange::of(0.0..=1.0);
        let zero = table.number("zero", defaults::EPS_SCHEDULE_ZERO, &share);
        let ramp = table.number("ramp", defaults::EPS_SCHEDULE_RAMP, &share);
        if zero + ramp > 1.0 {
            let message = format!("`zero` and `ramp` are shares of the steps, and {zero} + {ramp} is more than 1");
            table.report.mistake(&table.at, message);
        }
        EpsilonSchedule::Ramp { zero, ramp }
    } else {
        table.refuse(&["zero", "ramp"], "belongs to the schedule `ramp`: say kind = \"ramp\"");
        EpsilonSchedule::Constant
    };
    table.finish();
    schedule
}
