//! The free document: a request in words and whatever data comes with it.
//!
//! Scalars of the data become facts and key facts, lists of objects become tables; the sections
//! come from an outline, unless the data names them.

mod query;
mod tables;
mod words;

use std::collections::BTreeMap;

use bul_document::{Block, Cell, Column, ColumnType, Inline, KeyValue, Table};
use serde_json::{Map, Value, json};

use super::{Input, Outcome, Prepared, exact_cell, lines, text_cell};
use crate::error::Problem;
use crate::facts::slug;
use crate::format::{Locale, parse_date, plain_decimal};
use crate::json::{escape_step, scalar};
use crate::plan::{OutlineSpec, SECTIONS};
use crate::prompt::{label, one_line};

/// Members of the data that steer the document and are not content.
const RESERVED: [&str; 5] = ["title", "subject", "author", "date", "sections"];
/// Objects inside objects that are followed for facts.
const DEPTH_MAX: usize = 3;
/// Key facts shown.
const KEY_FACTS_MAX: usize = 60;

/// Plans a free document.
pub(super) fn prepare(input: &Input) -> Outcome {
    let data = input.data.as_object().cloned().unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(scalar);
    let request = query::parse(input.order.query.unwrap_or_default());
    let given = |value: Option<&str>| value.map(label).filter(|value| !value.is_empty());
    let area = given(input.order.business_area).or(request.business_area).unwrap_or_else(|| "general".into());
    let named_type = given(input.order.doc_type).or(request.doc_type);
    let doc_type = named_type.clone().unwrap_or_else(|| "document".into());
    let what = heading(&area, &doc_type);
    let (subject, origin) = match (text("subject"), request.subject, text("title")) {
        (Some(subject), _, _) => (subject, "/subject"),
        (None, Some(subject), _) => (subject, "computed: from the request"),
        (None, None, Some(title)) => (title, "/title"),
        (None, None, None) => (what.to_lowercase(), "computed: from the document type"),
    };
    let mut prepared =
        Prepared { doc_type: Some(doc_type.clone()), business_area: Some(area), ..Prepared::default() };
    prepared.title = text("title").unwrap_or_else(|| title(&what, &subject, named_type.is_some()));
    prepared.title = one_line(&prepared.title, 200);
    prepared.author = text("author").unwrap_or_default();
    prepared.date = text("date");
    prepared.facts.add("subject", one_line(&subject, 300), origin);
    let mut entries = Vec::new();
    content(input.locale, &data, &mut prepared, &mut entries)?;
    let has_key_facts = !entries.is_empty();
    if has_key_facts {
        prepared.parts.insert("key_facts".into(), vec![Block::KeyValue { entries }]);
    }
    let sections = data.get("sections").and_then(Value::as_array).cloned().unwrap_or_default();
    if sections.is_empty() {
        let is_german = input.locale == Locale::De;
        let spec = OutlineSpec {
            items: tables::sections(&doc_type),
            fallback: tables::fallback(&doc_type, is_german),
        };
        prepared.outline = Some(spec);
        prepared.parts.insert(SECTIONS.into(), vec![Block::Slot { id: SECTIONS.into() }]);
    }
    prepared.context.insert("sections".into(), Value::Array(sections));
    prepared.context.insert("has_key_facts".into(), json!(has_key_facts));
    Ok(prepared)
}

/// `Marketing strategy`; an area the type already names, or no area in particular, is left out.
fn heading(area: &str, doc_type: &str) -> String {
    let words = if area == "general" || doc_type.contains(area) {
        doc_type.to_owned()
    } else {
        format!("{area} {doc_type}")
    };
    let words = words.replace("hr ", "HR ").replace("it ", "IT ");
    let words =
        if words.starts_with("IT ") || words.starts_with("HR ") { words } else { words.to_lowercase() };
    capitalised(&words)
}

fn title(what: &str, subject: &str, has_type: bool) -> String {
    if !has_type {
        return capitalised(subject);
    }
    if what.eq_ignore_ascii_case(subject) { what.to_owned() } else { format!("{what}: {subject}") }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Facts, key facts and tables of the data.
fn content(
    locale: Locale,
    data: &Map<String, Value>,
    prepared: &mut Prepared,
    entries: &mut Vec<KeyValue>,
) -> Result<(), Vec<Problem>> {
    let mut blocks = Vec::new();
    for (key, value) in data.iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())) {
        let pointer = format!("/{}", escape_step(key));
        member(locale, key, value, &pointer, 0, prepared, entries, &mut blocks);
    }
    prepared.parts.insert("tables".into(), blocks);
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "one recursive walk with three outputs; a struct would only rename them"
)]
fn member(
    locale: Locale,
    name: &str,
    value: &Value,
    pointer: &str,
    depth: usize,
    prepared: &mut Prepared,
    entries: &mut Vec<KeyValue>,
    blocks: &mut Vec<Block>,
) {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let Some(text) = scalar(value) else { return };
            let shown = shown(locale, &text);
            prepared.facts.add(&slug(name), one_line(&shown, 300), pointer);
            if entries.len() < KEY_FACTS_MAX {
                entries.push(KeyValue { label: human(name), value: lines(&shown) });
            }
        }
        Value::Object(members) if depth < DEPTH_MAX => {
            for (key, inner) in members {
                let pointer = format!("{pointer}/{}", escape_step(key));
                member(
                    locale,
                    &format!("{name} {key}"),
                    inner,
                    &pointer,
                    depth + 1,
                    prepared,
                    entries,
                    blocks,
                );
            }
        }
        Value::Object(_) => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            blocks.push(Block::Heading {
                level: 1,
                text: vec![Inline::text(human(name))],
                id: String::new(),
            });
            if items.iter().all(Value::is_object) {
                blocks.push(Block::Table(table(locale, items)));
            } else {
                let items = items
                    .iter()
                    .filter_map(|item| Some(vec![Block::Paragraph { text: lines(&inner_text(item)?) }]));
                blocks.push(Block::List { ordered: false, items: items.collect() });
            }
        }
    }
}

/// Dates in the document's language, everything else as it came: a number may be a year or a key.
pub(crate) fn shown(locale: Locale, text: &str) -> String {
    let is_iso = text.len() == 10 && text.as_bytes()[4] == b'-';
    match parse_date(text).filter(|_| is_iso) {
        Some(day) => locale.date(day),
        None => text.to_owned(),
    }
}

/// `due_date` as `Due date`.
pub(crate) fn human(name: &str) -> String {
    let words = slug(name).replace('_', " ");
    let readable = if words == "f" || words.starts_with("f ") { one_line(name, 60) } else { words };
    capitalised(&readable)
}

/// Table with a column for every key, in order of appearance.
pub(crate) fn table(locale: Locale, items: &[Value]) -> Table {
    let mut keys: Vec<&String> = Vec::new();
    let mut seen: BTreeMap<&String, bool> = BTreeMap::new();
    for (key, value) in items.iter().filter_map(Value::as_object).flatten() {
        let blank = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        let numeric = blank || scalar(value).is_some_and(|text| plain_decimal(&text).is_some());
        match seen.get_mut(key) {
            Some(all) => *all &= numeric,
            None => {
                seen.insert(key, numeric);
                keys.push(key);
            }
        }
    }
    let columns = keys.iter().map(|key| Column {
        title: human(key),
        kind: if seen.get(key) == Some(&true) { ColumnType::Number } else { ColumnType::Text },
        width: 0,
    });
    let row = |item: &Value| {
        keys.iter()
            .map(|key| cell(locale, item.get(key.as_str()), seen.get(key) == Some(&true)))
            .collect::<Vec<_>>()
    };
    Table {
        caption: String::new(),
        columns: columns.collect(),
        rows: items.iter().map(row).collect(),
        totals: Vec::new(),
    }
}

fn cell(locale: Locale, value: Option<&Value>, numeric: bool) -> Cell {
    let Some(text) = value.and_then(inner_text) else { return Cell::default() };
    match plain_decimal(&text).filter(|_| numeric) {
        // Whole numbers may be years or keys; only fractions are clearly quantities.
        Some(exact) if exact.scale() > 0 => exact_cell(locale.number(exact), exact),
        Some(exact) => exact_cell(text, exact),
        None if text.contains('\n') => Cell { text: lines(&text), value: None },
        None => text_cell(shown(locale, &text)),
    }
}

/// Text of any value; lists and objects within a cell become one line.
fn inner_text(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().filter_map(inner_text).collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        Value::Object(members) => {
            let parts: Vec<String> = members
                .iter()
                .filter_map(|(key, v)| Some(format!("{}: {}", human(key), inner_text(v)?)))
                .collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value),
    }
}
