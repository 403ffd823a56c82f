//! Bars, lines and areas: a frame with axes and legend, and the marks in it.

use super::axis::Axis;
use super::svg::{Anchor, Svg, fit, n, width};
use super::{AXIS, GRID, TYPE_SIZE, WIDTH, decimals};
use crate::{Chart, ChartKind, Labels, Palette};

/// Height of the plot without labels.
const PLOT_HEIGHT: f64 = 236.0;
/// Distance of two legend rows.
const LEGEND_ROW: f64 = 20.0;
/// Distance of two lines of a category label.
const LABEL_ROW: f64 = 15.0;
/// Smallest gap between two category labels.
const LABEL_GAP: f64 = 10.0;
/// Longest turned label before it is shortened.
const TURNED_MAX: f64 = 120.0;
/// Cosine and sine of the turn of labels, 40°.
const TURN: (f64, f64) = (0.766, 0.643);
/// Widest bar; a single category is no wall.
const BAR_WIDTH_MAX: f64 = 56.0;
/// Up to this many points, each gets a marker.
const MARKERS_MAX: usize = 31;
/// Up to this many bars, each gets its value written above.
const BAR_VALUES_MAX: usize = 14;

/// The plot area and its scales.
struct Frame {
    left: f64,
    top: f64,
    slot: f64,
    axis: Axis,
}

impl Frame {
    /// Centre of a category.
    fn x(&self, index: usize) -> f64 {
        self.left + self.slot * (index as f64 + 0.5)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PLOT_HEIGHT * (1.0 - self.axis.share(value))
    }

    /// Where marks start: zero, or the nearest end of the axis.
    fn base(&self) -> f64 {
        self.y(0.0_f64.clamp(self.axis.min, self.axis.max))
    }
}

/// How category labels are shown.
enum CategoryLabels {
    /// In lines under the category, every `every`-th one.
    Level { lines: Vec<Vec<String>>, every: usize },
    /// Turned, every `every`-th one.
    Turned { texts: Vec<String>, every: usize },
}

/// Draws the chart and returns its height.
pub(super) fn draw(svg: &mut Svg, chart: &Chart, palette: &Palette, labels: &Labels) -> f64 {
    let values = chart.series.iter().flat_map(|series| series.values.iter().copied());
    let axis = Axis::new(values, chart.kind != ChartKind::Line);
    let ticks = axis.ticks(labels);
    let tick_width = ticks.iter().map(|tick| width(&tick.1)).fold(0.0, f64::max);
    let left = tick_width + 10.0;
    let slot = (WIDTH - left - 6.0) / chart.categories.len().max(1) as f64;
    let categories = category_labels(chart, slot, left);

    let mut top = 6.0;
    if chart.series.len() > 1 {
        top = legend(svg, chart, palette, top);
    }
    let unit = axis.unit(&chart.unit, labels);
    if !unit.is_empty() {
        svg.text((0.0, top + TYPE_SIZE), Anchor::Start, "", &fit(&unit, WIDTH));
        top += 20.0;
    }
    top += 12.0;

    let frame = Frame { left, top, slot, axis };
    grid(svg, &frame, &ticks);
    match chart.kind {
        ChartKind::Bar => bars(svg, &frame, chart, palette, labels),
        ChartKind::Area => lines(svg, &frame, chart, palette, true),
        ChartKind::Line | ChartKind::Pie => lines(svg, &frame, chart, palette, false),
    }
    write_categories(svg, &frame, &categories)
}

fn legend(svg: &mut Svg, chart: &Chart, palette: &Palette, top: f64) -> f64 {
    let (mut x, mut y) = (0.0, top);
    for (index, series) in chart.series.iter().enumerate() {
        let name = fit(&series.name, WIDTH / 2.0);
        let entry = 16.0 + width(&name) + 18.0;
        if x > 0.0 && x + entry > WIDTH {
            (x, y) = (0.0, y + LEGEND_ROW);
        }
        svg.swatch((x, y + 2.0), palette.series(index));
        svg.text((x + 16.0, y + 11.5), Anchor::Start, "", &name);
        x += entry;
    }
    y + LEGEND_ROW + 4.0
}

fn grid(svg: &mut Svg, frame: &Frame, ticks: &[(f64, String)]) {
    for (value, label) in ticks {
        let y = frame.y(*value);
        svg.line((frame.left, y), (WIDTH, y), GRID);
        svg.text((frame.left - 8.0, y + 4.0), Anchor::End, "", label);
    }
    let base = frame.base();
    svg.line((frame.left, base), (WIDTH, base), AXIS);
}

fn bars(svg: &mut Svg, frame: &Frame, chart: &Chart, palette: &Palette, labels: &Labels) {
    let count = chart.series.len() as f64;
    let group = (frame.slot * 0.72).min(BAR_WIDTH_MAX * count);
    let bar = (group / count).max(0.5);
    let gap = if bar > 6.0 { 2.0 } else { 0.0 };
    let base = frame.base();
    for (series, values) in chart.series.iter().map(|series| &series.values).enumerate() {
        let fill = format!(r#"fill="{}""#, palette.series(series));
        for (index, &value) in values.iter().enumerate() {
            let x = frame.x(index) - group / 2.0 + bar * series as f64 + gap / 2.0;
            svg.path(&bar_path(x, bar - gap, base, frame.y(value)), &fill);
        }
    }
    if chart.series.len() == 1 {
        bar_values(svg, frame, chart, labels);
    }
}

/// A bar with its free corners rounded.
fn bar_path(x: f64, width: f64, base: f64, end: f64) -> String {
    let r = 2.5_f64.min(width / 2.0).min((base - end).abs());
    let turn = if end <= base { r } else { -r };
    let (left, right) = (n(x), n(x + width));
    format!(
        "M{left} {}V{}Q{left} {} {} {}H{}Q{right} {} {right} {}V{}Z",
        n(base),
        n(end + turn),
        n(end),
        n(x + r),
        n(end),
        n(x + width - r),
        n(end),
        n(end + turn),
        n(base)
    )
}

fn bar_values(svg: &mut Svg, frame: &Frame, chart: &Chart, labels: &Labels) {
    let values = &chart.series[0].values;
    let shown = || values.iter().map(|value| value / frame.axis.divisor);
    let decimals = decimals(shown());
    let texts: Vec<String> = shown().map(|value| labels.number(value, decimals)).collect();
    let fits = texts.iter().all(|text| width(text) + 4.0 <= frame.slot);
    if values.len() > BAR_VALUES_MAX || !fits {
        return;
    }
    for (index, (text, &value)) in texts.iter().zip(values).enumerate() {
        let y = frame.y(value) + if value < 0.0 { TYPE_SIZE + 3.0 } else { -5.0 };
        svg.text((frame.x(index), y), Anchor::Middle, r##"font-weight="600" fill="#2b3440""##, text);
    }
}

fn lines(svg: &mut Svg, frame: &Frame, chart: &Chart, palette: &Palette, filled: bool) {
    let base = n(frame.base());
    for (series, values) in chart.series.iter().map(|series| &series.values).enumerate() {
        let colour = palette.series(series);
        let points: Vec<(f64, f64)> =
            values.iter().enumerate().map(|(index, &value)| (frame.x(index), frame.y(value))).collect();
        let trail = points.iter().map(|(x, y)| format!("{} {}", n(*x), n(*y))).collect::<Vec<_>>().join("L");
        if let (true, Some(first), Some(last)) = (filled && points.len() > 1, points.first(), points.last()) {
            let area = format!("M{} {base}L{trail}L{} {base}Z", n(first.0), n(last.0));
            svg.path(&area, &format!(r#"fill="{colour}" fill-opacity="0.16""#));
        }
        if points.len() > 1 {
            let stroke = format!(
                r#"fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round" stroke-linecap="round""#
            );
            svg.path(&format!("M{trail}"), &stroke);
        }
        if points.len() <= MARKERS_MAX {
            let radius = if points.len() == 1 { 5.0 } else { 3.4 };
            for point in points {
                svg.circle(
                    point,
                    radius,
                    &format!(r##"fill="{colour}" stroke="#ffffff" stroke-width="1.4""##),
                );
            }
        }
    }
}

fn category_labels(chart: &Chart, slot: f64, left: f64) -> CategoryLabels {
    let one_line = |every| CategoryLabels::Level {
        lines: chart.categories.iter().map(|label| vec![label.clone()]).collect(),
        every,
    };
    let widest = chart.categories.iter().map(|label| width(label)).fold(0.0, f64::max);
    if widest + LABEL_GAP <= slot {
        return one_line(1);
    }
    let wrapped: Option<Vec<Vec<String>>> =
        chart.categories.iter().map(|label| wrap(label, slot - LABEL_GAP)).collect();
    if let Some(lines) = wrapped {
        return CategoryLabels::Level { lines, every: 1 };
    }
    // Along a line the reader can count on from a neighbour; a bar without a name says nothing.
    let every = ((widest + LABEL_GAP) / slot).ceil() as usize;
    let few_left = chart.categories.len() / every < 4;
    if chart.kind != ChartKind::Bar && !few_left {
        return one_line(every);
    }
    let max = TURNED_MAX.min((left + slot / 2.0) / TURN.0);
    let texts = chart.categories.iter().map(|label| fit(label, max)).collect();
    CategoryLabels::Turned { texts, every: ((TYPE_SIZE + 5.0) / slot).ceil().max(1.0) as usize }
}

/// The label in at most three lines of this width, broken at spaces.
fn wrap(label: &str, max: f64) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in label.split(' ') {
        let joined = lines.last().map(|line| format!("{line} {word}"));
        match joined {
            Some(joined) if width(&joined) <= max => {
                if let Some(last) = lines.last_mut() {
                    *last = joined;
                }
            }
            _ if width(word) <= max && lines.len() < 3 => lines.push(word.to_owned()),
            _ => return None,
        }
    }
    Some(lines)
}

/// Writes the labels under the plot and returns the height of the whole chart.
fn write_categories(svg: &mut Svg, frame: &Frame, labels: &CategoryLabels) -> f64 {
    let bottom = frame.top + PLOT_HEIGHT;
    match labels {
        CategoryLabels::Level { lines, every } => {
            let mut rows = 1;
            for (index, label) in lines.iter().enumerate().step_by((*every).max(1)) {
                rows = rows.max(label.len());
                for (row, line) in label.iter().enumerate() {
                    // The last label may stand at the edge when labels are thinned out.
                    let half = width(line) / 2.0;
                    let x = frame.x(index).min(WIDTH - half).max(half);
                    let y = bottom + 18.0 + LABEL_ROW * row as f64;
                    svg.text((x, y), Anchor::Middle, "", line);
                }
            }
            bottom + 12.0 + LABEL_ROW * rows as f64
        }
        CategoryLabels::Turned { texts, every } => {
            let mut deepest: f64 = 0.0;
            for (index, label) in texts.iter().enumerate().step_by((*every).max(1)) {
                let (x, y) = (frame.x(index) + 4.0, bottom + 15.0);
                deepest = deepest.max(width(label) * TURN.1);
                let turn = format!(r#"transform="rotate(-40 {} {})""#, n(x), n(y));
                svg.text((x, y), Anchor::End, &turn, label);
            }
            bottom + 24.0 + deepest
        }
    }
}
