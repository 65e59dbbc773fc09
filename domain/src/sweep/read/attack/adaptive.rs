//! Attacks that set their own pace: Auto-PGD, Square, and the ensemble of both.

use super::boundary::target_classes;
use super::{MOST_STEPS, share};
use crate::catalogue::defaults;
use crate::experiment::{ApgdLoss, AttackMethod, AutoAttackVersion};
use crate::sweep::attack_section::AttackTemplate;
use crate::sweep::place::Located;
use crate::sweep::table::Table;

const LOSSES: [(&str, ApgdLoss); 3] =
    [("ce", ApgdLoss::Ce), ("dlr", ApgdLoss::Dlr), ("dlr-targeted", ApgdLoss::DlrTargeted)];
const VERSIONS: [(&str, AutoAttackVersion); 3] =
    [("standard", AutoAttackVersion::Standard), ("plus", AutoAttackVersion::Plus), ("rand", AutoAttackVersion::Rand)];

pub(super) fn apgd(table: &mut Table<'_>) -> AttackTemplate {
    let loss = choice(table, "loss", defaults::APGD_LOSS, &LOSSES);
    let targeted = loss.value == ApgdLoss::DlrTargeted;
    AttackTemplate::Apgd {
        loss,
        steps: table.count("steps", defaults::APGD_STEPS, 1, MOST_STEPS),
        restarts: table.count("restarts", defaults::APGD_RESTARTS, 1, MOST_STEPS),
        rho: table.number("rho", defaults::APGD_RHO, &share()),
        target_classes: target_classes(table, targeted, "belongs to loss = \"dlr-targeted\""),
    }
}

pub(super) fn square(table: &mut Table<'_>) -> AttackTemplate {
    AttackTemplate::Fixed(AttackMethod::Square {
        queries: table.count("queries", defaults::SQUARE_QUERIES, 1, MOST_STEPS),
        p_init: table.number("p_init", defaults::SQUARE_P_INIT, &share()),
        restarts: table.count("restarts", defaults::SQUARE_RESTARTS, 1, MOST_STEPS),
    })
}

pub(super) fn autoattack(table: &mut Table<'_>) -> AttackTemplate {
    AttackTemplate::AutoAttack { version: choice(table, "version", defaults::AUTOATTACK_VERSION, &VERSIONS) }
}

/// One of some names, or the default at the place of the section.
fn choice<'a, T: Copy>(table: &mut Table<'a>, key: &'static str, default: T, choices: &[(&'a str, T)]) -> Located<T> {
    let at = table.peek(key).map_or_else(|| table.at.clone(), |field| field.at);
    Located { value: table.one_of(key, default, key, choices), at }
}
