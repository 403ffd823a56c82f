//! What normalisation repairs and what it refuses.

use serde_json::json;

use super::*;
use crate::{Block, Inline, text};

fn tree(blocks: serde_json::Value) -> Document {
    serde_json::from_value(json!({ "meta": { "title": "T", "lang": "en" }, "blocks": blocks }))
        .expect("a tree")
}

fn blocks(given: serde_json::Value) -> Vec<Block> {
    let once = normalise(tree(given)).expect("valid");
    let twice = normalise(once.clone()).expect("still valid");
    assert_eq!(once, twice, "normalising twice changes nothing");
    once.blocks
}

fn paragraph(text: serde_json::Value) -> Vec<Inline> {
    match blocks(json!([{ "block": "paragraph", "text": text }])).pop() {
        Some(Block::Paragraph { text }) => text,
        other => panic!("expected a paragraph, got {other:?}"),
    }
}

fn refused(given: serde_json::Value, path: &str, problem: Problem) {
    assert_eq!(normalise(tree(given)), Err(DocumentError { path: path.into(), problem }));
}

#[test]
fn text_is_trimmed_and_lines_become_breaks() {
    let run = paragraph(json!([
        { "inline": "text", "text": "  a  \r\n" },
        { "inline": "text", "text": "\t b " },
        { "inline": "strong", "text": [{ "inline": "text", "text": " c " }] },
        { "inline": "break" },
        { "inline": "text", "text": "  " }
    ]));
    let expected =
        vec![Inline::text("a"), Inline::Break, Inline::text("b "), Inline::Strong { text: text("c") }];
    assert_eq!(run, expected);
}

#[test]
fn unsafe_links_become_text() {
    for url in [
        "javascript:alert(1)",
        "java\nscript:x",
        "data:text/html,x",
        "//evil.example",
        "https://",
        "",
        "ftp://x",
    ] {
        let run =
            paragraph(json!([{ "inline": "link", "url": url, "text": [{ "inline": "text", "text": "t" }] }]));
        assert_eq!(run, text("t"), "{url}");
    }
    let run = paragraph(json!([{ "inline": "link", "url": " HTTPS://a.example/(x)\"<y> ", "text": [] }]));
    let url = "HTTPS://a.example/%28x%29%22%3Cy%3E".to_owned();
    assert_eq!(run, vec![Inline::Link { text: text(url.as_str()), url }]);
}

#[test]
fn a_kind_inside_itself_is_flattened_and_notes_leave_links() {
    let run = paragraph(json!([
        { "inline": "strong", "text": [{ "inline": "strong", "text": [{ "inline": "text", "text": "a" }] }] },
        { "inline": "link", "url": "https://x.example", "text": [
            { "inline": "text", "text": "l" },
            { "inline": "footnote", "text": [{ "inline": "text", "text": "n" }] }
        ] }
    ]));
    let expected = vec![
        Inline::Strong { text: text("a") },
        Inline::Link { url: "https://x.example".into(), text: text("l") },
        Inline::Footnote { text: text("n") },
    ];
    assert_eq!(run, expected);
}

#[test]
fn empty_blocks_disappear() {
    let got = blocks(json!([
        { "block": "paragraph", "text": [{ "inline": "text", "text": " \u{200B} " }] },
        { "block": "list", "items": [[{ "block": "paragraph", "text": [] }]] },
        { "block": "quote", "blocks": [] },
        { "block": "heading", "level": 4, "text": [{ "inline": "text", "text": "H" }] }
    ]));
    assert_eq!(got, vec![Block::Heading { level: 1, text: text("H"), id: "h".into() }]);
}

#[test]
fn shapes_name_their_place() {
    let table = |row: serde_json::Value| {
        json!([{ "block": "quote", "blocks": [
            { "block": "table", "columns": [{ "title": "a", "type": "text" }], "rows": [[{ "text": [] }], row] }
        ] }])
    };
    refused(table(json!([])), "blocks/0/blocks/0/rows/1", Problem::Shape { expected: 1, found: 0 });
    refused(
        table(json!([{ "text": [], "value": "1,5" }])),
        "blocks/0/blocks/0/rows/1/0/value",
        Problem::Decimal("1,5".into()),
    );
    refused(json!([{ "block": "slot", "id": "intro" }]), "blocks/0", Problem::Slot("intro".into()));
    refused(
        json!([{ "block": "columns", "columns": [[], [], [], []] }]),
        "blocks/0/columns",
        Problem::Limit { name: "COLUMN_GROUPS_MAX", max: 3, found: 4 },
    );
    refused(
        json!([{ "block": "heading", "level": 7, "text": [] }]),
        "blocks/0/level",
        Problem::HeadingLevel(7),
    );
}

#[test]
fn charts_are_checked() {
    let figure = |alt: &str, kind: &str, values: &[f64]| {
        json!([{ "block": "figure", "alt": alt, "chart": {
            "kind": kind, "categories": ["a", "b"], "series": [{ "name": "s", "values": values }] } }])
    };
    refused(figure(" ", "bar", &[1.0, 2.0]), "blocks/0/alt", Problem::Empty);
    refused(
        figure("x", "bar", &[1.0]),
        "blocks/0/chart/series/0/values",
        Problem::Shape { expected: 2, found: 1 },
    );
    refused(figure("x", "pie", &[1.0, -2.0]), "blocks/0/chart/series/0/values/1", Problem::PieShare(-2.0));
    let mut document = tree(figure("x", "line", &[1.0, 2.0]));
    if let Some(Block::Figure(figure)) = document.blocks.first_mut() {
        figure.chart.series[0].values[1] = f64::INFINITY;
    }
    let error = normalise(document).expect_err("infinite");
    assert_eq!(error.to_string(), "blocks/0/chart/series/0/values/1: chart value inf cannot be drawn");
}

#[test]
fn meta_is_checked() {
    let with = |change: fn(&mut Meta)| {
        let mut document = tree(json!([]));
        change(&mut document.meta);
        normalise(document).map(|document| document.meta).map_err(|error| error.path)
    };
    assert_eq!(with(|meta| meta.title = " \u{202E} ".into()), Err("meta/title".into()));
    assert_eq!(with(|meta| meta.lang = "english!".into()), Err("meta/lang".into()));
    assert_eq!(with(|meta| meta.date = "16.11.2026".into()), Err("meta/date".into()));
    assert_eq!(with(|meta| meta.brand.accent = "red".into()), Err("meta/brand/accent".into()));
    let meta = with(|meta| meta.date = "2026-11-16T08:00:00+01:00".into()).expect("valid");
    assert_eq!(meta.date, "2026-11-16");
}

#[test]
fn depth_and_text_have_limits() {
    let mut nested = json!([{ "block": "paragraph", "text": [{ "inline": "text", "text": "x" }] }]);
    for _ in 0..limits::BLOCK_DEPTH_MAX {
        nested = json!([{ "block": "quote", "blocks": nested }]);
    }
    let error = normalise(tree(nested)).expect_err("too deep");
    assert!(matches!(error.problem, Problem::Limit { name: "BLOCK_DEPTH_MAX", .. }), "{error}");
    let long = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    let error = normalise(tree(json!([{ "block": "code", "text": long }]))).expect_err("too long");
    assert!(matches!(error.problem, Problem::Limit { name: "TEXT_BYTES_MAX", .. }), "{error}");
}
