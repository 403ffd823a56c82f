//! Helpers for the tests of the whole crate.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bul_document::{Block, Document, Inline, plain};
use bul_template::{Assembled, Catalog, Order, Plan, TemplateError, placeholder_prose};
use chrono::NaiveDate;
use serde_json::Value;

/// The day every order of these tests was accepted.
pub fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 20).expect("date")
}

/// Plans a template with data.
pub fn plan(catalog: &Catalog, template: &str, language: &str, data: &Value) -> Result<Plan, TemplateError> {
    let data = data.as_object().cloned().expect("data is an object");
    catalog.plan(&Order {
        template,
        query: None,
        business_area: None,
        doc_type: None,
        data: &data,
        context: None,
        response_schema: None,
        language,
        date: today(),
    })
}

/// Plans and assembles with stand-in prose.
pub fn render(
    catalog: &Catalog,
    template: &str,
    language: &str,
    data: &Value,
) -> Result<Assembled, TemplateError> {
    finish(plan(catalog, template, language, data)?)
}

/// Assembles a plan with stand-in prose.
pub fn finish(mut plan: Plan) -> Result<Assembled, TemplateError> {
    if plan.outline().is_some() {
        plan.expand(&["Goals".into(), "Next steps".into()])?;
    }
    let texts: BTreeMap<String, String> =
        plan.slots().iter().map(|slot| (slot.id.clone(), placeholder_prose(slot))).collect();
    plan.assemble(&texts)
}

/// Everything a reader sees, one block a line.
pub fn text_of(document: &Document) -> String {
    let mut out = format!("{}\n{}\n", document.meta.title, document.meta.subtitle);
    push(&document.blocks, &mut out);
    out
}

fn push(blocks: &[Block], out: &mut String) {
    for block in blocks {
        match block {
            Block::Heading { text, .. } | Block::Paragraph { text } => out.push_str(&plain(text)),
            Block::List { items, .. } => items.iter().for_each(|item| push(item, out)),
            Block::Table(table) => {
                out.push_str(&table.caption);
                for column in &table.columns {
                    out.push_str(&format!("|{}", column.title));
                }
                for row in table.rows.iter().chain(&table.totals) {
                    out.push('\n');
                    for cell in row {
                        out.push_str(&format!("|{}", plain(&cell.text)));
                    }
                }
            }
            Block::Figure(figure) => out.push_str(&figure.alt),
            Block::Code { text, .. } => out.push_str(text),
            Block::Quote { blocks } | Block::Callout { blocks, .. } => push(blocks, out),
            Block::Definitions { entries } => entries.iter().for_each(|entry| {
                out.push_str(&plain(&entry.term));
                out.push('\n');
                push(&entry.meaning, out);
            }),
            Block::KeyValue { entries } => entries
                .iter()
                .for_each(|entry| out.push_str(&format!("{}: {}\n", entry.label, plain(&entry.value)))),
            Block::Columns { columns } => columns.iter().for_each(|column| push(column, out)),
            Block::Signature { parties } => {
                parties.iter().for_each(|party| out.push_str(&format!("{} {}\n", party.name, party.role)));
            }
            Block::PageBreak => {}
            Block::Slot { id } => panic!("slot {id} is left"),
        }
        out.push('\n');
    }
}

/// Every inline of a document, at any depth.
pub fn inlines(document: &Document) -> Vec<Inline> {
    let json = serde_json::to_value(&document.blocks).expect("json");
    let mut out = Vec::new();
    collect(&json, &mut out);
    out
}

fn collect(value: &Value, out: &mut Vec<Inline>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(map) => {
            if map.contains_key("inline") {
                out.push(serde_json::from_value(value.clone()).expect("inline"));
            }
            map.values().for_each(|inner| collect(inner, out));
        }
        _ => {}
    }
}

/// Real inputs beside the repository, where there are any.
pub fn shared(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    file.is_file().then_some(file)
}
