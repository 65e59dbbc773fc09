//! `schedule = { … }`.

use crate::catalogue::defaults;
use crate::experiment::{Decay, Schedule};
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

pub(super) fn schedule(table: &mut Table<'_>, adam: bool) -> Schedule {
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
