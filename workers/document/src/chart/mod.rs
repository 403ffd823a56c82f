//! Charts as SVG: one drawing for HTML, PDF and EPUB.
//!
//! Invariant: only shapes, presentation attributes and escaped text; no style sheets, scripts or
//! references, so that a strict content security policy and a PDF renderer accept it. Labels never
//! overlap: they wrap, turn or thin out. Called by writers with a normalised chart.

mod axis;
mod cartesian;
mod pie;
mod svg;

use crate::{Chart, ChartKind, Labels, Palette};
use svg::Svg;

/// Width of every chart in user units; writers scale it to the column.
const WIDTH: f64 = 720.0;
/// Type size in user units: 8 pt when a chart fills the width of an A4 column.
const TYPE_SIZE: f64 = 12.0;
/// Colour of labels.
const INK: &str = "#4a5361";
/// Colour of grid lines.
const GRID: &str = "#e3e7ec";
/// Colour of the zero line.
const AXIS: &str = "#98a2b0";

/// What a chart drawing says to readers who cannot see it, and in which language.
#[derive(Debug, Clone, Copy)]
pub struct ChartText<'a> {
    /// Language tag, for number signs.
    pub lang: &'a str,
    /// Short name, usually the caption; may be empty.
    pub title: &'a str,
    /// Alternative text.
    pub alt: &'a str,
    /// Prefix of the ids inside the drawing, unique in the page.
    pub id: &'a str,
}

/// Draws a chart.
pub fn chart_svg(chart: &Chart, palette: &Palette, text: ChartText<'_>) -> String {
    let labels = Labels::of(text.lang);
    let mut svg = Svg::default();
    let height = match chart.kind {
        ChartKind::Pie => pie::draw(&mut svg, chart, palette, labels),
        ChartKind::Bar | ChartKind::Line | ChartKind::Area => {
            cartesian::draw(&mut svg, chart, palette, labels)
        }
    };
    svg.finish(WIDTH, height, text)
}

/// Fewest decimals, at most two, that show these values without loss.
pub(crate) fn decimals(values: impl Iterator<Item = f64> + Clone) -> usize {
    (0..2)
        .find(|&digits| {
            let factor = 10_f64.powi(digits);
            values
                .clone()
                .all(|value| ((value * factor).round() / factor - value).abs() < 1e-9 * value.abs().max(1.0))
        })
        .map_or(2, |digits| digits as usize)
}

#[cfg(test)]
mod tests;
