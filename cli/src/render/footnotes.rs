//! What marks in the tables of the results mean.

use gauntlet_domain::results::{ResultRow, SkippedRow};

/// Reasons told one by one.
const TOLD: usize = 10;

/// Stands where an evaluation was skipped as pointless.
pub const SKIPPED_MARK: &str = "†";

/// Stands behind a number of examples at which an evaluation stopped early.
pub const fn early_mark(stopped_early: bool) -> &'static str {
    if stopped_early { "*" } else { "" }
}

/// A line for each mark that stands in the table of these rows, or for each reason of it.
pub fn footnotes(rows: &[ResultRow], skipped: &[SkippedRow]) -> Vec<String> {
    let stopped = distinct(rows.iter().filter(|row| row.stopped_early()).map(|row| {
        let width = row.stop_at_interval.unwrap_or_default();
        format!("{} at {width} of {} examples", row.attack, row.examples_asked)
    }));
    let mut notes = Vec::new();
    if !stopped.is_empty() {
        let attacks = stopped.join("; ");
        notes.push(format!("* stopped early: the 95 % interval of AAI was narrower than asked ({attacks})"));
    }
    let reasons = distinct(skipped.iter().map(|row| row.reason.clone()));
    notes.extend(reasons.iter().take(TOLD).map(|reason| format!("{SKIPPED_MARK} {reason}")));
    if reasons.len() > TOLD {
        let more = reasons.len() - TOLD;
        notes.push(format!("{SKIPPED_MARK} and {more} more reasons: see the view `skipped_evaluations`"));
    }
    notes
}

/// Each text once, in the order in which it first comes.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attack: &str, examples: u32, stop_at_interval: Option<f64>) -> ResultRow {
        let text = str::to_owned;
        let (norm, eps) = (text("linf"), text("8/255"));
        let [sweep, dataset, backbone, init, recipe] = ["s", "d", "b", "i", "r"].map(text);
        ResultRow {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed: 0,
            attack: text(attack),
            norm,
            eps,
            examples,
            clean_correct: 0,
            robust_correct: 0,
            aoi: 0.0,
            aai: 0.0,
            decline_ratio: None,
            aai_low: 0.0,
            aai_high: 0.1,
            stop_at_interval,
            examples_asked: 1000,
        }
    }

    #[test]
    fn each_mark_is_explained_once_and_only_where_it_stands() {
        assert_eq!(footnotes(&[row("fgsm", 1000, None), row("pgd", 1000, Some(0.1))], &[]), Vec::<String>::new());
        let stopped = [row("pgd", 256, Some(0.05)), row("pgd", 512, Some(0.05)), row("apgd", 256, Some(0.1))];
        let note = "* stopped early: the 95 % interval of AAI was narrower than asked (pgd at 0.05 of 1000 examples; apgd at 0.1 of 1000 examples)";
        assert_eq!(footnotes(&stopped, &[]), [note]);
        let ResultRow { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, .. } = row("aa", 0, None);
        let reason = "pointless: pgd 8/255 left 0 of 1000 examples robust".to_owned();
        let skipped = SkippedRow { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, reason };
        let notes = footnotes(&[], &[skipped.clone(), skipped]);
        assert_eq!(notes, ["† pointless: pgd 8/255 left 0 of 1000 examples robust"]);
    }
}
