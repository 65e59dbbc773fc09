//! Figures, drawn as SVG into the page, each with its numbers as a table.

mod analyses;
mod curves;
mod drawing;
mod heat_maps;
mod looks;
mod plane;

use gauntlet_domain::analyses::heat_map::is_of_heat_map;
use gauntlet_domain::results::ResultRow;
use maud::{Markup, PreEscaped, html};

use self::looks::Looks;
use super::{Report, table};

/// One panel.
pub struct Panel {
    /// Which data set, model and attack, for people.
    pub title: String,
    /// The SVG of the whole panel.
    pub svg: String,
    /// The same numbers.
    pub header: Vec<String>,
    /// Columns of these that hold numbers.
    pub numbers: Vec<usize>,
    /// Rows of the table.
    pub rows: Vec<Vec<String>>,
}

/// Panels of one kind, or why there are none.
pub struct Figure {
    /// Short name, an id in the page.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// How to read it.
    pub caption: &'static str,
    /// What its colours mean; none where they are those of the ways of training.
    pub legend: Option<Markup>,
    /// What could be drawn.
    pub panels: Vec<Panel>,
    /// What could not, and why.
    pub left_out: Vec<String>,
}

/// A data set and model under one attack, in the order of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene<'a> {
    dataset: &'a str,
    backbone: &'a str,
    attack: &'a str,
    norm: &'a str,
}

impl<'a> Scene<'a> {
    const fn of(row: &'a ResultRow) -> Self {
        let ResultRow { dataset, backbone, attack, norm, .. } = row;
        Self { dataset: dataset.as_str(), backbone: backbone.as_str(), attack: attack.as_str(), norm: norm.as_str() }
    }

    fn words(&self) -> String {
        format!("{} · {} · {} ({})", self.dataset, self.backbone, self.attack, self.norm)
    }
}

/// Each scene with its rows.
fn scenes(rows: &[ResultRow]) -> Vec<(Scene<'_>, Vec<&ResultRow>)> {
    let mut found: Vec<(Scene<'_>, Vec<&ResultRow>)> = Vec::new();
    for row in rows {
        let scene = Scene::of(row);
        match found.iter_mut().find(|(other, _)| *other == scene) {
            Some((_, rows)) => rows.push(row),
            None => found.push((scene, vec![row])),
        }
    }
    found
}

/// All figures of a report.
///
/// # Errors
/// One cannot be drawn.
pub fn section(report: &Report, rows: &[ResultRow]) -> anyhow::Result<Markup> {
    let looks = Looks::of(rows, &report.analyses);
    let legend = looks.legend()?;
    let mut figures = vec![curves::figure(rows, &looks)?, plane::figure(report, rows, &looks)?];
    if report.analyses.iter().any(|row| !is_of_heat_map(row)) {
        figures.push(analyses::figure(&report.analyses, &looks)?);
    }
    figures.extend(heat_maps::figure(&report.analyses)?);
    Ok(html! {
        section aria-labelledby="figures" {
            h2 id="figures" { "Figures" }
            @for figure in &figures {
                h3 id=(figure.id) { (figure.title) }
                p.note { (figure.caption) }
                @if figure.panels.is_empty() {
                    p { strong { "Not drawn. " } @if figure.left_out.is_empty() { "There are no results yet." } }
                } @else {
                    (figure.legend.as_ref().unwrap_or(&legend))
                    div.panels { @for (number, panel) in figure.panels.iter().enumerate() { (one(figure, number, panel)) } }
                }
                @for reason in &figure.left_out { p.note { (reason) } }
            }
        }
    })
}

fn one(figure: &Figure, number: usize, panel: &Panel) -> Markup {
    let id = format!("{}-{number}", figure.id);
    let title = format!("{}: {}", figure.title, panel.title);
    html! {
        figure aria-labelledby={ (id) "-caption" } {
            (PreEscaped(drawing::titled(&panel.svg, &id, &title)))
            figcaption id={ (id) "-caption" } { b { (panel.title) } }
            details { summary { "The numbers" } (table::new(&panel.header, &panel.numbers, &panel.rows)) }
        }
    }
}
