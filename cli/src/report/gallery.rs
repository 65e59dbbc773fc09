//! The images that analyses left.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gauntlet_domain::analyses::ImageRow;
use maud::{Markup, html};

use super::Report;

/// Of more runs of an analysis the images stay in the database.
const MOST_RUNS: usize = 8;

/// Images, a row for each run; of several seeds the first one's. Nothing where there are none.
pub fn section(report: &Report) -> Markup {
    let analyses = by_analysis(&report.images);
    html! {
        @if !analyses.is_empty() {
            section aria-labelledby="images" {
                h2 id="images" { "Images" }
                p { "What analyses left to look at, of one seed each; " code { "gauntlet analyses ID --images FOLDER" } " writes all of them as files." }
                @for (analysis, runs) in &analyses {
                    h3 { (analysis) }
                    @for run in runs.iter().take(MOST_RUNS) { (row(run)) }
                    @if runs.len() > MOST_RUNS { p.note { (runs.len() - MOST_RUNS) " more runs are not shown." } }
                }
            }
        }
    }
}

/// A run's images.
type Run<'a> = Vec<&'a ImageRow>;

/// By analysis and run, each in the order in which it first appears.
fn by_analysis(images: &[ImageRow]) -> Vec<(&str, Vec<Run<'_>>)> {
    let mut found: Vec<(&str, Vec<Run<'_>>)> = Vec::new();
    for image in images {
        let index = found.iter().position(|(analysis, _)| *analysis == image.analysis).unwrap_or_else(|| {
            found.push((&image.analysis, Vec::new()));
            found.len() - 1
        });
        let runs = &mut found[index].1;
        match runs.iter_mut().find(|run| run.first().is_some_and(|first| same_way(first, image))) {
            Some(run) if run.first().is_some_and(|first| first.seed == image.seed) => run.push(image),
            Some(_) => {}
            None => runs.push(vec![image]),
        }
    }
    found
}

/// Whether two images are of runs that differ in seed alone.
fn same_way(one: &ImageRow, other: &ImageRow) -> bool {
    let of = |row: &ImageRow| {
        let against = row.against.strip_suffix(&format!(" · seed {}", row.seed)).unwrap_or(&row.against).to_owned();
        ([&row.dataset, &row.backbone, &row.init, &row.recipe].map(String::clone), against)
    };
    of(one) == of(other)
}

fn row(run: &Run<'_>) -> Markup {
    let Some(first) = run.first() else { return html! {} };
    let ImageRow { dataset, backbone, init, recipe, seed, against, .. } = *first;
    html! {
        p.note {
            (dataset) " · " (backbone) " · " (init) " · " (recipe) " · seed " (seed)
            @if !against.is_empty() { " against " (against) }
        }
        div.images {
            @for image in run {
                figure {
                    // An element of SVG, since the page is XML too.
                    svg role="img" aria-label=(image.image) viewBox="0 0 100 100" {
                        image width="100" height="100" href={ "data:image/png;base64," (STANDARD.encode(&image.png)) } {}
                    }
                    figcaption { (image.image.replace('-', " ")) }
                }
            }
        }
    }
}
