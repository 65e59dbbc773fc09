//! Fourier heat maps: on which frequencies each way of training errs, coloured on one scale.

use gauntlet_domain::analyses::AnalysisRow;
use gauntlet_domain::analyses::heat_map::{HeatMap, HeatMaps, heat_maps};
use gauntlet_domain::experiment::AnalysisMethod;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::drawing::{Axes, DrawError, draw, panel};
use super::{Figure, Panel};
use crate::report::table::percent;

const CAPTION: &str = "The share of the examples that a model gets wrong once a wave of a single frequency is added to them, mean over seeds. Low \
frequencies are in the middle; a wave and its opposite are the same, so each map looks the same after half a turn. All maps have the same colours.";

/// Steps of the legend.
const STEPS: i32 = 64;
/// Width and height of a step, in pixels.
const STEP: (i32, i32) = (6, 36);

/// A panel for every way of training with a map; none where there is no map at all.
///
/// # Errors
/// One cannot be drawn.
pub fn figure(rows: &[AnalysisRow]) -> anyhow::Result<Option<Figure>> {
    let found = heat_maps(rows);
    let unplaced = match found.unplaced {
        0 => Vec::new(),
        count => vec![format!("{count} numbers of heat maps name no frequency, and are left out.")],
    };
    let Some(scale) = Scale::of(&found) else {
        let figure = Figure { legend: None, panels: Vec::new(), left_out: unplaced, ..empty() };
        return Ok((!figure.left_out.is_empty()).then_some(figure));
    };
    let panels = found.maps.iter().map(|map| one(map, scale)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Some(Figure { legend: Some(scale.legend()?), panels, left_out: unplaced, ..empty() }))
}

fn empty() -> Figure {
    let (panels, left_out) = (Vec::new(), Vec::new());
    Figure { id: "heat-maps", title: "Fourier heat maps", caption: CAPTION, legend: None, panels, left_out }
}

/// From the smallest to the largest number of all maps.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(maps: &HeatMaps) -> Option<Self> {
        maps.range().map(|(low, high)| Self { low, high })
    }

    /// Dark to light; also in grey, in print, and for eyes that tell red and green apart or not.
    fn colour(self, error: f64) -> RGBColor {
        let height = if self.high > self.low { (error - self.low) / (self.high - self.low) } else { 0.0 };
        ViridisRGB.get_color_normalized(height as f32, 0.0, 1.0)
    }

    fn legend(self) -> anyhow::Result<Markup> {
        let (width, height) = STEP;
        let error = |step: i32| self.low + (self.high - self.low) * f64::from(step) / f64::from(STEPS - 1);
        let size = ((width * STEPS).unsigned_abs(), height.unsigned_abs());
        let svg = draw(size, |root| {
            for step in 0..STEPS {
                // To the end, so that nothing shines through between one and the next.
                let corners = [(step * width, 0), (STEPS * width, height)];
                root.draw(&Rectangle::new(corners, self.colour(error(step)).filled()))?;
            }
            Ok(())
        })?;
        let svg = svg.replacen("<svg ", "<svg aria-hidden=\"true\" ", 1);
        Ok(html! {
            div.scale {
                p { "darkest: " (percent(self.low)) " % wrong" }
                (PreEscaped(svg))
                p { "lightest: " (percent(self.high)) " % wrong" }
            }
        })
    }
}

fn one(map: &HeatMap, scale: Scale) -> anyhow::Result<Panel> {
    let (horizontal, vertical) = (map.horizontal(), map.vertical());
    let axes = Axes {
        x: around(&horizontal),
        y: around(&vertical),
        x_title: AnalysisMethod::axis("heat-map").unwrap_or("x").to_owned(),
        x_names: Vec::new(),
        y_title: "vertical frequency, cycles per image".to_owned(),
        whole: true,
    };
    let svg = panel(&axes, |chart| {
        let cells = map.cells.iter().map(|cell| {
            let (x, y) = (cell.horizontal as f64, cell.vertical as f64);
            Rectangle::new([(x - 0.5, y + 0.5), (x + 0.5, y - 0.5)], scale.colour(cell.error).filled())
        });
        chart.draw_series(cells)?;
        Ok::<(), DrawError>(())
    })?;
    let HeatMap { analysis, dataset, backbone, init, recipe, seeds, examples, .. } = map;
    let title = format!("{analysis} · {dataset} · {backbone} · {init} · {recipe}");
    let first = format!("% wrong of {seeds} × {examples} (seeds × examples), vertical by horizontal frequency");
    let header: Vec<String> = std::iter::once(first).chain(horizontal.iter().map(i64::to_string)).collect();
    let cell = |x: &i64, y: &i64| map.error(*x, *y).map_or_else(|| "–".to_owned(), percent);
    let row = |y: &i64| std::iter::once(y.to_string()).chain(horizontal.iter().map(|x| cell(x, y))).collect();
    Ok(Panel {
        title,
        svg,
        numbers: (0..header.len()).collect(),
        header,
        // From the top of the map on.
        rows: vertical.iter().rev().map(row).collect(),
    })
}

/// The ends of an axis of cells at these places, which are sorted.
fn around(frequencies: &[i64]) -> (f64, f64) {
    let end = |frequency: Option<&i64>| frequency.copied().unwrap_or_default() as f64;
    (end(frequencies.first()) - 0.5, end(frequencies.last()) + 0.5)
}
