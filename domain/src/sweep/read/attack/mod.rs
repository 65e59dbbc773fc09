//! `[[attack]]`.

mod adaptive;
mod boundary;
mod cascade;
mod gradient;
mod method;
mod other_images;

use std::ops::Bound;

use self::method::{METHODS, Method};
pub(super) use self::other_images::uap;
use super::epsilon::{NORMS, epsilon};
use super::names::{AxisNames, required_name};
use crate::catalogue::defaults;
use crate::experiment::{AttackMethod, Epsilon, Norm, TargetClass};
use crate::sweep::attack_section::{AttackSection, AttackTemplate};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::table::Table;

const MOST_STEPS: u32 = 1_000_000;
const MOST_EXAMPLES: u32 = i32::MAX as u32;
const TARGETS: [(&str, TargetClass); 3] =
    [("least-likely", TargetClass::LeastLikely), ("runner-up", TargetClass::RunnerUp), ("random", TargetClass::Random)];

/// Reads an attack.
pub(super) fn read<'a>(mut table: Table<'a>, names: &AxisNames<'a>, seeds: &[u64]) -> Option<AttackSection> {
    let name = required_name(&mut table, "pgd20");
    let method = table.required("method", "for example: method = \"pgd\"");
    let method = method.and_then(|field| field.one_of("method", &METHODS));
    let examples = table.optional_count("examples", 1, MOST_EXAMPLES);
    let Some(method) = method else {
        let norm = table.one_of("norm", Norm::Linf, "norm", &NORMS);
        let _said = table.field("eps").and_then(|field| radii(&field, norm));
        table.accept_all();
        table.finish();
        return None;
    };
    let norm = method.norm(table.field("norm"));
    // Radii and steps are read, and mistakes in them said, even where the norm could not be.
    let some_norm = norm.unwrap_or(Norm::L1);
    let eps = eps(&mut table, method, some_norm);
    let target = target(&mut table, method);
    let early_stop = early_stop(&mut table, method);
    let stop_at_interval = stop_at_interval(&mut table, method);
    let cascade = cascade::read(&mut table, method, names);
    method.refuse_foreign_keys(&mut table);
    let template = match method {
        Method::Transfer => other_images::transfer(&mut table, names, seeds, norm),
        _ => template(&mut table, method, some_norm),
    };
    let at = table.at.clone();
    table.finish();
    let (target, eps, cascade) = (target?, eps?, cascade?);
    Some(AttackSection {
        name: name?,
        at,
        method: template?,
        norm: norm?,
        eps,
        target,
        early_stop,
        stop_at_interval,
        cascade,
        examples,
    })
}

/// Reads the parameters of a method that needs no other run.
fn template(table: &mut Table<'_>, method: Method, norm: Norm) -> Option<AttackTemplate> {
    match method {
        Method::Noise => {
            let draws = table.count("draws", defaults::NOISE_DRAWS, 1, MOST_STEPS);
            Some(AttackTemplate::Fixed(AttackMethod::Noise { draws }))
        }
        Method::Fgsm => Some(AttackTemplate::Fixed(AttackMethod::Fgsm)),
        Method::Pgd => gradient::pgd(table, norm),
        Method::MiFgsm => gradient::mi_fgsm(table, norm),
        Method::DiFgsm => gradient::di_fgsm(table, norm),
        Method::Feature => gradient::feature(table, norm),
        Method::Cw => Some(boundary::cw(table)),
        Method::DeepFool => Some(boundary::deepfool(table)),
        Method::Fab => Some(boundary::fab(table)),
        Method::Apgd => Some(adaptive::apgd(table)),
        Method::Square => Some(adaptive::square(table)),
        Method::AutoAttack => Some(adaptive::autoattack(table)),
        Method::Uap => other_images::uap(table, norm),
        // Read by its own function; as the attack inside another one it is refused before.
        Method::Transfer => None,
    }
}

fn eps(table: &mut Table<'_>, method: Method, norm: Norm) -> Option<Vec<Epsilon>> {
    if method.minimum_norm() && table.peek("eps").is_none() {
        // Makes the key known.
        let _absent = table.field("eps");
        return Some(Vec::new());
    }
    table.required("eps", "for example: eps = [\"2/255\", \"8/255\"]").and_then(|field| radii(&field, norm))
}

fn target(table: &mut Table<'_>, method: Method) -> Option<Option<TargetClass>> {
    if !method.takes_target() {
        let takers: Vec<String> =
            METHODS.iter().filter(|(_, method)| method.takes_target()).map(|(name, _)| format!("`{name}`")).collect();
        table.refuse(&["target"], &format!("belongs to the methods {}", takers.join(", ")));
        return Some(None);
    }
    table.field("target").map_or(Some(None), |field| field.one_of("target", &TARGETS).map(Some))
}

fn early_stop(table: &mut Table<'_>, method: Method) -> bool {
    if method.takes_early_stop() {
        return table.boolean("early_stop", defaults::EARLY_STOP);
    }
    table.refuse(&["early_stop"], &format!("is no choice of the method `{}`", method.name()));
    defaults::EARLY_STOP
}

fn stop_at_interval(table: &mut Table<'_>, method: Method) -> Option<f64> {
    if method.minimum_norm() {
        let why =
            "is no choice of the method `NAME`: one evaluation answers every ε, and AAI has another interval at each";
        table.refuse(&["stop_at_interval"], &why.replace("NAME", method.name()));
        return None;
    }
    let width = NumberRange::of((Bound::Excluded(0.0), Bound::Excluded(1.0)));
    table.field("stop_at_interval").and_then(|field| field.number(&width))
}

/// One radius or a list of them.
fn radii(field: &Field<'_>, norm: Norm) -> Option<Vec<Epsilon>> {
    let mut seen = std::collections::HashMap::new();
    let radii: Vec<Option<Epsilon>> = field
        .list_or_one("a list of radii such as [\"2/255\", \"8/255\"]")?
        .iter()
        .map(|entry| {
            let radius = epsilon(entry, norm)?;
            if let Some(other) = seen.insert(radius.value().to_bits(), radius.text().to_owned()) {
                let message = format!("the radius {radius} stands twice in the list (as {other} before)");
                entry.report.mistake(&entry.at, message);
                return None;
            }
            Some(radius)
        })
        .collect();
    radii.into_iter().collect()
}

/// A number above 0 and at most 1.
fn share() -> NumberRange {
    NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0)))
}
