//! A sweep as one page: what ran, what it says of the study's claims, the results, and figures of them. Self-contained HTML that runs nothing.

mod figures;
mod findings;
mod gallery;
mod head;
mod table;
#[cfg(test)]
mod tests;

use gauntlet_domain::analyses::{AnalysisRow, ImageRow};
use gauntlet_domain::claims::Evaluation;
use gauntlet_domain::masking::MaskingWarning;
use gauntlet_domain::results::{ResultRow, SkippedRow, summarize};
use gauntlet_domain::sweep::Sweep;
use gauntlet_proto::v1;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use head::moment;

use crate::render::{footnotes, summary_table};

/// Nothing in it names another file.
const STYLE: &str = include_str!("report.css");
/// Columns of the summary that hold numbers.
const NUMBERS: [usize; 4] = [7, 8, 9, 10];

/// What is reported.
pub struct Report {
    /// How far the sweep is.
    pub sweep: v1::Sweep,
    /// The sweep file, or why it is not known.
    pub source: Result<Sweep, String>,
    /// The rows of the results that are there.
    pub evaluations: Vec<Evaluation>,
    /// The cells that an earlier attack made pointless.
    pub skipped: Vec<SkippedRow>,
    /// What the analyses came to.
    pub analyses: Vec<AnalysisRow>,
    /// The images that they left.
    pub images: Vec<ImageRow>,
    /// What speaks for masked gradients.
    pub warnings: Vec<MaskingWarning>,
    /// When it was asked for, for people.
    pub made_at: String,
}

impl Report {
    fn rows(&self) -> Vec<ResultRow> {
        self.evaluations.iter().map(|evaluation| evaluation.row.clone()).collect()
    }
}

/// The page.
///
/// # Errors
/// A figure cannot be drawn.
pub fn page(report: &Report) -> anyhow::Result<String> {
    let rows = report.rows();
    let title = format!("{} – Gauntlet report", report.sweep.name);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head::section(report, &rows))
                    (findings::section(report))
                    (results(report, &rows))
                    (figures::section(report, &rows)?)
                    (gallery::section(report))
                }
            }
        }
    };
    // XML has no way to say these, and no name needs them.
    let unspeakable = |c: char| (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{FFFE}' | '\u{FFFF}');
    Ok(page.into_string().replace(unspeakable, "\u{FFFD}"))
}

fn results(report: &Report, rows: &[ResultRow]) -> Markup {
    let summary = summarize(rows);
    html! {
        section aria-labelledby="results" {
            h2 id="results" { "Results" }
            @if rows.is_empty() && report.skipped.is_empty() {
                p { "No evaluation has a result yet." }
            } @else {
                p { "Mean ± sample standard deviation over seeds, in percent. AOI and AAI are the accuracies on original and on adversarial inputs, DR is (AOI − AAI) / AOI." }
                (table::of(&summary_table(&summary, &report.skipped), &NUMBERS))
                @for note in footnotes(rows, &report.skipped) { p.note { (note) } }
            }
        }
    }
}
