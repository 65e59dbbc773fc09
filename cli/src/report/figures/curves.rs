//! Robustness curves: accuracy against ε, a line for each way of training.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::Epsilon;
use gauntlet_domain::results::ResultRow;
use gauntlet_domain::statistics::paired::share_interval;
use gauntlet_domain::statistics::{mean_and_deviation, wilson_interval};
use plotters::prelude::*;

use super::super::table::percent;
use super::drawing::{Axes, DrawError, dashed, marked, panel};
use super::looks::{Look, Looks};
use super::{Figure, Panel, Scene, scenes};

const CAPTION: &str = "Accuracy in percent against ε, one line for each init · recipe; at ε = 0 the accuracy on original inputs (AOI), beyond it AAI. \
Vertical bars are 95 % intervals: over two or more seeds of the mean over seeds (t, on the same test examples), of one seed Wilson's over its examples. \
Lines of one panel are moved apart sideways by a few pixels where they would hide each other.";

/// A mean over seeds with its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    eps: f64,
    text: String,
    seeds: usize,
    examples: u32,
    mean: f64,
    low: f64,
    high: f64,
}

/// A panel for every data set, model and attack.
///
/// # Errors
/// One cannot be drawn.
pub fn figure(rows: &[ResultRow], looks: &Looks) -> anyhow::Result<Figure> {
    let (mut panels, mut left_out) = (Vec::new(), Vec::new());
    for (scene, rows) in scenes(rows) {
        let lines: Vec<_> =
            looks.iter().map(|way| (way, line(&rows, way.0, way.1))).filter(|line| !line.1.is_empty()).collect();
        let mut radii: Vec<&str> = rows.iter().map(|row| row.eps.as_str()).filter(|eps| !eps.is_empty()).collect();
        radii.sort_unstable();
        radii.dedup();
        match radii.as_slice() {
            [] => left_out.push(format!("{}: no curve, because it was evaluated without an ε.", scene.words())),
            [only] => left_out.push(format!(
                "{}: no curve, because there is a single ε, {only}; its numbers are in the table of results.",
                scene.words()
            )),
            _ => panels.push(draw(scene, &lines, radii.iter().all(|eps| eps.ends_with("/255")))?),
        }
    }
    Ok(Figure { id: "curves", title: "Robustness curves", caption: CAPTION, legend: None, panels, left_out })
}

type Line<'a> = ((&'a str, &'a str, Look), Vec<Point>);

/// The points of one way of training, by ε from 0 on.
fn line(rows: &[&ResultRow], init: &str, recipe: &str) -> Vec<Point> {
    let mut by_eps: BTreeMap<Epsilon, Vec<&ResultRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.init == init && row.recipe == recipe) {
        if let Ok(eps) = row.eps.parse() {
            by_eps.entry(eps).or_default().push(row);
        }
    }
    let original =
        by_eps.values().max_by_key(|rows| rows.len()).and_then(|rows| point(0.0, "0", rows, |row| row.clean_correct));
    let adversarial =
        by_eps.iter().filter_map(|(eps, rows)| point(eps.value(), eps.text(), rows, |row| row.robust_correct));
    original.into_iter().chain(adversarial).collect()
}

fn point(eps: f64, text: &str, rows: &[&ResultRow], correct: fn(&ResultRow) -> u32) -> Option<Point> {
    let examples = rows.iter().map(|row| row.examples).min()?;
    let shares: Vec<f64> = rows.iter().map(|row| f64::from(correct(row)) / f64::from(row.examples.max(1))).collect();
    let (mean, _) = mean_and_deviation(&shares)?;
    let of_one = || wilson_interval(u64::from(correct(rows.first()?)), u64::from(examples));
    let (low, high) = share_interval(&shares, 1.0 / f64::from(examples.max(1))).or_else(of_one)?;
    Some(Point { eps, text: text.to_owned(), seeds: rows.len(), examples, mean, low, high })
}

fn draw(scene: Scene<'_>, lines: &[Line<'_>], in_grey_levels: bool) -> anyhow::Result<Panel> {
    let scale = if in_grey_levels { 255.0 } else { 1.0 };
    let largest = lines.iter().flat_map(|(_, points)| points).map(|point| scale * point.eps).fold(0.0, f64::max);
    let highest = lines.iter().flat_map(|(_, points)| points).map(|point| point.high).fold(0.0, f64::max);
    let top = 20.0 * (5.0 * highest).ceil().max(1.0);
    let unit = if in_grey_levels { "in 1/255" } else { "in pixel space" };
    let axes = Axes {
        x: (-0.03 * largest, 1.05 * largest),
        y: (-0.02 * top, 1.02 * top),
        x_title: format!("ε ({}), {unit}", scene.norm),
        x_names: Vec::new(),
        y_title: "accuracy, %".to_owned(),
        whole: false,
    };
    let svg = panel(&axes, |chart| {
        for (number, ((_, _, look), points)) in lines.iter().enumerate() {
            let aside = 0.008 * largest * (number as f64 - 0.5 * (lines.len() as f64 - 1.0));
            let at = |point: &Point, share: f64| (scale * point.eps + aside, 100.0 * share);
            chart.draw_series([dashed(points.iter().map(|point| at(point, point.mean)).collect(), *look)])?;
            let bar = |point: &Point| {
                PathElement::new(vec![at(point, point.low), at(point, point.high)], look.colour.stroke_width(2))
            };
            chart.draw_series(points.iter().map(bar))?;
            chart.draw_series(points.iter().map(|point| marked(at(point, point.mean), *look)))?;
        }
        Ok::<(), DrawError>(())
    })?;
    Ok(Panel {
        title: scene.words(),
        svg,
        header: ["init", "recipe", "ε", "seeds × examples", "accuracy %", "95 % interval"].map(str::to_owned).to_vec(),
        numbers: vec![3, 4, 5],
        rows: lines
            .iter()
            .flat_map(|(way, points)| points.iter().map(move |point| cells(way.0, way.1, point)))
            .collect(),
    })
}

fn cells(init: &str, recipe: &str, point: &Point) -> Vec<String> {
    vec![
        init.to_owned(),
        recipe.to_owned(),
        point.text.clone(),
        format!("{} × {}", point.seeds, point.examples),
        percent(point.mean),
        format!("{} – {}", percent(point.low), percent(point.high)),
    ]
}
