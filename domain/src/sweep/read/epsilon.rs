//! Radii and steps in pixel space.

use toml::de::DeValue;

use crate::experiment::{Epsilon, InvalidEpsilon, Norm};
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::sections::StepSize;

const EXPECTED: &str = "a number or a fraction such as \"8/255\"";
/// Lengths of the longest difference between two images of 1024×1024 in RGB.
const LARGEST_L2: f64 = 1773.7;
const LARGEST_L1: f64 = 3_145_728.0;
const LONGEST_TEXT: usize = 32;

/// The norms by name.
pub(super) const NORMS: [(&str, Norm); 3] = [("linf", Norm::Linf), ("l2", Norm::L2), ("l1", Norm::L1)];

/// Those of the attacks that take no L1.
pub(super) const LINF_AND_L2: [(&str, Norm); 2] = [NORMS[0], NORMS[1]];

/// A radius in pixel space, with its text.
pub(super) fn epsilon(field: &Field<'_>, norm: Norm) -> Option<Epsilon> {
    length(field, norm, "an ε")
}

/// A length in pixel space that is called `what`, with its text.
pub(super) fn length(field: &Field<'_>, norm: Norm, what: &str) -> Option<Epsilon> {
    let text = match field.value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
        DeValue::Float(float) => float.as_str(),
        _ => return field.expected(EXPECTED),
    };
    if text.len() > LONGEST_TEXT {
        return field.expected(&format!("{EXPECTED} of at most {LONGEST_TEXT} characters"));
    }
    match text.parse::<Epsilon>() {
        Ok(epsilon) => within(field, norm, what, epsilon),
        Err(InvalidEpsilon::NotANumber(_)) => field.expected(EXPECTED),
        Err(error) => {
            field.report.mistake(&field.at, error.to_string());
            None
        }
    }
}

fn within(field: &Field<'_>, norm: Norm, what: &str, epsilon: Epsilon) -> Option<Epsilon> {
    let largest = match norm {
        Norm::Linf => 1.0,
        Norm::L2 => LARGEST_L2,
        Norm::L1 => LARGEST_L1,
    };
    if epsilon.value() <= largest {
        return Some(epsilon);
    }
    let message = match norm {
        Norm::Linf => format!("{what} of {epsilon} is beyond the whole range of a pixel, [0,1]"),
        Norm::L2 | Norm::L1 => {
            format!("{what} of {epsilon} is longer than the difference of any two images of 1024×1024")
        }
    };
    let help = if norm == Norm::Linf && epsilon.value() <= 255.0 && !epsilon.text().contains('/') {
        format!("did you mean \"{epsilon}/255\"? ε is in pixel space [0,1]")
    } else {
        "ε is in pixel space [0,1]: eight of 255 grey levels are \"8/255\"".to_owned()
    };
    field.report.mistake_with_help(&field.at, message, help);
    None
}

/// A step: absolute, or `{ of_eps = 0.25 }`.
pub(super) fn step_size(field: &Field<'_>, norm: Norm) -> Option<StepSize> {
    if !field.value.is_table() {
        return match field.value {
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) => {
                length(field, norm, "a step").map(|epsilon| StepSize::Absolute(epsilon.value()))
            }
            _ => field.expected(&format!("{EXPECTED}, or {{ of_eps = 0.25 }}")),
        };
    }
    let mut table = field.table("{ of_eps = 0.25 }")?;
    let multiple = table.required("of_eps", "step_size = { of_eps = 0.25 } is a quarter of ε");
    let multiple = multiple.and_then(|field| field.number(&NumberRange::above_zero()));
    table.finish();
    multiple.map(StepSize::OfEps)
}
