//! `validation = { … }`.

use std::ops::Bound;

use super::MOST_STEPS;
use crate::catalogue::defaults;
use crate::experiment::{Criterion, HeldOut, Validation};
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

/// Reads what the best epoch is chosen by; `adversarial` tells whether the method has an inner attack.
pub(super) fn validation(table: &mut Table<'_>, adversarial: bool) -> Option<Validation> {
    let mut table = table.field("validation")?.table("{ share = … } or { examples = … }")?;
    let share = table.field("share");
    let examples = table.optional_count("examples", 1, MOST_STEPS);
    if let (Some(_), Some(examples)) = (&share, &examples) {
        table.report.mistake(&examples.at, "both `share` and `examples` are given: say one");
    }
    let held_out = match (share, examples) {
        (None, Some(examples)) => Some(HeldOut::Examples(examples.value)),
        (None, None) => Some(HeldOut::Share(defaults::VALIDATION_SHARE)),
        (Some(share), _) => {
            share.number(&NumberRange::of((Bound::Excluded(0.0), Bound::Excluded(1.0)))).map(HeldOut::Share)
        }
    };
    let seed = table.field("seed").map(|field| field.integer(0, i64::MAX));
    let seed = seed.map_or(Some(defaults::VALIDATION_SEED), |seed| seed.map(i64::unsigned_abs));
    let select_by = criterion(&mut table, adversarial);
    table.finish();
    Some(Validation { held_out: held_out?, seed: seed?, select_by })
}

fn criterion(table: &mut Table<'_>, adversarial: bool) -> Criterion {
    const NAMES: [(&str, Criterion); 3] =
        [("accuracy", Criterion::Accuracy), ("robust-accuracy", Criterion::RobustAccuracy), ("loss", Criterion::Loss)];
    let Some(field) = table.field("select_by") else { return Criterion::Accuracy };
    let criterion = field.one_of("criterion", &NAMES).unwrap_or(Criterion::Accuracy);
    if criterion == Criterion::RobustAccuracy && !adversarial {
        let message = "`robust-accuracy` is measured under the recipe's inner attack, and this method has none";
        table.report.mistake(&field.at, message);
    }
    criterion
}
