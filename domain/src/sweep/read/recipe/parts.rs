//! `freeze = …` and `head_first = { … }`.

use toml::de::DeValue;

use super::method::Method;
use super::{MOST_STEPS, length};
use crate::experiment::{HeadFirst, Length, Objective};
use crate::sweep::field::NumberRange;
use crate::sweep::place::Located;
use crate::sweep::sections::Freeze;
use crate::sweep::table::Table;

/// Reads what is frozen.
pub(super) fn freeze(table: &mut Table<'_>, method: Method) -> Option<Located<Freeze>> {
    if method == Method::LinearProbe {
        return Some(Located { value: Freeze::Backbone, at: table.at.clone() });
    }
    let field = table.field("freeze")?;
    let freeze = match field.value {
        DeValue::String(text) if text == "backbone" => Freeze::Backbone,
        DeValue::String(text) => Freeze::Through(text.clone().into_owned()),
        DeValue::Integer(_) => Freeze::Stages(field.count(0, MOST_STEPS)?),
        _ => {
            return field
                .expected("a number of stages, the name of the last frozen stage such as \"layer2\", or \"backbone\"");
        }
    };
    Some(field.located(freeze))
}

/// Reads the phase that trains the head alone; `lp-ft` and `robust-linear-init` have one unless they say how long otherwise.
pub(super) fn head_first(
    table: &mut Table<'_>,
    method: Method,
    (objective, whole, learning_rate): (&Objective, Length, f64),
) -> Option<HeadFirst> {
    if method == Method::LinearProbe {
        return None;
    }
    let named = matches!(method, Method::LinearProbeThenFineTune | Method::RobustLinearInit);
    let Some(field) = table.field("head_first") else {
        let objective = probe(objective, method == Method::RobustLinearInit);
        return named.then_some(HeadFirst { length: whole, learning_rate, objective });
    };
    let mut table = field.table("{ epochs = … or iterations = …, learning_rate = …, adversarial = … }")?;
    let length = length(&mut table, whole);
    let learning_rate = table.number("learning_rate", learning_rate, &NumberRange::above_zero());
    let can_be_adversarial = objective.inner().is_some() && method != Method::RobustLinearInit;
    let adversarial = if can_be_adversarial {
        table.boolean("adversarial", false)
    } else {
        let why = if method == Method::RobustLinearInit {
            "is always true for `robust-linear-init`"
        } else {
            "needs a method with an inner attack"
        };
        table.refuse(&["adversarial"], why);
        method == Method::RobustLinearInit
    };
    table.finish();
    Some(HeadFirst { length, learning_rate, objective: probe(objective, adversarial) })
}

/// What the head minimises on its own: cross-entropy, or cross-entropy on what the recipe's inner attack crafts.
fn probe(objective: &Objective, adversarial: bool) -> Objective {
    match objective.inner() {
        Some(inner) if adversarial => Objective::PgdAt { inner: inner.clone() },
        _ => Objective::Standard,
    }
}
