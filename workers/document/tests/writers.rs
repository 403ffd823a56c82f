//! Golden files, hostile text and the schema.

mod common;

use bul_document::{
    Document, Format, WriteError, normalise, write, write_html, write_json, write_markdown, write_text,
};
use serde_json::{Value, json};

#[test]
fn golden() {
    let document = common::sample("every");
    insta::assert_snapshot!("every.md", write_markdown(&document));
    insta::assert_snapshot!("every.html", write_html(&document));
    insta::assert_snapshot!("every.txt", write_text(&document));
    insta::assert_snapshot!("every.json", write_json(&document));
}

#[test]
fn same_tree_same_bytes() {
    for (name, document) in common::samples() {
        for format in Format::ALL {
            assert_eq!(write(&document, format), write(&document.clone(), format), "{name} {format}");
        }
    }
    let pdf = write(&common::sample("invoice"), Format::Pdf);
    assert_eq!(pdf, Err(WriteError::Unsupported { format: Format::Pdf }));
}

#[test]
fn json_reads_back() {
    for (name, document) in common::samples() {
        let again: Document = serde_json::from_str(&write_json(&document)).expect("a tree");
        assert_eq!(again, document, "{name}");
    }
}

#[test]
fn every_fact_is_in_every_format() {
    for (name, document) in common::samples() {
        let html = text_of_html(&write_html(&document));
        let text = squeezed(&write_text(&document));
        for fact in common::facts(&document) {
            let fact = squeezed(&fact);
            assert!(html.contains(&fact), "{name}.html lacks {fact:?}");
            // Columns wrap their words, and targets and note marks stand between them.
            let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
            let words_found = fact.split(' ').all(|word| text.contains(&bare(word)));
            assert!(words_found, "{name}.txt lacks {fact:?}");
        }
    }
}

#[test]
fn samples_and_written_trees_match_the_schema() {
    let schema: Value = serde_json::from_str(include_str!("../schema/document.v1.json")).expect("json");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for (name, document) in common::samples() {
        let value = serde_json::to_value(&document).expect("json");
        if let Some(error) = validator.iter_errors(&value).next() {
            panic!("{name}: {error} at {}", error.instance_path());
        }
    }
    let paragraph =
        json!({ "meta": { "title": "T", "lang": "en" }, "blocks": [{ "block": "paragraph", "text": [] }] });
    assert!(validator.is_valid(&paragraph));
    for broken in [
        json!({ "meta": { "title": "", "lang": "en" }, "blocks": [] }),
        json!({ "meta": { "title": "T", "lang": "en" }, "blocks": [{ "block": "paragraph", "text": [], "x": 1 }] }),
        json!({ "meta": { "title": "T", "lang": "en" }, "blocks": [{ "block": "unknown" }] }),
        json!({ "meta": { "title": "T" }, "blocks": [] }),
    ] {
        assert!(!validator.is_valid(&broken), "{broken}");
        assert!(
            serde_json::from_value::<Document>(broken.clone()).map(normalise).map_or(true, |r| r.is_err()),
            "{broken}"
        );
    }
}

/// Texts that mean something to some format, put at every place a text can stand.
const HOSTILE: [&str; 14] = [
    "<script>alert(1)</script>",
    "a | b || c",
    "*not* **strong** _nor_ __this__",
    "]]> &amp; &#60; &lt;b&gt;",
    "``` ` `` code",
    "#let x = 1; #include \"/etc/passwd\" $x^2$ @ref <label>",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "- [ ] task\n1. item\n# heading\n> quote\n===\n---",
    "![img](https://evil.example/x.png) [a](javascript:1)",
    "https://evil.example www.evil.example",
    "\\ \\* \\\\ ~~gone~~ [^1] [!NOTE]",
    "=1+1 @SUM(A1) +cmd|' /C calc'!A0",
    "\" onload=\"alert(1) ' autofocus",
    "</style></title><style>*{display:none}</style>",
];

fn hostile(text: &str) -> Document {
    let run = json!([{ "inline": "text", "text": text }]);
    let cell = json!({ "text": run });
    normalise(
        serde_json::from_value(json!({
            "meta": { "title": text, "subtitle": text, "author": text, "lang": "en", "brand": { "name": text } },
            "blocks": [
                { "block": "heading", "level": 1, "text": run, "id": text },
                { "block": "paragraph", "text": [
                    { "inline": "text", "text": "x " }, { "inline": "strong", "text": run },
                    { "inline": "emphasis", "text": run }, { "inline": "code", "text": text },
                    { "inline": "fact", "name": text, "value": text },
                    { "inline": "link", "url": "https://x.example", "text": run },
                    { "inline": "footnote", "text": run } ] },
                { "block": "list", "items": [[{ "block": "paragraph", "text": run }]] },
                { "block": "table", "caption": text, "columns": [{ "title": text, "type": "text" }],
                  "rows": [[cell]], "totals": [[cell]] },
                { "block": "figure", "caption": text, "alt": text, "chart": { "kind": "bar", "unit": text,
                  "categories": [text], "series": [{ "name": text, "values": [1] }, { "name": text, "values": [2] }] } },
                { "block": "code", "language": text, "text": text },
                { "block": "callout", "kind": "info", "title": text, "blocks": [{ "block": "quote",
                  "blocks": [{ "block": "paragraph", "text": run }] }] },
                { "block": "definitions", "entries": [{ "term": run, "meaning": [{ "block": "paragraph", "text": run }] }] },
                { "block": "key_value", "entries": [{ "label": text, "value": run }] },
                { "block": "signature", "parties": [{ "name": text, "role": text }] }
            ]
        }))
        .expect("a tree"),
    )
    .expect("valid")
}

#[test]
fn hostile_text_stays_text() {
    for text in HOSTILE {
        let document = hostile(text);
        let html = write_html(&document);
        let shown = text_of_html(&html);
        for fact in common::facts(&document) {
            assert!(shown.contains(&squeezed(&fact)), "{text:?} lost from HTML: {fact:?}");
        }
        let tree = html_tree(&html);
        let tree = roxmltree::Document::parse(&tree).expect("well-formed");
        for node in tree.descendants().filter(roxmltree::Node::is_element) {
            assert_ne!(node.tag_name().name(), "script");
            assert_ne!(node.tag_name().name(), "img");
            for attribute in node.attributes() {
                assert!(!attribute.name().starts_with("on"), "{text:?} made {}", attribute.name());
            }
        }
    }
}

#[test]
fn direction_overrides_are_gone() {
    let document = hostile("safe\u{202E}fdp.exe\u{2066}\u{200F}");
    for format in [Format::Md, Format::Html, Format::Txt, Format::Json] {
        let bytes = write(&document, format).expect("supported");
        let text = String::from_utf8(bytes).expect("utf-8");
        assert!(text.contains("safefdp.exe"), "{format}");
        assert!(!text.contains(['\u{202E}', '\u{2066}', '\u{200F}']), "{format}");
    }
}

/// The page as XML: void elements closed, no document type.
fn html_tree(html: &str) -> String {
    let html = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
    let mut out = String::with_capacity(html.len() + 64);
    for part in html.split_inclusive('>') {
        let void = ["<br", "<hr", "<meta", "<col "].iter().any(|tag| part.contains(tag))
            && !part.contains("<colgroup");
        if void { out.push_str(&format!("{}/>", part.trim_end_matches('>'))) } else { out.push_str(part) }
    }
    out
}

fn text_of_html(html: &str) -> String {
    let tree = html_tree(html);
    let tree = roxmltree::Document::parse(&tree).expect("well-formed");
    let text: String = tree
        .descendants()
        .filter(|node| {
            // Marks of notes are no part of the sentence.
            let in_mark = node.ancestors().any(|above| above.attribute("role") == Some("doc-noteref"));
            node.is_text() && !in_mark
        })
        .filter_map(|node| node.text())
        .collect();
    squeezed(&text)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
