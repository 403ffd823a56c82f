//! Shares of a whole: a ring and a legend with values, because slices cannot hold text.

use std::f64::consts::TAU;

use super::svg::{Anchor, Svg, fit, n, width};
use super::{WIDTH, decimals};
use crate::{Chart, Labels, Palette};

/// Outer radius of the ring.
const RADIUS: f64 = 116.0;
/// Radius of its hole.
const HOLE: f64 = 66.0;
/// Slices drawn; the smallest beyond are joined, as slivers cannot be told apart.
const SLICES_MAX: usize = 9;
/// Distance of two legend rows.
const ROW: f64 = 24.0;
/// Start of the legend.
const LEGEND_LEFT: f64 = 320.0;

/// Longest name in the legend.
const NAME_MAX: f64 = 190.0;
/// Distance from the value to the end of its share.
const SHARE_WIDTH: f64 = 70.0;

struct Slice<'a> {
    name: &'a str,
    value: f64,
}

/// Draws the chart and returns its height.
pub(super) fn draw(svg: &mut Svg, chart: &Chart, palette: &Palette, labels: &Labels) -> f64 {
    let slices = slices(chart, labels);
    let total: f64 = slices.iter().map(|slice| slice.value).sum();
    let height = (2.0 * RADIUS + 16.0).max(ROW * slices.len() as f64 + 40.0);
    let centre = (LEGEND_LEFT / 2.0 - 20.0, height / 2.0);
    ring(svg, &slices, total, centre, palette);
    if !chart.unit.is_empty() {
        let unit = fit(&chart.unit, 2.0 * HOLE - 24.0);
        svg.text((centre.0, centre.1 + 4.0), Anchor::Middle, "", &unit);
    }

    let digits = decimals(slices.iter().map(|slice| slice.value));
    let values: Vec<String> = slices.iter().map(|slice| labels.number(slice.value, digits)).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| width(text)).fold(60.0, f64::max);
    let value_width = widest(&values) + 24.0;
    let name_max = NAME_MAX.min(WIDTH - SHARE_WIDTH - value_width - LEGEND_LEFT - 18.0);
    let names: Vec<String> = slices.iter().map(|slice| fit(slice.name, name_max)).collect();
    // Values stand near their names, or the eye loses the row.
    let value_end = LEGEND_LEFT + 18.0 + widest(&names) + value_width;
    let mut y = (height - ROW * slices.len() as f64) / 2.0;
    for (index, slice) in slices.iter().enumerate() {
        svg.swatch((LEGEND_LEFT, y + 7.0), palette.series(index));
        svg.text((LEGEND_LEFT + 18.0, y + 16.0), Anchor::Start, "", &names[index]);
        svg.text((value_end, y + 16.0), Anchor::End, "", &values[index]);
        let share = if total > 0.0 { slice.value / total * 100.0 } else { 0.0 };
        let share = format!("{}\u{A0}%", labels.number(share, 1));
        svg.text(
            (value_end + SHARE_WIDTH, y + 16.0),
            Anchor::End,
            r##"font-weight="600" fill="#2b3440""##,
            &share,
        );
        y += ROW;
    }
    height
}

fn slices<'a>(chart: &'a Chart, labels: &'a Labels) -> Vec<Slice<'a>> {
    let values = chart.series.first().map(|series| series.values.as_slice()).unwrap_or_default();
    let all = chart.categories.iter().zip(values);
    let mut slices: Vec<Slice<'a>> =
        all.map(|(name, &value)| Slice { name, value: value.max(0.0) }).collect();
    if slices.len() > SLICES_MAX {
        slices.sort_by(|a, b| b.value.total_cmp(&a.value));
        let rest = slices.drain(SLICES_MAX - 1..).map(|slice| slice.value).sum();
        slices.push(Slice { name: labels.other, value: rest });
    }
    slices
}

fn ring(svg: &mut Svg, slices: &[Slice<'_>], total: f64, centre: (f64, f64), palette: &Palette) {
    let thickness = RADIUS - HOLE;
    let whole = |svg: &mut Svg, colour: &str| {
        let ring = format!(r#"fill="none" stroke="{colour}" stroke-width="{}""#, n(thickness));
        svg.circle(centre, HOLE + thickness / 2.0, &ring);
    };
    // An arc whose ends meet draws nothing, so a single share is a full ring; so is an empty whole.
    if total <= 0.0 {
        return whole(svg, "#d5dae1");
    }
    if let Some(index) = slices.iter().position(|slice| slice.value >= total * 0.9995) {
        return whole(svg, &palette.series(index).to_string());
    }
    let mut from = 0.0;
    for (index, slice) in slices.iter().enumerate() {
        let to = from + slice.value / total;
        if slice.value > 0.0 {
            let attributes = format!(
                r##"fill="{}" stroke="#ffffff" stroke-width="2" stroke-linejoin="round""##,
                palette.series(index)
            );
            svg.path(&arc(centre, from, to), &attributes);
        }
        from = to;
    }
}

/// A ring segment between two shares of the circle, clockwise from the top.
fn arc(centre: (f64, f64), from: f64, to: f64) -> String {
    let point = |radius: f64, share: f64| {
        let angle = share * TAU;
        format!("{} {}", n(centre.0 + radius * angle.sin()), n(centre.1 - radius * angle.cos()))
    };
    let large = u8::from(to - from > 0.5);
    let (outer, hole) = (n(RADIUS), n(HOLE));
    format!(
        "M{}A{outer} {outer} 0 {large} 1 {}L{}A{hole} {hole} 0 {large} 0 {}Z",
        point(RADIUS, from),
        point(RADIUS, to),
        point(HOLE, to),
        point(HOLE, from)
    )
}
