//! The tree as the template wants it: charts drawn, columns measured, every character showable.

use std::collections::BTreeSet;

use bul_document::{Cell, ChartText, ColumnType, Document, Figure, Labels, Palette, Table, chart_svg, plain};
use serde_json::{Map, Value, json};

use crate::fonts::{Coverage, REPLACEMENT};

/// Characters that fit the width of a page in the type size of tables.
const TABLE_CHARS: usize = 92;
/// Longest text that counts for the width of a column; longer ones wrap anyway.
const COLUMN_CHARS_MAX: usize = 44;

/// Input of one run.
pub(crate) struct Input {
    data: Value,
    /// Characters that were replaced, in order.
    pub(crate) missing: Vec<char>,
}

impl Input {
    /// The data file, with the page shifted by a number of steps too small to see.
    pub(crate) fn json(&self, nudge: u8) -> Vec<u8> {
        // A value made of strings, numbers and lists always serialises.
        serde_json::to_vec(&json!({ "nudge": nudge, "document": self.data })).unwrap_or_default()
    }
}

/// Prepares a document for the template.
pub(crate) fn prepare(document: &Document, coverage: &Coverage, families: &[String]) -> Input {
    let mut preparer = Preparer {
        document,
        palette: Palette::new(&document.meta.brand),
        coverage,
        missing: BTreeSet::new(),
    };
    let labels = Labels::of(&document.meta.lang);
    // A tree serialises to JSON as it came from JSON.
    let mut blocks = serde_json::to_value(&document.blocks).unwrap_or_default();
    preparer.walk(&mut blocks);
    let mut meta = serde_json::to_value(&document.meta).unwrap_or_default();
    preparer.walk(&mut meta);
    let mut words = json!({
        "page": labels.page,
        "of": labels.of,
        "place_date": labels.place_date,
        "signature": labels.signature,
        "info": labels.callout(bul_document::CalloutKind::Info),
        "success": labels.callout(bul_document::CalloutKind::Success),
        "warning": labels.callout(bul_document::CalloutKind::Warning),
        "danger": labels.callout(bul_document::CalloutKind::Danger),
    });
    preparer.walk(&mut words);
    let palette = &preparer.palette;
    let colours = json!({
        "primary": palette.primary.to_string(),
        "accent": palette.accent.to_string(),
        "tint": palette.tint.to_string(),
        "rule": palette.rule.to_string(),
    });
    let (lang, region) = language(&document.meta.lang);
    let data = json!({
        "meta": meta, "blocks": blocks, "words": words, "colours": colours,
        "lang": lang, "region": region, "families": families,
    });
    Input { data, missing: preparer.missing.into_iter().collect() }
}

/// Language and region as typst takes them.
fn language(tag: &str) -> (String, Option<String>) {
    let mut parts = tag.split('-');
    let lang = parts.next().unwrap_or("en").to_ascii_lowercase();
    let region = parts.find(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic()));
    (lang, region.map(str::to_ascii_uppercase))
}

struct Preparer<'a> {
    document: &'a Document,
    palette: Palette,
    coverage: &'a Coverage,
    missing: BTreeSet<char>,
}

impl Preparer<'_> {
    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.cover(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Object(object) => {
                match object.get("block").and_then(Value::as_str) {
                    Some("figure") => self.draw(object),
                    Some("table") => measure(object),
                    _ => {}
                }
                for (key, item) in object.iter_mut() {
                    // A target is not shown; what is covered must still be the same address.
                    if key != "url" && key != "svg" {
                        self.walk(item);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Replaces the chart of a figure by its drawing.
    fn draw(&mut self, object: &mut Map<String, Value>) {
        let mut figure = object.clone();
        figure.remove("block");
        let Ok(mut figure) = serde_json::from_value::<Figure>(Value::Object(figure)) else { return };
        let chart = &mut figure.chart;
        let names = chart.series.iter_mut().map(|series| &mut series.name);
        for text in chart.categories.iter_mut().chain(names).chain([&mut chart.unit]) {
            self.cover(text);
        }
        // Title and alternative text of a PDF figure come from the template, not from the drawing.
        let text = ChartText { lang: &self.document.meta.lang, title: "", alt: "", id: "chart" };
        object.remove("chart");
        object.insert("svg".to_owned(), chart_svg(&figure.chart, &self.palette, text).into());
    }

    /// Replaces what no font can show.
    fn cover(&mut self, text: &mut String) {
        if text.is_ascii() && !text.contains('\t') {
            return;
        }
        let mut out = String::with_capacity(text.len());
        let mut shown = false;
        for c in text.chars() {
            match c {
                '\n' => out.push(c),
                '\t' => out.push_str("    "),
                // Asks for the emoji or text form of the character before; no font here has both.
                '\u{FE00}'..='\u{FE0F}' => {}
                // A joiner without a shown letter before it joins nothing.
                '\u{200C}' | '\u{200D}' if !shown || !self.coverage.has(c) => {}
                c if self.coverage.has(c) => {
                    out.push(c);
                    shown = true;
                }
                c => {
                    self.missing.insert(c);
                    out.push(REPLACEMENT);
                    shown = false;
                }
            }
        }
        *text = out;
    }
}

/// Adds the column plan of a table: one width per column, 0 for as wide as needed, and the type
/// size in percent.
fn measure(object: &mut Map<String, Value>) {
    let mut table = object.clone();
    table.remove("block");
    let Ok(table) = serde_json::from_value::<Table>(Value::Object(table)) else { return };
    let mut widths = Vec::with_capacity(table.columns.len());
    let mut needed = 0;
    let given = table.columns.iter().all(|column| column.width > 0);
    let texts = table.columns.iter().filter(|column| column.kind == ColumnType::Text).count();
    for (index, column) in table.columns.iter().enumerate() {
        let cells = table.rows.iter().chain(&table.totals).filter_map(|row| row.get(index));
        let (longest, word) = extent(cells);
        let title_word = column.title.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        let is_text = column.kind == ColumnType::Text;
        let natural = longest.max(title_word);
        needed += 3 + if is_text { word.max(title_word).min(24) } else { natural };
        // Numbers and dates take what they need, whatever was asked: broken they are unreadable.
        widths.push(match (is_text || texts == 0, given) {
            (true, true) => usize::from(column.width),
            (true, false) => natural.clamp(word.clamp(8, 24), COLUMN_CHARS_MAX),
            (false, _) => 0,
        });
    }
    let percent = (TABLE_CHARS * 100 / needed.max(1)).clamp(62, 100);
    object.insert("widths".to_owned(), widths.into());
    object.insert("size".to_owned(), percent.into());
}

/// Length of the longest text and of the longest word.
fn extent<'a>(cells: impl Iterator<Item = &'a Cell>) -> (usize, usize) {
    let (mut longest, mut longest_word) = (0, 0);
    for cell in cells {
        for line in plain(&cell.text).split('\n') {
            longest = longest.max(line.chars().count());
            for word in line.split(' ') {
                longest_word = longest_word.max(word.chars().count());
            }
        }
    }
    (longest, longest_word)
}
