//! `schedule = { … }`.

use std::ops::Bound;

use super::MOST_STEPS;
use crate::catalogue::defaults;
use crate::experiment::{Decay, Drops, Schedule};
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

const COSINE_KEYS: [&str; 1] = ["final_learning_rate"];
const STEP_KEYS: [&str; 3] = ["every", "milestones", "gamma"];
const ONE_CYCLE_KEYS: [&str; 3] = ["pct_start", "div_factor", "final_div_factor"];

#[derive(Clone, Copy)]
enum Kind {
    Cosine,
    Constant,
    Step,
    OneCycle,
}

pub(super) fn schedule(table: &mut Table<'_>, adam: bool) -> Schedule {
    let last = if adam { defaults::ADAM_FINAL_LEARNING_RATE } else { defaults::SGD_FINAL_LEARNING_RATE };
    let cosine = Decay::Cosine { final_learning_rate: last };
    let default = Schedule { warmup: defaults::WARMUP, decay: cosine };
    let field = table.field("schedule");
    let expected = "{ kind = \"cosine\", \"constant\", \"step\" or \"one-cycle\", … }";
    let Some(mut table) = field.and_then(|field| field.table(expected)) else { return default };
    let kinds =
        [("cosine", Kind::Cosine), ("constant", Kind::Constant), ("step", Kind::Step), ("one-cycle", Kind::OneCycle)];
    let kind = table.one_of("kind", Kind::Cosine, "schedule", &kinds);
    let schedule = read(&mut table, kind, last);
    table.finish();
    schedule.unwrap_or(default)
}

fn read(table: &mut Table<'_>, kind: Kind, last: f64) -> Option<Schedule> {
    if !matches!(kind, Kind::Cosine) {
        table.refuse(&COSINE_KEYS, "belongs to the cosine schedule");
    }
    if !matches!(kind, Kind::Step) {
        table.refuse(&STEP_KEYS, "belongs to the step schedule");
    }
    if !matches!(kind, Kind::OneCycle) {
        table.refuse(&ONE_CYCLE_KEYS, "belongs to the one-cycle schedule");
    }
    let at_least_one = NumberRange::of(1.0..);
    let decay = match kind {
        Kind::Cosine => {
            let final_learning_rate = table.number("final_learning_rate", last, &NumberRange::of(0.0..));
            Some(Decay::Cosine { final_learning_rate })
        }
        Kind::Constant => Some(Decay::Constant),
        Kind::Step => {
            let gamma =
                table.number("gamma", defaults::GAMMA, &NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0))));
            drops(table).map(|drops| Decay::Step { drops, gamma })
        }
        Kind::OneCycle => {
            table.refuse(&["warmup"], "does not belong to the one-cycle schedule, which rises by itself");
            Some(Decay::OneCycle {
                pct_start: table.number("pct_start", defaults::PCT_START, &NumberRange::of(0.0..=1.0)),
                div_factor: table.number("div_factor", defaults::DIV_FACTOR, &at_least_one),
                final_div_factor: table.number("final_div_factor", defaults::FINAL_DIV_FACTOR, &at_least_one),
            })
        }
    };
    let warmup = match kind {
        Kind::OneCycle => 0.0,
        Kind::Cosine | Kind::Constant | Kind::Step => {
            table.number("warmup", defaults::WARMUP, &NumberRange::of(0.0..1.0))
        }
    };
    decay.map(|decay| Schedule { warmup, decay })
}

fn drops(table: &mut Table<'_>) -> Option<Drops> {
    let every = table.optional_count("every", 1, MOST_STEPS);
    let milestones = table.field("milestones");
    match (every, milestones) {
        (Some(every), None) => Some(Drops::Every(every.value)),
        (None, Some(field)) => {
            let expected = "a list of epochs, ascending";
            let epochs: Option<Vec<u32>> =
                field.list(expected)?.iter().map(|epoch| epoch.count(1, MOST_STEPS)).collect();
            let epochs = epochs?;
            if epochs.is_sorted_by(|one, next| one < next) {
                Some(Drops::Milestones(epochs))
            } else {
                field.expected(expected)
            }
        }
        (given, _) => {
            let help = "`every = 30` drops after each 30 epochs, `milestones = [30, 60]` after these";
            let problem = if given.is_some() { "are both given: say one" } else { "are missing: say one" };
            table.report.mistake_with_help(&table.at, format!("`every` and `milestones` {problem}"), help);
            None
        }
    }
}
