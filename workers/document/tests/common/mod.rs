//! What several test files share.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use bul_document::{Block, Document, Inline, normalise, plain};

/// The samples; the PDF writer's tests include this file and share them.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../document/tests/fixtures");

/// The sample trees, by name.
pub fn samples() -> Vec<(String, Document)> {
    let folder = Path::new(FIXTURES);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| (path.file_stem().expect("name").to_string_lossy().into_owned(), read(path)))
        .collect()
}

/// One sample tree.
pub fn sample(name: &str) -> Document {
    read(&Path::new(FIXTURES).join(format!("{name}.json")))
}

fn read(path: &Path) -> Document {
    let bytes = std::fs::read(path).expect("readable");
    normalise(serde_json::from_slice(&bytes).expect("a tree")).expect("valid")
}

/// Every text a reader must find in any format, in reading order.
pub fn facts(document: &Document) -> Vec<String> {
    let mut out = vec![document.meta.title.clone()];
    blocks(&document.blocks, &mut out);
    out.retain(|text| !text.trim().is_empty());
    out
}

fn blocks(list: &[Block], out: &mut Vec<String>) {
    for block in list {
        match block {
            Block::Heading { text, .. } | Block::Paragraph { text } => inlines(text, out),
            Block::List { items, .. } => items.iter().for_each(|item| blocks(item, out)),
            Block::Table(table) => {
                out.push(table.caption.clone());
                out.extend(table.columns.iter().map(|column| column.title.clone()));
                table.rows.iter().chain(&table.totals).flatten().for_each(|cell| inlines(&cell.text, out));
            }
            Block::Figure(figure) => out.push(figure.caption.clone()),
            Block::Code { text, .. } => out.extend(text.lines().map(|line| line.trim().to_owned())),
            Block::Quote { blocks: inner } => blocks(inner, out),
            Block::Callout { title, blocks: inner, .. } => {
                out.push(title.clone());
                blocks(inner, out);
            }
            Block::Definitions { entries } => entries.iter().for_each(|entry| {
                inlines(&entry.term, out);
                blocks(&entry.meaning, out);
            }),
            Block::KeyValue { entries } => entries.iter().for_each(|entry| {
                out.push(entry.label.clone());
                inlines(&entry.value, out);
            }),
            Block::Columns { columns } => columns.iter().for_each(|column| blocks(column, out)),
            Block::Signature { parties } => {
                out.extend(parties.iter().flat_map(|party| [party.name.clone(), party.role.clone()]));
            }
            Block::PageBreak | Block::Slot { .. } => {}
        }
    }
}

/// A note's mark stands in the sentence, so the text on either side counts for itself.
fn inlines(run: &[Inline], out: &mut Vec<String>) {
    for part in run.split(|inline| matches!(inline, Inline::Footnote { .. })) {
        out.extend(plain(part).split('\n').map(|line| line.trim().to_owned()));
    }
    for inline in run {
        if let Inline::Footnote { text } = inline {
            inlines(text, out);
        }
    }
}
