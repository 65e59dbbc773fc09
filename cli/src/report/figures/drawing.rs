//! What the figures share: an SVG in a text, axes, lines and markers.

use std::vec::IntoIter;

use anyhow::Context as _;
use maud::html;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{ComposedElement, DashedPathElement};
use plotters::prelude::*;

use super::looks::Look;

/// The style sheet finds these by value.
pub const INK: RGBColor = RGBColor(0x1A, 0x1A, 0x1A);
const GRID: RGBColor = RGBColor(0xD8, 0xD8, 0xD8);
const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
/// Of what joins twins.
pub const JOIN: RGBColor = RGBColor(0x8A, 0x8A, 0x8A);

/// Twice the size at which a panel is shown: SVG's coordinates are whole pixels here.
const PANEL: (u32, u32) = (880, 640);
pub const TEXT: i32 = 28;

/// Why something cannot be drawn.
pub type DrawError = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A panel with axes.
pub type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

type Marker<C, DB> = ComposedElement<C, DB, Polygon<(i32, i32)>, PathElement<(i32, i32)>>;

/// The axes of a panel.
pub struct Axes {
    /// Ends of the horizontal one.
    pub x: (f64, f64),
    /// Ends of the vertical one.
    pub y: (f64, f64),
    /// What the horizontal one measures.
    pub x_title: String,
    /// Names of its places 0, 1, 2 …; none where it holds numbers.
    pub x_names: Vec<String>,
    /// What the vertical one measures.
    pub y_title: String,
    /// Whether there are places at whole numbers alone.
    pub whole: bool,
}

impl Axes {
    /// What stands at a place of the horizontal axis.
    fn named(&self, place: &f64) -> String {
        if self.x_names.is_empty() {
            return self.number(place);
        }
        let name = |index: usize| ((index as f64 - place).abs() < 1e-6).then(|| self.x_names[index].clone());
        (0..self.x_names.len()).find_map(name).unwrap_or_default()
    }

    fn number(&self, place: &f64) -> String {
        let between = self.whole && (place - place.round()).abs() > 1e-6;
        if between { String::new() } else { number(place) }
    }
}

/// An SVG of this size.
///
/// # Errors
/// The library does not draw it.
pub fn draw(size: (u32, u32), paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>) -> anyhow::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    paint(&area).and_then(|()| area.present()).context("the drawing library refuses a figure")?;
    drop(area);
    Ok(svg)
}

/// A panel with these axes.
///
/// # Errors
/// The library does not draw it.
pub fn panel(
    axes: &Axes,
    paint: impl for<'a, 'b> FnOnce(&mut Chart<'a, 'b>) -> Result<(), DrawError>,
) -> anyhow::Result<String> {
    draw(PANEL, |root| {
        let mut builder = ChartBuilder::on(root);
        builder.margin(16).margin_right(28).x_label_area_size(84).y_label_area_size(96);
        let mut chart = builder.build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)?;
        let text = || ("sans-serif", TEXT).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(7)
            .y_labels(6)
            .label_style(text())
            .axis_desc_style(text())
            .x_label_formatter(&|place| axes.named(place))
            .y_label_formatter(&|place| axes.number(place))
            .x_desc(axes.x_title.clone())
            .y_desc(axes.y_title.clone())
            .draw()?;
        paint(&mut chart)
    })
}

/// A number on an axis, without the digits that the arithmetic of the ticks leaves.
fn number(value: &f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6 + 0.0)
}

/// A line in the way's dashes.
pub fn dashed<C: Clone>(points: Vec<C>, look: Look) -> DashedPathElement<IntoIter<C>, i32> {
    DashedPathElement::new(points, look.dashes.0, look.dashes.1, look.colour.stroke_width(4))
}

/// The way's marker at a point, set off from what lies below it.
pub fn marked<C: Clone, DB: DrawingBackend>(at: C, look: Look) -> Marker<C, DB> {
    let mut outline = look.marker.to_vec();
    outline.extend(look.marker.first());
    EmptyElement::at(at)
        + Polygon::new(look.marker.to_vec(), look.colour.filled())
        + PathElement::new(outline, PAPER.stroke_width(2))
}

/// An SVG with a title that screen readers read and pointers show.
pub fn titled(svg: &str, id: &str, title: &str) -> String {
    let opening = html! { title id={ (id) "-title" } { (title) } }.into_string();
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-labelledby=\"{id}-title\" "), 1);
    svg.replacen(">\n", &format!(">\n{opening}\n"), 1)
}
