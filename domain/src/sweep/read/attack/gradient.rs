//! Attacks that follow a gradient inside the ball.

use super::{MOST_STEPS, share};
use crate::catalogue::defaults;
use crate::experiment::Norm;
use crate::sweep::attack_section::AttackTemplate;
use crate::sweep::field::NumberRange;
use crate::sweep::read::epsilon;
use crate::sweep::sections::StepSize;
use crate::sweep::table::Table;

pub(super) fn pgd(table: &mut Table<'_>, norm: Norm) -> Option<AttackTemplate> {
    let step_size = step_size(table, norm, defaults::PGD_STEP_OF_EPS);
    Some(AttackTemplate::Pgd {
        steps: table.count("steps", defaults::PGD_STEPS, 1, MOST_STEPS),
        random_start: table.boolean("random_start", defaults::PGD_RANDOM_START),
        restarts: table.count("restarts", defaults::PGD_RESTARTS, 1, MOST_STEPS),
        step_size: step_size?,
    })
}

pub(super) fn mi_fgsm(table: &mut Table<'_>, norm: Norm) -> Option<AttackTemplate> {
    let step_size = step_size(table, norm, defaults::MI_FGSM_STEP_OF_EPS);
    Some(AttackTemplate::MiFgsm {
        steps: table.count("steps", defaults::MI_FGSM_STEPS, 1, MOST_STEPS),
        decay: table.number("decay", defaults::MI_FGSM_DECAY, &NumberRange::of(0.0..)),
        step_size: step_size?,
    })
}

pub(super) fn di_fgsm(table: &mut Table<'_>, norm: Norm) -> Option<AttackTemplate> {
    let step_size = step_size(table, norm, defaults::DI_FGSM_STEP_OF_EPS);
    let probability = NumberRange::of(0.0..=1.0);
    Some(AttackTemplate::DiFgsm {
        steps: table.count("steps", defaults::DI_FGSM_STEPS, 1, MOST_STEPS),
        decay: table.number("decay", defaults::DI_FGSM_DECAY, &NumberRange::of(0.0..)),
        resize_rate: table.number("resize_rate", defaults::DI_FGSM_RESIZE_RATE, &share()),
        diversity_probability: table.number("diversity_probability", defaults::DI_FGSM_PROBABILITY, &probability),
        random_start: table.boolean("random_start", defaults::DI_FGSM_RANDOM_START),
        step_size: step_size?,
    })
}

pub(super) fn feature(table: &mut Table<'_>, norm: Norm) -> Option<AttackTemplate> {
    let step_size = step_size(table, norm, defaults::FEATURE_STEP_OF_EPS);
    Some(AttackTemplate::Feature {
        steps: table.count("steps", defaults::FEATURE_STEPS, 1, MOST_STEPS),
        restarts: table.count("restarts", defaults::FEATURE_RESTARTS, 1, MOST_STEPS),
        step_size: step_size?,
    })
}

/// The length of a step, as a multiple of ε where the file says nothing.
pub(super) fn step_size(table: &mut Table<'_>, norm: Norm, of_eps: f64) -> Option<StepSize> {
    let step = table.field("step_size").map(|field| epsilon::step_size(&field, norm));
    step.unwrap_or(Some(StepSize::OfEps(of_eps)))
}
