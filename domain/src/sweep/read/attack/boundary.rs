//! Minimum-norm attacks.

use super::{MOST_STEPS, share};
use crate::catalogue::defaults;
use crate::experiment::AttackMethod;
use crate::sweep::attack_section::AttackTemplate;
use crate::sweep::field::NumberRange;
use crate::sweep::place::Located;
use crate::sweep::table::Table;

/// Each halves the range of the constant: more than the digits of a float are of no use.
const MOST_SEARCH_STEPS: u32 = 64;
const MOST_CLASSES: u32 = 65_536;

pub(super) fn cw(table: &mut Table<'_>) -> AttackTemplate {
    AttackTemplate::Fixed(AttackMethod::Cw {
        confidence: table.number("confidence", defaults::CW_CONFIDENCE, &NumberRange::of(0.0..)),
        steps: table.count("steps", defaults::CW_STEPS, 1, MOST_STEPS),
        learning_rate: table.number("learning_rate", defaults::CW_LEARNING_RATE, &NumberRange::above_zero()),
        initial_const: table.number("initial_const", defaults::CW_INITIAL_CONST, &NumberRange::above_zero()),
        binary_search_steps: table.count("binary_search_steps", defaults::CW_BINARY_SEARCH_STEPS, 1, MOST_SEARCH_STEPS),
    })
}

pub(super) fn deepfool(table: &mut Table<'_>) -> AttackTemplate {
    AttackTemplate::DeepFool {
        steps: table.count("steps", defaults::DEEPFOOL_STEPS, 1, MOST_STEPS),
        overshoot: table.number("overshoot", defaults::DEEPFOOL_OVERSHOOT, &NumberRange::of(0.0..)),
        candidates: candidates(table),
    }
}

pub(super) fn fab(table: &mut Table<'_>) -> AttackTemplate {
    let targeted = table.boolean("targeted", defaults::FAB_TARGETED);
    AttackTemplate::Fab {
        targeted,
        steps: table.count("steps", defaults::FAB_STEPS, 1, MOST_STEPS),
        restarts: table.count("restarts", defaults::FAB_RESTARTS, 1, MOST_STEPS),
        target_classes: target_classes(table, targeted, "belongs to targeted = true"),
        alpha_max: table.number("alpha_max", defaults::FAB_ALPHA_MAX, &share()),
        beta: table.number("beta", defaults::FAB_BETA, &share()),
        eta: table.number("eta", defaults::FAB_ETA, &NumberRange::of(1.0..)),
    }
}

/// Classes that DeepFool considers, the right one included.
pub(super) fn candidates(table: &mut Table<'_>) -> Option<Located<u32>> {
    table.optional_count("candidates", 2, MOST_CLASSES)
}

/// How many classes are targets, of an attack that has targets.
pub(super) fn target_classes(table: &mut Table<'_>, targeted: bool, why: &str) -> Option<Located<u32>> {
    if targeted {
        return table.optional_count("target_classes", 1, MOST_CLASSES);
    }
    table.refuse(&["target_classes"], why);
    None
}
