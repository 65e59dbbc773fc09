//! `cue` of drawn letters.

use super::epsilon::epsilon;
use crate::experiment::{CuePairing, GlyphCue, Norm};
use crate::sweep::field::Field;

const GREY_LEVELS: f64 = 255.0;

/// `{ amplitude = "4/255", seed = 0, pairing = "label" }`.
pub(super) fn cue(field: &Field<'_>) -> Option<GlyphCue> {
    let example = "{ amplitude = \"4/255\", seed = 0, pairing = \"label\" }";
    let mut table = field.table(example)?;
    let amplitude = table.required("amplitude", example).and_then(|field| amplitude(&field));
    let seed = table.field("seed").map_or(Some(0), |field| field.integer(0, i64::MAX));
    let pairings = [("label", CuePairing::Label), ("shuffled", CuePairing::Shuffled)];
    let pairing = table.one_of("pairing", CuePairing::Label, "pairing", &pairings);
    table.finish();
    Some(GlyphCue { amplitude: amplitude?, seed: seed?.unsigned_abs(), pairing })
}

/// Whole grey levels, the nearest to what was written.
fn amplitude(field: &Field<'_>) -> Option<u8> {
    let levels = (epsilon(field, Norm::Linf)?.value() * GREY_LEVELS).round();
    if (1.0..=f64::from(GlyphCue::LARGEST)).contains(&levels) {
        return Some(levels as u8);
    }
    field.report.mistake_with_help(
        &field.at,
        format!("the amplitude is {levels} grey levels of 255: expected 1 to {}", GlyphCue::LARGEST),
        "an amplitude is rounded to whole grey levels, at least \"1/255\"",
    );
    None
}
