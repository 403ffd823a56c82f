//! What the readers of events share: bounded texts, times, and the two jobs an event can become.
//!
//! A webhook is written by a program that nobody asks again, so long texts are cut with a mark
//! instead of refused; the limits are those of the templates' data.

use bul_job::{PriorityInput, RawJob};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};

/// Characters of an identifier, name or person.
pub(crate) const NAME: usize = 500;
/// Characters of a title or link.
pub(crate) const LINE: usize = 2_000;
/// Characters of a description or error output.
pub(crate) const TEXT: usize = 20_000;
/// Characters of a state.
pub(crate) const STATE: usize = 100;
/// Changes, checks or assets taken out of one event.
pub(crate) const LIST_MAX: usize = 100;
/// Changes of one push.
pub(crate) const CHANGES_MAX: usize = 5_000;
/// Entries of `details`, and how deep a value is searched for them.
const DETAILS_MAX: (usize, usize) = (200, 4);

/// The document an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Something was made, merged, tested or shipped.
    ReleaseNotes,
    /// Something went wrong or was reported.
    Incident,
}

impl Report {
    /// The job that makes it.
    pub(crate) fn job(self, data: Map<String, Value>, idempotency_key: String) -> RawJob {
        let (template, priority) = match self {
            Self::ReleaseNotes => ("release-notes", "normal"),
            Self::Incident => ("incident-report", "high"),
        };
        RawJob {
            template: Some(template.into()),
            business_area: Some("engineering".into()),
            doc_type: Some(template.into()),
            priority: Some(PriorityInput::Name(priority.into())),
            idempotency_key: Some(idempotency_key),
            data: Some(data),
            ..RawJob::default()
        }
    }
}

/// `prefix:` and a hash of all parts, each kept apart from the next.
pub(crate) fn key(prefix: &str, parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    format!("{prefix}:{}", hasher.finalize().to_hex())
}

/// The text or number at a JSON Pointer; nothing if blank.
pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    scalar(value.pointer(pointer)?).filter(|text| !text.trim().is_empty())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The first of several places that holds a text.
pub(crate) fn first(value: &Value, pointers: &[&str]) -> Option<String> {
    pointers.iter().find_map(|pointer| text(value, pointer))
}

/// At most `max` characters, with a mark where the rest was.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}

/// Adds a text of at most `max` characters where there is one.
pub(crate) fn put(data: &mut Map<String, Value>, key: &str, text: Option<String>, max: usize) {
    let Some(mut text) = text else { return };
    // No document can hold them; what consists of nothing else is blank.
    text.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    if !text.trim().is_empty() {
        data.insert(key.to_owned(), cut(&text, max).into());
    }
}

/// Adds a text of one line.
pub(crate) fn put_line(data: &mut Map<String, Value>, key: &str, text: Option<String>, max: usize) {
    put(data, key, text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")), max);
}

/// Adds a list unless it is empty.
pub(crate) fn put_list(data: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        data.insert(key.to_owned(), list.into());
    }
}

/// Adds an object unless it is empty.
pub(crate) fn put_map(data: &mut Map<String, Value>, key: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        data.insert(key.to_owned(), map.into());
    }
}

/// The time at a pointer: RFC 3339, seconds since 1970, or the forms GitLab writes.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::Number(seconds) => {
            let time = DateTime::from_timestamp(seconds.as_i64()?, 0)?;
            let text = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            // Outside of four-digit years the text is no RFC 3339 time any more.
            text.as_bytes().first().is_some_and(u8::is_ascii_digit).then_some(text)
        }
        Value::String(text) => {
            let text = text.trim();
            if DateTime::parse_from_rfc3339(text).is_ok() {
                return Some(text.to_ascii_uppercase());
            }
            if let Some(head) = text.strip_suffix(" UTC") {
                let time = chrono::NaiveDateTime::parse_from_str(head, "%Y-%m-%d %H:%M:%S").ok()?;
                return Some(time.and_utc().to_rfc3339_opts(SecondsFormat::Secs, true));
            }
            let spaced = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z").ok()?;
            Some(spaced.to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|text| text.len() <= 40)
}

/// Adds a time where there is one.
pub(crate) fn put_time(data: &mut Map<String, Value>, key: &str, time: Option<String>) {
    if let Some(time) = time {
        data.insert(key.to_owned(), time.into());
    }
}

/// A change out of its message: the first line is its title, the rest describes it.
pub(crate) fn change(id: Option<String>, message: Option<String>) -> Option<Map<String, Value>> {
    let message = message.or_else(|| id.clone())?;
    let (title, rest) = message.split_once('\n').unwrap_or((&message, ""));
    let mut change = Map::new();
    put(&mut change, "id", id, NAME);
    put_line(&mut change, "title", Some(title.to_owned()), LINE);
    put(&mut change, "description", Some(rest.trim().to_owned()), TEXT);
    change.contains_key("title").then_some(change)
}

/// The texts of a list, or of one field of its objects.
pub(crate) fn names(value: &Value, pointer: &str, field: &str) -> Vec<Value> {
    let list = value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|item| scalar(item).or_else(|| text(item, field)))
        .filter(|name| !name.is_empty())
        .take(LIST_MAX)
        .map(|name| cut(&name, NAME).into())
        .collect()
}

/// A link with its label.
pub(crate) fn link(label: &str, url: Option<String>) -> Option<Value> {
    let mut link = Map::new();
    put_line(&mut link, "label", Some(label.to_owned()), NAME);
    put(&mut link, "url", Some(url?), LINE);
    link.contains_key("url").then_some(link.into())
}

/// Adds all texts, numbers and booleans inside `value` under dotted names.
pub(crate) fn details(out: &mut Map<String, Value>, name: &str, value: &Value) {
    details_at(out, name, value, 0);
}

fn details_at(out: &mut Map<String, Value>, name: &str, value: &Value, depth: usize) {
    if out.len() >= DETAILS_MAX.0 {
        return;
    }
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) => {
            out.insert(cut(name, NAME), value.clone());
        }
        Value::String(text) => put(out, &cut(name, NAME), Some(text.clone()), TEXT),
        Value::Array(items) if items.iter().all(|item| scalar(item).is_some()) => {
            let text: Vec<String> = items.iter().take(LIST_MAX).filter_map(scalar).collect();
            put(out, &cut(name, NAME), Some(text.join(", ")), TEXT);
        }
        Value::Array(items) if depth < DETAILS_MAX.1 => {
            for (index, item) in items.iter().take(LIST_MAX).enumerate() {
                details_at(out, &below(&(index + 1).to_string()), item, depth + 1);
            }
        }
        Value::Object(map) if depth < DETAILS_MAX.1 => {
            for (key, item) in map.iter().take(DETAILS_MAX.0) {
                details_at(out, &below(key), item, depth + 1);
            }
        }
        Value::Array(_) | Value::Object(_) => {}
    }
}
