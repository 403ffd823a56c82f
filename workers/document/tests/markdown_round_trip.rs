//! Any text survives Markdown: written, parsed by an independent parser, compared.

mod common;

use bul_document::{
    Block, Cell, Column, ColumnType, Document, Inline, Meta, Table, normalise, write_markdown,
};
use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, parse_document};
use proptest::prelude::*;

fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.alerts = true;
    options.extension.math_dollars = true;
    options
}

/// Texts of the paragraphs, headings, cells and code of a Markdown file, without our own HTML tags.
fn texts(markdown: &str) -> Vec<String> {
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &options());
    let mut out = Vec::new();
    for node in root.descendants() {
        match &node.data.borrow().value {
            NodeValue::Paragraph | NodeValue::Heading(_) | NodeValue::TableCell => out.push(text_of(node)),
            NodeValue::CodeBlock(code) => out.push(code.literal.trim_end_matches('\n').to_owned()),
            NodeValue::HtmlBlock(html) => out.push(format!("HTML {}", html.literal)),
            NodeValue::Image(_) | NodeValue::Math(_) | NodeValue::TaskItem(_) | NodeValue::Strikethrough => {
                out.push("MARKUP".to_owned());
            }
            _ => {}
        }
    }
    out
}

fn text_of<'a>(node: &'a AstNode<'a>) -> String {
    let mut out = String::new();
    for inner in node.descendants() {
        match &inner.data.borrow().value {
            NodeValue::Text(text) => out.push_str(text),
            NodeValue::Code(code) => out.push_str(&code.literal),
            NodeValue::LineBreak | NodeValue::SoftBreak => out.push('\n'),
            NodeValue::HtmlInline(tag) if tag == "<br>" => out.push('\n'),
            NodeValue::HtmlInline(tag)
                if tag.contains("strong") || tag.contains("em>") || tag.contains("code") => {}
            NodeValue::HtmlInline(tag) => out.push_str(&format!("HTML {tag}")),
            _ => {}
        }
    }
    out
}

fn document(blocks: Vec<Block>) -> Document {
    let meta = Meta { title: "Title".into(), lang: "en".into(), ..Meta::default() };
    Document { meta, blocks, facts: Vec::new(), sources: Vec::new() }
}

fn inline() -> impl Strategy<Value = Inline> {
    // Mostly characters that mean something, so that short texts already form markup.
    let word = prop_oneof![
        3 => "[a-zA-Z0-9 .,:;!?()&#*_`~|<>\\[\\]{}$^+=\\\\/\"'-]{0,12}",
        1 => "\\PC{0,8}",
        1 => Just("1".to_owned()),
        1 => Just("www.a.example".to_owned()),
        1 => Just("https://a.example/b_c".to_owned()),
        1 => Just("\n".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => word.clone().prop_map(Inline::text),
        1 => word.clone().prop_map(|text| Inline::Code { text }),
        1 => word.prop_map(|value| Inline::Fact { name: "f".into(), value }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let run = proptest::collection::vec(inner, 0..4);
        prop_oneof![
            run.clone().prop_map(|text| Inline::Strong { text }),
            run.clone().prop_map(|text| Inline::Emphasis { text }),
            run.prop_map(|text| Inline::Link { url: "https://x.example/a_b".into(), text }),
        ]
    })
}

fn expected(run: &[Inline]) -> String {
    bul_document::plain(run)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives(run in proptest::collection::vec(inline(), 1..5)) {
        let cell = Cell { text: run.clone(), value: None };
        let table = Table {
            caption: String::new(),
            columns: vec![Column { title: "Head".into(), kind: ColumnType::Text, width: 0 }],
            rows: vec![vec![cell]],
            totals: Vec::new(),
        };
        let blocks = vec![
            Block::Paragraph { text: run.clone() },
            Block::List { ordered: true, items: vec![vec![Block::Paragraph { text: run.clone() }]] },
            Block::Quote { blocks: vec![Block::Paragraph { text: run.clone() }] },
            Block::Table(table),
            Block::Heading { level: 1, text: run, id: String::new() },
        ];
        let document = normalise(document(blocks)).expect("valid");
        prop_assert_eq!(&normalise(document.clone()).expect("valid"), &document);
        let mut wanted = vec!["Title".to_owned()];
        for block in &document.blocks {
            wanted.extend(texts_of(block));
        }
        wanted.retain(|text| !text.is_empty());
        let markdown = write_markdown(&document);
        let mut got = texts(&markdown);
        got.retain(|text| !text.is_empty());
        prop_assert_eq!(got, wanted, "in\n{}", markdown);
    }

    #[test]
    fn any_code_survives(text in "[`~ a-z\\n|\\\\]{0,30}") {
        let block = Block::Code { language: "x`y z".into(), text };
        let document = normalise(document(vec![block])).expect("valid");
        let markdown = write_markdown(&document);
        if let Some(Block::Code { text, .. }) = document.blocks.first() {
            prop_assert_eq!(texts(&markdown).pop(), Some(text.clone()), "in\n{}", markdown);
        }
    }
}

fn texts_of(block: &Block) -> Vec<String> {
    match block {
        Block::Paragraph { text } => vec![expected(text)],
        // A heading is one line.
        Block::Heading { text, .. } => vec![expected(text).replace('\n', " ")],
        Block::List { items, .. } => items.iter().flatten().flat_map(texts_of).collect(),
        Block::Quote { blocks } => blocks.iter().flat_map(texts_of).collect(),
        Block::Table(table) => {
            let titles = table.columns.iter().map(|column| column.title.clone());
            titles.chain(table.rows.iter().flatten().map(|cell| expected(&cell.text))).collect()
        }
        other => panic!("not used here: {other:?}"),
    }
}

#[test]
fn every_fact_of_the_samples_survives() {
    for (name, document) in common::samples() {
        let all = texts(&write_markdown(&document)).join("\n");
        let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
        for fact in common::facts(&document) {
            let fact = fact.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(all.contains(&fact), "{name}.md lacks {fact:?}");
        }
    }
}
