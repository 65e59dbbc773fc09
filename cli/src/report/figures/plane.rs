//! Every model in the plane of AOI and AAI, with a line from each fine-tuned model to its standard twin.

use gauntlet_domain::claims::twins;
use gauntlet_domain::results::ResultRow;
use plotters::prelude::*;

use super::super::Report;
use super::super::table::percent;
use super::drawing::{Axes, DrawError, JOIN, marked, panel};
use super::looks::Looks;
use super::{Figure, Panel, Scene, scenes};

const CAPTION: &str = "Each point is a model of one seed: accuracy on original inputs to the right, under the attack upwards, in percent. Grey lines join a \
fine-tuned model with its standard twin of the same seed. Models at the same AOI are compared along a vertical. Each panel is at the ε of its attack at \
which the AAI of the models lie furthest apart.";

/// A panel for every data set, model and attack.
///
/// # Errors
/// One cannot be drawn.
pub fn figure(report: &Report, rows: &[ResultRow], looks: &Looks) -> anyhow::Result<Figure> {
    let twins = report.source.as_ref().map_or_else(|_| Vec::new(), |source| twins(source, &report.evaluations));
    let (mut panels, mut left_out) = (Vec::new(), Vec::new());
    for (scene, rows) in scenes(rows) {
        let Some(eps) = widest(&rows) else {
            left_out.push(format!("{}: not drawn, because it was evaluated without an ε.", scene.words()));
            continue;
        };
        let rows: Vec<&ResultRow> = rows.into_iter().filter(|row| row.eps == eps).collect();
        let joins: Vec<_> = twins.iter().filter(|[row, _]| Scene::of(row) == scene && row.eps == eps).collect();
        panels.push(draw(scene, eps, &rows, &joins, looks)?);
    }
    if report.source.is_err() {
        left_out.push("Twins are not joined: the sweep file is not known.".to_owned());
    }
    Ok(Figure { id: "plane", title: "AOI and AAI", caption: CAPTION, legend: None, panels, left_out })
}

/// The ε at which the AAI of the models lie furthest apart; the first of several.
fn widest<'a>(rows: &[&'a ResultRow]) -> Option<&'a str> {
    let mut best: Option<(&str, f64)> = None;
    for eps in rows.iter().map(|row| row.eps.as_str()).filter(|eps| !eps.is_empty()) {
        let at = || rows.iter().filter(|row| row.eps == eps).map(|row| row.aai);
        let spread = at().fold(f64::NEG_INFINITY, f64::max) - at().fold(f64::INFINITY, f64::min);
        if best.is_none_or(|(_, most)| spread > most) {
            best = Some((eps, spread));
        }
    }
    best.map(|(eps, _)| eps)
}

fn around(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (low, high) = (values.clone().fold(100.0, f64::min), values.fold(0.0, f64::max));
    let space = (0.08 * (high - low)).max(2.0);
    (low - space, high + space)
}

fn draw(
    scene: Scene<'_>,
    eps: &str,
    rows: &[&ResultRow],
    joins: &[&[&ResultRow; 2]],
    looks: &Looks,
) -> anyhow::Result<Panel> {
    let at = |row: &ResultRow| (100.0 * row.aoi, 100.0 * row.aai);
    let axes = Axes {
        x: around(rows.iter().map(|row| at(row).0)),
        y: around(rows.iter().map(|row| at(row).1)),
        x_title: "AOI, %".to_owned(),
        x_names: Vec::new(),
        y_title: "AAI, %".to_owned(),
        whole: false,
    };
    let svg = panel(&axes, |chart| {
        let join =
            |[first, second]: &&[&ResultRow; 2]| PathElement::new(vec![at(first), at(second)], JOIN.stroke_width(2));
        chart.draw_series(joins.iter().map(join))?;
        for (init, recipe, look) in looks.iter() {
            let of_way = rows.iter().filter(|row| row.init == init && row.recipe == recipe);
            chart.draw_series(of_way.map(|row| marked(at(row), look)))?;
        }
        Ok::<(), DrawError>(())
    })?;
    let cells = |row: &&ResultRow| {
        vec![row.init.clone(), row.recipe.clone(), row.seed.to_string(), percent(row.aoi), percent(row.aai)]
    };
    Ok(Panel {
        title: format!("{} at ε {eps}", scene.words()),
        svg,
        header: ["init", "recipe", "seed", "AOI %", "AAI %"].map(str::to_owned).to_vec(),
        numbers: vec![2, 3, 4],
        rows: rows.iter().map(cells).collect(),
    })
}
