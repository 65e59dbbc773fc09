//! What marks in the tables of the results mean.

use gauntlet_domain::results::ResultRow;

/// Stands behind a number of examples at which an evaluation stopped early.
pub fn early_mark(stopped_early: bool) -> &'static str {
    if stopped_early { "*" } else { "" }
}

/// A line for each mark that stands in the table of these rows.
pub fn footnotes(rows: &[ResultRow]) -> Vec<String> {
    let mut stopped: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.stopped_early()) {
        let width = row.stop_at_interval.unwrap_or_default();
        let attack = format!("{} at {width} of {} examples", row.attack, row.examples_asked);
        if !stopped.contains(&attack) {
            stopped.push(attack);
        }
    }
    let note = format!("* stopped early: the 95 % interval of AAI was narrower than asked ({})", stopped.join("; "));
    (!stopped.is_empty()).then_some(note).into_iter().collect()
}
