//! `[[attack]]`.

use super::epsilon::{NORMS, epsilon, step_size};
use super::names::required_name;
use crate::catalogue::{PLANNED_ATTACKS, defaults};
use crate::experiment::{Epsilon, Norm};
use crate::sweep::field::Field;
use crate::sweep::sections::{AttackSection, AttackTemplate, StepSize};
use crate::sweep::table::Table;

const MOST_STEPS: u32 = 1_000_000;
const MOST_EXAMPLES: u32 = i32::MAX as u32;
const PGD_KEYS: [&str; 4] = ["steps", "step_size", "random_start", "restarts"];

#[derive(Clone, Copy)]
enum Method {
    Noise,
    Fgsm,
    Pgd,
}

const METHODS: [(&str, Method); 3] = [("noise", Method::Noise), ("fgsm", Method::Fgsm), ("pgd", Method::Pgd)];

/// Reads an attack.
pub(super) fn read(mut table: Table<'_>) -> Option<AttackSection> {
    let name = required_name(&mut table, "pgd20");
    let method = table.required("method", "for example: method = \"pgd\"");
    let method = method.and_then(|field| field.one_of_or_planned("method", &METHODS, &PLANNED_ATTACKS));
    let norm = table.one_of("norm", Norm::Linf, "norm", &NORMS);
    let eps = table.required("eps", "for example: eps = [\"2/255\", \"8/255\"]").and_then(|field| radii(&field, norm));
    let early_stop = table.boolean("early_stop", defaults::EARLY_STOP);
    let examples = table.optional_count("examples", 1, MOST_EXAMPLES);
    let method = match method {
        Some(method) => template(&mut table, method, norm),
        None => {
            table.accept_all();
            None
        }
    };
    let at = table.at.clone();
    table.finish();
    Some(AttackSection { name: name?, at, method: method?, norm, eps: eps?, early_stop, examples })
}

fn template(table: &mut Table<'_>, method: Method, norm: Norm) -> Option<AttackTemplate> {
    if !matches!(method, Method::Pgd) {
        table.refuse(&PGD_KEYS, "belongs to the method `pgd`");
    }
    if !matches!(method, Method::Noise) {
        table.refuse(&["draws"], "belongs to the method `noise`");
    }
    Some(match method {
        Method::Noise => AttackTemplate::Noise { draws: table.count("draws", defaults::NOISE_DRAWS, 1, MOST_STEPS) },
        Method::Fgsm => AttackTemplate::Fgsm,
        Method::Pgd => {
            let step = table.field("step_size").map(|field| step_size(&field, norm));
            AttackTemplate::Pgd {
                steps: table.count("steps", defaults::PGD_STEPS, 1, MOST_STEPS),
                random_start: table.boolean("random_start", defaults::PGD_RANDOM_START),
                restarts: table.count("restarts", defaults::PGD_RESTARTS, 1, MOST_STEPS),
                step_size: step.unwrap_or(Some(StepSize::OfEps(defaults::PGD_STEP_OF_EPS)))?,
            }
        }
    })
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
