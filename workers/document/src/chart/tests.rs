//! Charts of all shapes are well-formed, and their labels keep apart.

use super::*;
use crate::{Brand, Series};

fn chart(kind: ChartKind, count: usize, series: usize, label: &str) -> Chart {
    Chart {
        kind,
        categories: (1..=count).map(|n| format!("{label} {n}")).collect(),
        series: (0..series)
            .map(|s| Series {
                name: format!("Series <{s}>"),
                values: (0..count).map(|n| (n as f64 * 7.3 - 12.0) * (s as f64 + 1.0)).collect(),
            })
            .collect(),
        unit: "EUR & more".into(),
    }
}

fn draw(chart: &Chart) -> String {
    let palette = Palette::new(&Brand::default());
    chart_svg(chart, &palette, ChartText { lang: "en", title: "A <title>", alt: "An \"alt\"", id: "c.1" })
}

/// Start and end of every level text, with its height.
fn level_texts(svg: &str) -> Vec<(f64, f64, f64)> {
    let tree = roxmltree::Document::parse(svg).expect("well-formed");
    let number =
        |node: &roxmltree::Node<'_, '_>, name| node.attribute(name).and_then(|v| v.parse::<f64>().ok());
    tree.descendants()
        .filter(|node| node.has_tag_name("text") && node.attribute("transform").is_none())
        .filter_map(|node| {
            let (x, y, w) = (number(&node, "x")?, number(&node, "y")?, svg::width(node.text()?));
            Some(match node.attribute("text-anchor") {
                Some("middle") => (x - w / 2.0, x + w / 2.0, y),
                Some("end") => (x - w, x, y),
                _ => (x, x + w, y),
            })
        })
        .collect()
}

#[test]
fn every_shape_is_well_formed_and_inside() {
    for kind in [ChartKind::Bar, ChartKind::Line, ChartKind::Area, ChartKind::Pie] {
        for count in [1, 2, 7, 12, 31, 50, 400] {
            for series in [1, 3, 12] {
                for label in ["A", "Category", "A rather long category name"] {
                    let mut chart =
                        chart(kind, count, if kind == ChartKind::Pie { 1 } else { series }, label);
                    if kind == ChartKind::Pie {
                        chart.series[0].values.iter_mut().for_each(|value| *value = value.abs());
                    }
                    let svg = draw(&chart);
                    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{kind:?} {count} {series}");
                    for (start, end, _) in level_texts(&svg) {
                        assert!(start >= -1.0 && end <= WIDTH + 1.0, "{kind:?} {count} {series} {label}");
                    }
                }
            }
        }
    }
}

#[test]
fn labels_never_overlap() {
    for kind in [ChartKind::Bar, ChartKind::Line, ChartKind::Area] {
        for count in [1, 3, 6, 12, 24, 50] {
            for label in ["W", "Week", "Calendar week of the year"] {
                let mut texts = level_texts(&draw(&chart(kind, count, 1, label)));
                texts.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.total_cmp(&b.0)));
                for pair in texts.windows(2) {
                    let same_row = (pair[0].2 - pair[1].2).abs() < 1.0;
                    assert!(!same_row || pair[0].1 <= pair[1].0, "{kind:?} {count} {label}: {pair:?}");
                }
            }
        }
    }
}

#[test]
fn texts_are_escaped_and_hidden_text_is_present() {
    let svg = draw(&chart(ChartKind::Bar, 3, 2, "<b>"));
    assert!(
        svg.contains("Series &lt;0&gt;") && svg.contains("&lt;b&gt; 1") && svg.contains("EUR &amp; more")
    );
    assert!(svg.contains("<title id=\"c.1.title\">A &lt;title&gt;</title>"));
    assert!(svg.contains("<desc id=\"c.1.desc\">An &quot;alt&quot;</desc>"));
}

#[test]
fn an_empty_pie_is_a_grey_ring() {
    let chart = Chart {
        series: vec![Series { name: "s".into(), values: vec![0.0] }],
        ..chart(ChartKind::Pie, 1, 1, "A")
    };
    assert!(draw(&chart).contains("#d5dae1"));
}

#[test]
fn decimals_are_as_few_as_possible() {
    assert_eq!(decimals([1.0, 20.0].into_iter()), 0);
    assert_eq!(decimals([1.5, 20.0].into_iter()), 1);
    assert_eq!(decimals([1.25, 0.1 + 0.2].into_iter()), 2);
    assert_eq!(decimals([1.0 / 3.0].into_iter()), 2);
}
