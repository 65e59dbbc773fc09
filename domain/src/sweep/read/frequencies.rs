//! `frequencies` of a data set.

use crate::experiment::{FrequencyBand, Pass};
use crate::sweep::field::{Field, NumberRange};

const EXAMPLE: &str = "{ keep = \"low\", radius = 16 }";
const SIDES: [(&str, Pass); 2] = [("low", Pass::Low), ("high", Pass::High)];

/// `{ keep = "low", radius = 16 }`.
pub(super) fn frequencies(field: &Field<'_>) -> Option<FrequencyBand> {
    let mut table = field.table(EXAMPLE)?;
    let keep = table.required("keep", EXAMPLE).and_then(|field| field.one_of("keep", &SIDES));
    let radius = table.required("radius", EXAMPLE).and_then(|field| field.number(&NumberRange::of(0.0..)));
    table.finish();
    Some(FrequencyBand { keep: keep?, radius: radius? })
}
