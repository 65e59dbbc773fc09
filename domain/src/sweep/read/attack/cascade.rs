//! `cascade`: which attack comes before, and when it makes this one pointless.

use std::ops::Bound;

use super::method::Method;
use crate::catalogue::defaults;
use crate::sweep::attack_section::CascadeSection;
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::read::names::AxisNames;
use crate::sweep::table::Table;

/// Reads the key, if it is there.
pub(super) fn read<'a>(table: &mut Table<'a>, method: Method, names: &AxisNames<'a>) -> Option<Option<CascadeSection>> {
    if method.minimum_norm() {
        let why = format!("is no choice of the method `{}`: one evaluation answers every ε", method.name());
        table.refuse(&["cascade"], &why);
        return Some(None);
    }
    table.field("cascade").map_or(Some(None), |field| section(&field, names).map(Some))
}

fn section<'a>(field: &Field<'a>, names: &AxisNames<'a>) -> Option<CascadeSection> {
    let mut table = field.table("a table such as { after = \"pgd20\", until_aai = 0.0 }")?;
    let after = table.required("after", "the name of an attack that stands before this one");
    let after = after.and_then(|field| names.attacks.resolve(&field).map(|number| field.located(number)));
    let below_one = NumberRange::of((Bound::Included(0.0), Bound::Excluded(1.0)));
    let until_aai = table.number("until_aai", defaults::CASCADE_UNTIL_AAI, &below_one);
    table.finish();
    Some(CascadeSection { after: after?, until_aai })
}
