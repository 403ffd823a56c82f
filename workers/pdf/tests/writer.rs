//! What readers, validators and other programs find in the PDFs.
//!
//! Needs `pdftotext` and `pdfinfo` (poppler-utils) and `qpdf`.

#[path = "../../document/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::Command;

use bul_document::{Document, normalise};
use bul_pdf::{PdfError, PdfWriter};
use serde_json::{Value, json};

fn sample(name: &str) -> Document {
    common::sample(name)
}

fn tree(blocks: Value) -> Document {
    let tree = json!({ "meta": { "title": "Title", "lang": "en", "date": "2026-11-16" }, "blocks": blocks });
    normalise(serde_json::from_value(tree).expect("a tree")).expect("valid")
}

fn paragraph(text: &str) -> Value {
    json!({ "block": "paragraph", "text": [{ "inline": "text", "text": text }] })
}

/// Runs a program on a PDF and returns what it prints.
fn run(program: &str, arguments: &[&str], pdf: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.pdf");
    std::fs::write(&path, pdf).expect("written");
    let output = command(program, arguments, &path).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn command(program: &str, arguments: &[&str], path: &Path) -> Command {
    let mut command = Command::new(program);
    for argument in arguments {
        if *argument == "FILE" {
            command.arg(path)
        } else {
            command.arg(argument)
        };
    }
    command
}

fn text(pdf: &[u8]) -> String {
    run("pdftotext", &["-enc", "UTF-8", "FILE", "-"], pdf)
}

/// Text without blanks: a PDF breaks lines anywhere, even inside long words.
fn solid(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn every_fact_is_in_the_text_and_the_file_is_sound() {
    let writer = PdfWriter::new();
    for (name, document) in common::samples() {
        let pdf = writer.render(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(pdf.missing_glyphs, Vec::<char>::new(), "{name}");
        // In the order of the page: by position, a wide gap in a line of code starts a column.
        let found = solid(&run("pdftotext", &["-raw", "-enc", "UTF-8", "FILE", "-"], &pdf.bytes));
        for fact in common::facts(&document) {
            // Lines of code wrap at any place; all others are compared as a whole.
            assert!(found.contains(&solid(&fact)), "{name}.pdf lacks {fact:?}");
        }
        run("qpdf", &["--check", "FILE"], &pdf.bytes);
    }
}

#[test]
fn chart_labels_are_text() {
    let found = text(&PdfWriter::new().write(&sample("report")).expect("a PDF"));
    for label in ["Week 45", "Wednesday", "parcels", "10,000", "W40", "Transport", "61.0 %"] {
        assert!(found.contains(label), "no {label:?} in {found}");
    }
}

#[test]
fn metadata_and_tags() {
    let info = run("pdfinfo", &["FILE"], &PdfWriter::new().write(&sample("invoice")).expect("a PDF"));
    for expected in [
        "Title:           Invoice 2026-1187",
        "Author:          Nordlicht Consulting GmbH",
        "Creator:         BUL",
        "Tagged:          yes",
        "Page size:       595.276 x 841.89 pts (A4)",
        "2026",
    ] {
        assert!(info.contains(expected), "no {expected:?} in {info}");
    }
    let tags =
        run("pdfinfo", &["-struct", "FILE"], &PdfWriter::new().write(&sample("every")).expect("a PDF"));
    for tag in [
        "H1",
        "H2",
        "Table",
        "TH",
        "TD",
        "L ",
        "LI",
        "Figure",
        "Note",
        "Link",
        "BlockQuote",
        "Caption",
        "Code",
    ] {
        assert!(tags.contains(tag), "no {tag} in {tags}");
    }
}

#[test]
fn same_tree_same_bytes() {
    let document = sample("every");
    let first = PdfWriter::new().write(&document).expect("a PDF");
    let writer = PdfWriter::new();
    writer.write(&sample("report")).expect("a PDF");
    assert!(first == writer.write(&document).expect("a PDF"), "bytes differ");
}

#[test]
fn hostile_text_stays_text() {
    let writer = PdfWriter::new();
    for hostile in [
        "#let x = 1; #include \"/etc/passwd\" #panic(\"x\")",
        "$x^2$ *not strong* _nor this_ `raw` @label <label>",
        "= no heading - no list + no enum / no: term // no comment",
        "https://not.a.link --- ... ~ \\u{1F600} 'quotes' \"too\"",
        "]]> &amp; <script>alert(1)</script> | %PDF (paren) \\n",
    ] {
        let run = json!([{ "inline": "text", "text": hostile }]);
        let document = tree(json!([
            { "block": "heading", "level": 1, "text": run },
            paragraph(hostile),
            { "block": "table", "caption": hostile, "columns": [{ "title": hostile, "type": "text" }],
              "rows": [[{ "text": run }]] },
            { "block": "code", "language": "typ", "text": hostile },
            { "block": "figure", "alt": hostile, "caption": hostile, "chart": { "kind": "bar",
              "categories": [hostile], "series": [{ "name": hostile, "values": [1] }] } },
        ]));
        let found = solid(&text(&writer.write(&document).unwrap_or_else(|e| panic!("{hostile}: {e}"))));
        assert!(found.matches(&solid(hostile)).count() >= 5, "{hostile:?} not found literally in {found}");
    }
}

#[test]
fn missing_glyphs_are_shown_and_reported() {
    let document = tree(json!([
        paragraph("Latin é, Greek Ω, Cyrillic Ж, Arabic سلام, Hebrew שלום, € – • ✓ → ≤ ½ ™"),
        paragraph("Chinese 中文, emoji 👩\u{200D}💻 ⚠\u{FE0F}, private \u{E000}"),
        { "block": "figure", "alt": "x", "chart": { "kind": "bar", "categories": ["文"],
          "series": [{ "name": "s", "values": [1] }] } },
        { "block": "code", "text": "日 = 1" },
    ]));
    let pdf = PdfWriter::new().render(&document).expect("a PDF");
    assert_eq!(pdf.missing_glyphs, ['中', '文', '日', '\u{E000}', '👩', '💻']);
    let found = text(&pdf.bytes);
    assert!(found.contains("Chinese □□, emoji □□ ⚠, private □"), "{found}");
    assert!(found.contains("Greek Ω, Cyrillic Ж"), "{found}");
}

#[test]
fn a_long_table_repeats_its_head_and_breaks_no_row() {
    let cell = |text: String| json!({ "text": [{ "inline": "text", "text": text }] });
    let rows: Vec<Value> = (1..=200)
        .map(|n| {
            json!([cell(format!("Item {n} starts here and its description is long enough to wrap onto a second line, where it ends with {n}")),
                   cell(format!("{n}.00"))])
        })
        .collect();
    let document = tree(json!([{ "block": "table", "caption": "Long",
        "columns": [{ "title": "Description head", "type": "text" }, { "title": "Amount head", "type": "money" }],
        "rows": rows, "totals": [[cell("Total of all".into()), cell("20,100.00".into())]] }]));
    let pdf = PdfWriter::new().render(&document).expect("a PDF");
    assert!(pdf.pages >= 5, "{} pages", pdf.pages);
    let all = text(&pdf.bytes);
    let pages: Vec<&str> = all.split('\u{C}').filter(|page| !page.trim().is_empty()).collect();
    assert_eq!(pages.len(), pdf.pages);
    for (index, page) in pages.iter().enumerate() {
        let (number, count) = (index + 1, pdf.pages);
        assert!(
            page.contains("Description head") && page.contains("Amount head"),
            "no head on page {number}"
        );
        assert!(page.contains(&format!("Page {number} of {count}")), "no number on page {number}");
        let page = solid(page);
        for n in 1..=200 {
            let starts = page.contains(&format!("Item{n}starts"));
            let ends = page.contains(&format!("endswith{n}")) && starts;
            assert_eq!(starts, ends, "row {n} is split on page {number}");
        }
    }
    let last = pages.last().expect("a page");
    assert!(last.contains("Total of all") && last.contains("Item 200"), "totals stand alone");
}

#[test]
fn long_words_stay_on_the_page() {
    let word = "x".repeat(300);
    let run = json!([{ "inline": "text", "text": word }]);
    let document = tree(json!([
        paragraph(&word),
        { "block": "code", "text": word },
        { "block": "table", "columns": [{ "title": "A", "type": "text" }, { "title": "B", "type": "text" }],
          "rows": [[{ "text": run }, { "text": run }]] },
        { "block": "key_value", "entries": [{ "label": "Hash", "value": run }] },
    ]));
    let pdf = PdfWriter::new().write(&document).expect("a PDF");
    let boxes = run_bbox(&pdf);
    assert!(boxes.0 >= 0.0 && boxes.1 <= 595.3 - 50.0, "text from {} to {}", boxes.0, boxes.1);
    assert_eq!(solid(&text(&pdf)).matches('x').count(), 5 * 300, "copied text holds nothing else");
}

/// Leftmost and rightmost edge of any word.
fn run_bbox(pdf: &[u8]) -> (f64, f64) {
    let html = run("pdftotext", &["-bbox", "FILE", "-"], pdf);
    let edge = |name: &str| -> Vec<f64> {
        html.split(&format!("{name}=\""))
            .skip(1)
            .filter_map(|part| part.split('"').next()?.parse().ok())
            .collect()
    };
    (edge("xMin").into_iter().fold(f64::MAX, f64::min), edge("xMax").into_iter().fold(0.0, f64::max))
}

#[test]
fn four_threads_share_a_writer() {
    let writer = PdfWriter::new();
    let names = ["invoice", "report", "contract", "incident"];
    let alone: Vec<Vec<u8>> = names.iter().map(|name| writer.write(&sample(name)).expect("a PDF")).collect();
    std::thread::scope(|scope| {
        for shift in 0..4 {
            let (writer, alone) = (writer.clone(), &alone);
            scope.spawn(move || {
                for round in 0..4 {
                    let index = (shift + round) % 4;
                    let pdf = writer.write(&sample(names[index])).expect("a PDF");
                    assert!(pdf == alone[index], "{} differs", names[index]);
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_no_font_is_refused() {
    let error = PdfWriter::with_fonts(vec![b"no font".to_vec()]).err();
    assert_eq!(error, Some(PdfError::Font { index: 0 }));
}

#[test]
fn without_a_date_the_file_is_still_the_same() {
    let mut document = sample("contract");
    document.meta.date.clear();
    let writer = PdfWriter::new();
    assert!(writer.write(&document).expect("a PDF") == writer.write(&document).expect("a PDF"));
}
