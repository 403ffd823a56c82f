//! CSV to jobs: one job per row, or all rows as the figures of one weekly report.
//!
//! A header with `template` or `query` makes jobs; so does a template from the outside, except
//! `weekly-report`, which always takes the rows as figures. Cells stay exactly as written: a cell
//! becomes a JSON number only if that number prints back as the same text.

use bul_job::{FieldError, RawJob};
use serde_json::{Map, Number, Value};

use super::csv_text::{Row, Table, decode};
use super::error::{Bad, IngestError, IngestErrorKind, quote};
use super::json::{self, Budget};
use super::{Hints, IngestLimits, Item};

/// Template that takes figures.
const REPORT: &str = "weekly-report";

/// Parts of a column name such as `data.customer.name`; bounds the recursion over what they build.
const COLUMN_PARTS_MAX: usize = 16;

/// Columns that hold a text.
const TEXT_COLUMNS: [&str; 12] = [
    "kind",
    "template",
    "query",
    "business_area",
    "doc_type",
    "context",
    "language",
    "session_id",
    "idempotency_key",
    "run_at",
    "deadline",
    "callback_url",
];

/// Reads a CSV body.
pub(crate) fn read(bytes: &[u8], hints: &Hints, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let text = decode(bytes)?;
    let table = Table::open(&text, limits)?;
    let names_job = table.header.iter().any(|name| name == "template" || name == "query");
    match hints.template.as_deref() {
        Some(REPORT) => figures(table, hints),
        Some(_) => jobs(table, limits),
        None if names_job => jobs(table, limits),
        None => figures(table, hints),
    }
}

fn figures(mut table: Table<'_>, hints: &Hints) -> Result<Vec<Item>, IngestError> {
    let mut bad = Bad::default();
    let mut rows = Vec::new();
    while let Some(row) = table.next_row()? {
        note_surplus(&row, table.header.len(), rows.len(), &mut bad);
        let cells = row.cells.iter().map(|cell| match cell.trim() {
            "" => Value::Null,
            text => Value::String(text.to_owned()),
        });
        rows.push(Value::Array(cells.collect()));
    }
    if rows.is_empty() {
        return bad.finish(()).and_then(|()| Err(empty()));
    }
    let named = table.header.iter().enumerate();
    let columns: Vec<String> = named
        .map(|(index, name)| if name.is_empty() { format!("Column {}", index + 1) } else { name.clone() })
        .collect();
    let mut data = Map::new();
    if let Some(title) = hints.file_name.as_deref().and_then(title_of) {
        data.insert("title".into(), title.into());
    }
    data.insert("columns".into(), columns.into());
    data.insert("rows".into(), Value::Array(rows));
    let job = RawJob {
        template: Some(REPORT.into()),
        business_area: Some("analytics".into()),
        doc_type: Some(REPORT.into()),
        data: Some(data),
        ..RawJob::default()
    };
    bad.finish(vec![Item { job, place: String::new() }])
}

fn empty() -> IngestError {
    IngestError::new(IngestErrorKind::Empty, "", "the file has a header and no rows")
}

/// `reports/shop_costs-2026.csv` → `Shop costs 2026`.
fn title_of(file_name: &str) -> Option<String> {
    let base = file_name.rsplit(['/', '\\']).next()?;
    let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
    let words = stem.split(|c: char| c == '_' || c == '-' || c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let text: String = words.join(" ").chars().take(200).collect();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect())
}

fn note_surplus(row: &Row, columns: usize, index: usize, bad: &mut Bad) {
    if let Some(found) = row.surplus {
        let message = format!("has {found} cells, the header has {columns} columns");
        bad.push(&row.place(), FieldError::new(format!("/{index}"), message));
    }
}

/// What a column holds.
enum Column {
    Text(String),
    Formats,
    Priority,
    MaxAttempts,
    Dedup,
    /// A JSON object with all of `data`.
    Data,
    /// A JSON object: the schema of the answer.
    ResponseSchema,
    /// A path into `data`, `params` or `metadata`, including that name.
    Path(Vec<String>),
    /// No name; its cells must be empty.
    Unnamed,
}

fn column(name: &str) -> Option<Column> {
    if TEXT_COLUMNS.contains(&name) {
        return Some(Column::Text(name.to_owned()));
    }
    match name {
        "" => Some(Column::Unnamed),
        "formats" => Some(Column::Formats),
        "priority" => Some(Column::Priority),
        "max_attempts" => Some(Column::MaxAttempts),
        "dedup" => Some(Column::Dedup),
        "data" => Some(Column::Data),
        "response_schema" => Some(Column::ResponseSchema),
        _ => {
            let parts: Vec<String> =
                name.split('.').take(COLUMN_PARTS_MAX + 1).map(|p| p.trim().to_owned()).collect();
            let known = matches!(parts[0].as_str(), "data" | "params" | "metadata");
            let depth_ok =
                if parts[0] == "data" { 2..=COLUMN_PARTS_MAX } else { 2..=2 }.contains(&parts.len());
            (known && depth_ok && parts.iter().all(|p| !p.is_empty())).then_some(Column::Path(parts))
        }
    }
}

fn columns(header: &[String]) -> Result<Vec<Column>, IngestError> {
    let mut bad = Bad::default();
    let mut columns = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        match column(name) {
            Some(column) => columns.push(column),
            None => bad.push(
                &format!("row 1, column {}", index + 1),
                FieldError::new(
                    "",
                    format!(
                        "unknown column {}; a job per row has the fields of a job, such as template, \
                         query, formats, priority, data.customer.name; for a report of figures choose \
                         the template {REPORT}",
                        quote(name)
                    ),
                ),
            ),
        }
    }
    bad.finish(columns)
}

fn jobs(mut table: Table<'_>, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let columns = columns(&table.header)?;
    let budget = Budget::new(limits);
    let mut bad = Bad::default();
    let mut items = Vec::new();
    let mut index = 0;
    while let Some(row) = table.next_row()? {
        limits.check_items(index + 1)?;
        note_surplus(&row, table.header.len(), index, &mut bad);
        let mut fields = Map::new();
        for (at, (column, cell)) in columns.iter().zip(row.cells.iter()).enumerate() {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            if let Err(message) = set(&mut fields, column, cell, &budget) {
                let name = &table.header[at];
                let place = format!("{}, column {} ({name})", row.place(), at + 1);
                let pointer = format!("/{index}/{}", name.replace('.', "/"));
                bad.push(&place, FieldError::new(pointer, message));
            }
        }
        if let Some(data) = fields.get_mut("data") {
            arrays(data);
        }
        match json::job(Value::Object(fields)) {
            Ok(job) => items.push(Item { job, place: format!("row {}", row.number) }),
            Err(error) => bad.push_error(&row.place(), index, error),
        }
        index += 1;
    }
    if index == 0 {
        return Err(empty());
    }
    bad.finish(items)
}

fn set(fields: &mut Map<String, Value>, column: &Column, cell: &str, budget: &Budget) -> Result<(), String> {
    let (name, value) = match column {
        Column::Text(name) => (name.as_str(), cell.into()),
        Column::Formats => ("formats", words(cell).into()),
        Column::Priority => {
            let number = cell.parse::<i64>().map(Value::from);
            ("priority", number.unwrap_or_else(|_| cell.into()))
        }
        Column::MaxAttempts => {
            let number = cell.parse::<u32>().map_err(|_| format!("{} is not a whole number", quote(cell)))?;
            ("max_attempts", number.into())
        }
        Column::Dedup => ("dedup", boolean(cell)?.into()),
        Column::Data => {
            return match json::value(cell, budget).map_err(|error| error.message)? {
                Value::Object(map) => merge(fields, map),
                other => Err(format!("expected a JSON object, found {}", json::kind_of(&other))),
            };
        }
        Column::ResponseSchema => {
            ("response_schema", json::value(cell, budget).map_err(|error| error.message)?)
        }
        Column::Path(parts) if parts[0] == "params" => {
            let number: Number = cell.parse().map_err(|_| format!("{} is not a number", quote(cell)))?;
            return put(fields, parts, Value::Number(number));
        }
        Column::Path(parts) => return put(fields, parts, typed(cell, budget)),
        Column::Unnamed => return Err("the column has no name".into()),
    };
    fields.insert(name.to_owned(), value);
    Ok(())
}

fn words(cell: &str) -> Vec<&str> {
    cell.split([';', ' ', ',', '|', '\n']).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn boolean(cell: &str) -> Result<bool, String> {
    match cell.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quote(cell))),
    }
}

/// A cell of free data: a number or boolean only where nothing of the text is lost by it; an array
/// or object where the cell is one in JSON.
fn typed(cell: &str, budget: &Budget) -> Value {
    let value = match cell.as_bytes().first() {
        Some(b'0'..=b'9' | b'-' | b't' | b'f' | b'[' | b'{') => json::value(cell, budget).ok(),
        _ => None,
    };
    let nested = value.as_ref().is_some_and(|value| value.is_array() || value.is_object());
    let printed = value.as_ref().filter(|_| !nested).map(Value::to_string);
    match value {
        Some(value) if nested || printed.as_deref() == Some(cell) => value,
        _ => Value::String(cell.to_owned()),
    }
}

fn merge(fields: &mut Map<String, Value>, map: Map<String, Value>) -> Result<(), String> {
    for (key, value) in map {
        put(fields, &["data".to_owned(), key], value)?;
    }
    Ok(())
}

fn put(fields: &mut Map<String, Value>, parts: &[String], value: Value) -> Result<(), String> {
    let Some((last, path)) = parts.split_last() else { return Ok(()) };
    let mut at = fields;
    for part in path {
        let next = at.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()));
        at = next
            .as_object_mut()
            .ok_or_else(|| format!("{} is given as a value and as a group", quote(part)))?;
    }
    if at.contains_key(last) {
        return Err(format!("{} is given twice", quote(last)));
    }
    at.insert(last.clone(), value);
    Ok(())
}

/// An object with the keys 0, 1, 2 … as `data.lines.0.name` makes it is a list. Other numbers, such
/// as years, stay keys.
fn arrays(value: &mut Value) {
    let Value::Object(map) = value else { return };
    map.values_mut().for_each(arrays);
    let mut keys: Vec<usize> = map.keys().map_while(|key| key.parse().ok()).collect();
    keys.sort_unstable();
    if keys.is_empty() || keys.len() < map.len() || keys.iter().enumerate().any(|(at, key)| at != *key) {
        return;
    }
    let items = keys.iter().filter_map(|key| map.remove(&key.to_string())).collect();
    *value = Value::Array(items);
}
