//! What analyses came to: each measure along the layers of the network, or along the analysis' own axis, a line for each way of training. Heat maps have a
//! figure of their own.

use gauntlet_domain::analyses::heat_map::is_of_heat_map;
use gauntlet_domain::analyses::{AnalysisRow, AnalysisSummary, place, summarize};
use gauntlet_domain::experiment::AnalysisMethod;
use gauntlet_domain::results::Spread;
use plotters::prelude::*;

use super::drawing::{Axes, DrawError, dashed, marked, panel};
use super::looks::{Look, Looks};
use super::{Figure, Panel};

const CAPTION: &str = "Mean over seeds of each measure, one line for each init · recipe; vertical bars reach one sample standard deviation of the seeds \
to either side. Lines of one panel are moved apart sideways by a few pixels where they would hide each other.";

/// More measures of one analysis are left to its table.
const MOST_MEASURES: usize = 6;

/// A panel for every analysis, data set, model, what it is compared with, and measure; for every layer too, where it has an axis of its own.
///
/// # Errors
/// One cannot be drawn.
pub fn figure(rows: &[AnalysisRow], looks: &Looks) -> anyhow::Result<Figure> {
    let rows: Vec<AnalysisRow> = rows.iter().filter(|row| !is_of_heat_map(row)).cloned().collect();
    let summaries = summarize(&rows);
    let (mut panels, mut left_out) = (Vec::new(), Vec::new());
    for (scene, rows) in scenes(&summaries) {
        let measures = measures(&rows);
        if measures.len() > MOST_MEASURES {
            let (count, drawn) = (measures.len(), measures[..MOST_MEASURES].join(", "));
            left_out.push(format!(
                "{}: of {count} measures {drawn} are drawn; `gauntlet results` has all.",
                scene.words("")
            ));
        }
        let mut single = Vec::new();
        for measure in measures.into_iter().take(MOST_MEASURES) {
            for (layer, rows) in lines_of(&rows, measure) {
                match Axis::of(&rows, measure) {
                    Axis { places, .. } if places.len() < 2 => single.push(measure),
                    axis => panels.push(draw(scene, (measure, layer), &axis, &rows, looks)?),
                }
            }
        }
        if !single.is_empty() {
            let names = single.join(", ");
            left_out
                .push(format!("{}: no line through a single place; `gauntlet results` has {names}.", scene.words("")));
        }
    }
    Ok(Figure { id: "analyses", title: "Analyses", caption: CAPTION, legend: None, panels, left_out })
}

/// What shares panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene<'a> {
    analysis: &'a str,
    method: &'a str,
    dataset: &'a str,
    backbone: &'a str,
    against: &'a str,
}

impl<'a> Scene<'a> {
    fn of(row: &'a AnalysisSummary) -> Self {
        let AnalysisSummary { analysis, method, dataset, backbone, against, .. } = row;
        Self { analysis, method, dataset, backbone, against }
    }

    fn words(&self, measure: &str) -> String {
        let against = if self.against.is_empty() { String::new() } else { format!(" against {}", self.against) };
        let measure = if measure.is_empty() { String::new() } else { format!(": {measure}") };
        format!("{}{against} · {} · {}{measure}", self.analysis, self.dataset, self.backbone)
    }
}

fn scenes(summaries: &[AnalysisSummary]) -> Vec<(Scene<'_>, Vec<&AnalysisSummary>)> {
    let mut found: Vec<(Scene<'_>, Vec<&AnalysisSummary>)> = Vec::new();
    for row in summaries {
        let scene = Scene::of(row);
        match found.iter_mut().find(|(other, _)| *other == scene) {
            Some((_, rows)) => rows.push(row),
            None => found.push((scene, vec![row])),
        }
    }
    found
}

/// The measures of some rows, in their order.
fn measures<'a>(rows: &[&'a AnalysisSummary]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (measure, _) in rows.iter().flat_map(|row| &row.values) {
        if !found.contains(&measure.as_str()) {
            found.push(measure);
        }
    }
    found
}

fn value(row: &AnalysisSummary, measure: &str) -> Option<Spread> {
    row.values.iter().find(|(name, _)| name == measure).map(|(_, spread)| *spread)
}

/// The layers of some rows, in their order.
fn layers<'a>(rows: &[&'a AnalysisSummary]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for row in rows {
        if !found.contains(&row.layer.as_str()) {
            found.push(&row.layer);
        }
    }
    found
}

/// The rows of a measure that share an axis: all of them, or, where each layer has an axis of numbers of its own, those of each layer with its name.
fn lines_of<'a>(rows: &[&'a AnalysisSummary], measure: &str) -> Vec<(&'a str, Vec<&'a AnalysisSummary>)> {
    let rows: Vec<&AnalysisSummary> = rows.iter().copied().filter(|row| value(row, measure).is_some()).collect();
    let layers = layers(&rows);
    let along_numbers = rows.iter().any(|row| row.x.is_some() && row.x != rows[0].x);
    if layers.len() < 2 || !along_numbers {
        return vec![("", rows)];
    }
    let of = |layer| (layer, rows.iter().copied().filter(|row| row.layer == layer).collect());
    layers.into_iter().map(of).collect()
}

/// The horizontal axis: places along an axis of numbers, or layers one after the other.
struct Axis<'a> {
    places: Vec<(f64, String)>,
    layers: Vec<&'a str>,
}

impl<'a> Axis<'a> {
    fn of(rows: &[&'a AnalysisSummary], measure: &str) -> Self {
        let rows: Vec<&AnalysisSummary> = rows.iter().copied().filter(|row| value(row, measure).is_some()).collect();
        let layers = layers(&rows);
        if layers.len() > 1 {
            let places =
                layers.iter().enumerate().map(|(number, layer)| (number as f64, (*layer).to_owned())).collect();
            return Self { places, layers };
        }
        let mut places: Vec<f64> = rows.iter().filter_map(|row| row.x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        Self { places: places.into_iter().map(|x| (x, place(x))).collect(), layers: Vec::new() }
    }

    /// What it measures; of a method that this version does not know, the name of the column.
    fn title(&self, method: &str) -> &'static str {
        if self.layers.is_empty() { AnalysisMethod::axis(method).unwrap_or("x") } else { "layer" }
    }

    /// Where a row stands, and its name.
    fn place(&self, row: &AnalysisSummary) -> Option<&(f64, String)> {
        if self.layers.is_empty() {
            return self.places.iter().find(|(place, _)| Some(*place) == row.x);
        }
        self.places.iter().find(|(_, layer)| *layer == row.layer)
    }
}

/// A mean of one way of training at one place.
struct Point<'a> {
    x: f64,
    place: &'a str,
    seeds: usize,
    examples: u32,
    spread: Spread,
}

impl Point<'_> {
    fn ends(&self) -> [f64; 2] {
        let deviation = self.spread.deviation.unwrap_or_default();
        [self.spread.mean - deviation, self.spread.mean + deviation]
    }
}

/// A way of training with its look, and its points from left to right.
type Line<'a> = ((&'a str, &'a str, Look), Vec<Point<'a>>);

fn line<'a>(rows: &[&AnalysisSummary], way: (&str, &str), measure: &str, axis: &'a Axis<'_>) -> Vec<Point<'a>> {
    let of_way = rows.iter().filter(|row| row.init == way.0 && row.recipe == way.1);
    let mut points: Vec<Point<'a>> = of_way
        .filter_map(|row| {
            let (x, place) = axis.place(row)?;
            let spread = value(row, measure)?;
            Some(Point { x: *x, place, seeds: row.seeds, examples: row.examples, spread })
        })
        .collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

fn draw(
    scene: Scene<'_>,
    (measure, layer): (&str, &str),
    axis: &Axis<'_>,
    rows: &[&AnalysisSummary],
    looks: &Looks,
) -> anyhow::Result<Panel> {
    let lines: Vec<Line<'_>> = looks
        .iter()
        .map(|way| (way, line(rows, (way.0, way.1), measure, axis)))
        .filter(|line| !line.1.is_empty())
        .collect();
    let ends = || lines.iter().flat_map(|(_, points)| points.iter().flat_map(Point::ends));
    let (low, high) = (ends().fold(0.0, f64::min), ends().fold(0.0, f64::max));
    let height = if high > low { high - low } else { 1.0 };
    let (first, last) = (axis.places[0].0, axis.places[axis.places.len() - 1].0);
    let width = last - first;
    let svg = panel(
        &Axes {
            x: (first - 0.08 * width, last + 0.08 * width),
            y: (low - 0.03 * height, high + 0.05 * height),
            x_title: axis.title(scene.method).to_owned(),
            x_names: axis.layers.iter().map(|layer| (*layer).to_owned()).collect(),
            y_title: measure.to_owned(),
            whole: false,
        },
        |chart| {
            for (number, ((_, _, look), points)) in lines.iter().enumerate() {
                let aside = 0.008 * width * (number as f64 - 0.5 * (lines.len() as f64 - 1.0));
                let at = |point: &Point<'_>, height: f64| (point.x + aside, height);
                chart
                    .draw_series([dashed(points.iter().map(|point| at(point, point.spread.mean)).collect(), *look)])?;
                let bar = |point: &Point<'_>| {
                    PathElement::new(point.ends().map(|end| at(point, end)).to_vec(), look.colour.stroke_width(2))
                };
                chart.draw_series(points.iter().map(bar))?;
                chart.draw_series(points.iter().map(|point| marked(at(point, point.spread.mean), *look)))?;
            }
            Ok::<(), DrawError>(())
        },
    )?;
    Ok(Panel {
        title: scene.words(&if layer.is_empty() { measure.to_owned() } else { format!("{measure}, {layer}") }),
        svg,
        header: ["init", "recipe", "at", "seeds × examples", "mean", "sample standard deviation"]
            .map(str::to_owned)
            .to_vec(),
        numbers: vec![3, 4, 5],
        rows: lines
            .iter()
            .flat_map(|(way, points)| points.iter().map(move |point| cells(way.0, way.1, point)))
            .collect(),
    })
}

fn cells(init: &str, recipe: &str, point: &Point<'_>) -> Vec<String> {
    vec![
        init.to_owned(),
        recipe.to_owned(),
        point.place.to_owned(),
        format!("{} × {}", point.seeds, point.examples),
        format!("{:.3}", point.spread.mean),
        point.spread.deviation.map_or_else(|| "–".to_owned(), |deviation| format!("{deviation:.3}")),
    ]
}
