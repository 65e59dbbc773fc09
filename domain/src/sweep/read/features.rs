//! `features` of a data set.

use super::epsilon::{LINF_AND_L2, epsilon, length, step_size};
use super::names::AxisNames;
use crate::catalogue::defaults;
use crate::experiment::{Construction, Descent, Norm};
use crate::sweep::field::Field;
use crate::sweep::sections::{FeatureSet, FeaturesSection, StepSize};
use crate::sweep::table::Table;

const EXAMPLE: &str = "{ set = \"robust\", from = \"robust-init\" }";
const MOST_STEPS: u32 = 1_000_000;
const SETS: [(&str, FeatureSet); 4] = [
    ("robust", FeatureSet::Robust),
    ("non-robust", FeatureSet::NonRobust),
    ("rand", FeatureSet::Rand),
    ("det", FeatureSet::Det),
];

/// `{ set = "robust", from = "robust-init" }`.
pub(super) fn features<'a>(field: &Field<'a>, names: &AxisNames<'a>) -> Option<FeaturesSection> {
    let mut table = field.table(EXAMPLE)?;
    let set = table.required("set", EXAMPLE).and_then(|field| field.one_of("set", &SETS));
    let from = table.required("from", EXAMPLE);
    let from = from.and_then(|field| names.inits.resolve(&field).map(|number| field.located(number)));
    let Some(set) = set else {
        table.accept_all();
        table.finish();
        return None;
    };
    let construction = match set {
        FeatureSet::Robust | FeatureSet::NonRobust => represented(&mut table),
        FeatureSet::Rand => descent(&mut table).map(Construction::RandomTarget),
        FeatureSet::Det => descent(&mut table).map(Construction::NextTarget),
    };
    table.finish();
    Some(FeaturesSection { set, from: from?, construction: construction? })
}

fn represented(table: &mut Table<'_>) -> Option<Construction> {
    table.refuse(&["norm", "eps"], "belongs to the sets `rand` and `det`: this one is held to no ball");
    let steps = table.count("steps", defaults::REPRESENTATION_STEPS, 1, MOST_STEPS);
    let step_size = match table.field("step_size") {
        Some(field) => length(&field, Norm::L2, "a step")?.value(),
        None => defaults::REPRESENTATION_STEP_SIZE,
    };
    Some(Construction::Represented { steps, step_size })
}

fn descent(table: &mut Table<'_>) -> Option<Descent> {
    let norm = table.one_of("norm", Norm::L2, "norm", &LINF_AND_L2);
    let eps = match (table.field("eps"), norm) {
        (Some(field), _) => Some(epsilon(&field, norm)?.value()),
        (None, Norm::L2) => Some(defaults::TARGET_EPS),
        (None, Norm::Linf | Norm::L1) => {
            table.required("eps", "for example: eps = \"8/255\"");
            None
        }
    };
    let steps = table.count("steps", defaults::TARGET_STEPS, 1, MOST_STEPS);
    let step = match table.field("step_size") {
        Some(field) => step_size(&field, norm)?,
        None => StepSize::OfEps(defaults::TARGET_STEP_OF_EPS),
    };
    let eps = eps?;
    Some(Descent { norm, eps, steps, step_size: step.resolve(eps) })
}
