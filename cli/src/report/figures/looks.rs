//! How each way of training looks, the same in every figure: a colour, a marker and dashes. The first 60 differ, and neighbours do in
//! more than colour.

use anyhow::Context as _;
use gauntlet_domain::analyses::AnalysisRow;
use gauntlet_domain::results::ResultRow;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::drawing::{dashed, draw, marked};

/// After Okabe & Ito and Tol, for eyes that tell red and green apart or not. The style sheet finds them by value and brightens them on dark screens.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xAA, 0x44, 0x99),
    RGBColor(0x99, 0x77, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// Corners of the markers, in pixels around the point.
const MARKERS: [&[(i32, i32)]; 5] = [
    &[(-8, -3), (-3, -8), (3, -8), (8, -3), (8, 3), (3, 8), (-3, 8), (-8, 3)],
    &[(-7, -7), (7, -7), (7, 7), (-7, 7)],
    &[(0, -9), (9, 8), (-9, 8)],
    &[(0, -10), (10, 0), (0, 10), (-10, 0)],
    &[(-9, -8), (9, -8), (0, 9)],
];

/// Lengths of a dash and a gap in pixels; a dash longer than any line is a solid one.
const DASHES: [(i32, i32); 4] = [(1_000_000, 1), (18, 10), (4, 8), (30, 8)];

/// How one way of training looks.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Of lines and markers.
    pub colour: RGBColor,
    /// Corners of the marker.
    pub marker: &'static [(i32, i32)],
    /// A dash and a gap.
    pub dashes: (i32, i32),
}

/// The ways of training, an init and a recipe each, in the order of the results.
pub struct Looks(Vec<(String, String)>);

impl Looks {
    /// Of all ways that have results.
    pub fn of(rows: &[ResultRow], analyses: &[AnalysisRow]) -> Self {
        let mut ways: Vec<(String, String)> = Vec::new();
        let evaluated = rows.iter().map(|row| (&row.init, &row.recipe));
        for (init, recipe) in evaluated.chain(analyses.iter().map(|row| (&row.init, &row.recipe))) {
            if !ways.iter().any(|(known, with)| known == init && with == recipe) {
                ways.push((init.clone(), recipe.clone()));
            }
        }
        Self(ways)
    }

    /// The ways with their looks.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Look)> {
        self.0.iter().enumerate().map(|(number, (init, recipe))| (init.as_str(), recipe.as_str(), look(number)))
    }

    /// A sample of every way beside its name.
    ///
    /// # Errors
    /// A sample cannot be drawn.
    pub fn legend(&self) -> anyhow::Result<Markup> {
        let samples = self.iter().map(|(init, recipe, look)| Ok((sample(look)?, format!("{init} · {recipe}"))));
        let samples = samples.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(html! {
            ul.legend { @for (svg, name) in samples { li { (PreEscaped(svg)) " " (name) } } }
        })
    }
}

fn look(number: usize) -> Look {
    Look {
        colour: COLOURS[number % COLOURS.len()],
        marker: MARKERS[number % MARKERS.len()],
        dashes: DASHES[number % DASHES.len()],
    }
}

fn sample(look: Look) -> anyhow::Result<String> {
    let svg = draw((96, 36), |root| {
        root.draw(&marked((48, 18), look))?;
        root.draw(&dashed(vec![(4, 18), (92, 18)], look))
    });
    Ok(svg.context("the legend cannot be drawn")?.replacen("<svg ", "<svg aria-hidden=\"true\" ", 1))
}
