//! JSON in, values and jobs out: one object, an array, or one value per line.
//!
//! Stricter than serde_json alone: a key that occurs twice is an error (which of both was meant?),
//! and the number of values is bounded, because `[[],[],…` grows a hundredfold in memory.

use std::cell::Cell;
use std::fmt;

use bul_job::{FieldError, RawJob};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{Bad, IngestError, quote};
use super::{Hints, IngestLimits, Item, Source, text};

/// How many more JSON values may be read; shared by all lines of one body.
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    pub(crate) fn new(limits: &IngestLimits) -> Self {
        Self(Cell::new(limits.json_values_max))
    }
}

/// Reads exactly one value out of `text`; errors name line and column.
pub(crate) fn value(text: &str, budget: &Budget) -> Result<Value, IngestError> {
    let mut de = serde_json::Deserializer::from_str(text);
    let value = Strict(budget).deserialize(&mut de).and_then(|value| de.end().map(|()| value));
    value.map_err(|error| syntax(&error))
}

/// Reads the first value and says whether something follows it; used to tell JSON from JSON lines.
pub(crate) fn first_value(text: &str, budget: &Budget) -> Result<(Value, bool), IngestError> {
    let mut de = serde_json::Deserializer::from_str(text);
    let value = Strict(budget).deserialize(&mut de).map_err(|error| syntax(&error))?;
    Ok((value, de.end().is_err()))
}

fn syntax(error: &serde_json::Error) -> IngestError {
    let full = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let message = full.strip_suffix(&suffix).unwrap_or(&full);
    let message: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
    if message.starts_with("more than ") {
        return IngestError::too_large(message);
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    IngestError::syntax(place, format!("not valid JSON: {message}"))
}

/// The values of a body that is one value or an array of them, with the place of each.
pub(crate) fn values(bytes: &[u8], limits: &IngestLimits) -> Result<Vec<(String, Value)>, IngestError> {
    let text = text::decode(bytes, text::Fallback::None)?;
    match value(&text, &Budget::new(limits))? {
        Value::Array(items) => {
            limits.check_items(items.len())?;
            Ok(items.into_iter().enumerate().map(|(i, v)| (format!("/{i}"), v)).collect())
        }
        single => Ok(vec![(String::new(), single)]),
    }
}

/// Reads each value of a body by `read`; all bad places of an array are reported together.
pub(crate) fn each(
    bytes: &[u8],
    limits: &IngestLimits,
    read: impl Fn(Value) -> Result<RawJob, IngestError>,
) -> Result<Vec<Item>, IngestError> {
    let values = values(bytes, limits)?;
    let mut bad = Bad::default();
    let mut items = Vec::with_capacity(values.len());
    for (index, (place, value)) in values.into_iter().enumerate() {
        match read(value) {
            Ok(job) => items.push(Item { job, place }),
            // A lone value has no index to stand before its pointers.
            Err(error) if place.is_empty() => return Err(error),
            Err(error) => {
                let place =
                    format!("{place}{}", if error.place.starts_with('/') { &error.place } else { "" });
                bad.push_error(&place, index, error);
            }
        }
    }
    bad.finish(items)
}

/// One job per value, or an array of jobs.
pub(crate) fn jobs(bytes: &[u8], limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    each(bytes, limits, job)
}

/// One job out of a value; says what was found where it is no object.
pub(crate) fn job(value: Value) -> Result<RawJob, IngestError> {
    if !value.is_object() {
        return Err(IngestError::invalid("", format!("a job is a JSON object, found {}", kind_of(&value))));
    }
    Ok(RawJob::from_value(value)?)
}

/// One value per line: a job, or an event that is recognised by its shape. Blank lines are skipped.
pub(crate) fn lines(bytes: &[u8], hints: &Hints, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let text = text::decode(bytes, text::Fallback::None)?;
    let budget = Budget::new(limits);
    let mut bad = Bad::default();
    let mut items = Vec::new();
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, (line, content)) in filled.enumerate() {
        limits.check_items(index + 1)?;
        let place = format!("line {}", line + 1);
        match value(content, &budget).and_then(|value| line_job(value, content, hints, &budget)) {
            Ok(job) => items.push(Item { job, place }),
            Err(error) if error.kind == super::IngestErrorKind::TooLarge => {
                return Err(error.within(&place, ""));
            }
            Err(mut error) => {
                // The one line of the inner reader is this line of the whole.
                error.place = error.place.replacen("line 1,", "", 1).trim().to_owned();
                let place = match error.place.strip_prefix("column") {
                    Some(column) => format!("{place}, column{column}"),
                    None => place,
                };
                error.place.clear();
                bad.push_error(&place, index, error);
            }
        }
    }
    bad.finish(items)
}

fn line_job(value: Value, content: &str, hints: &Hints, budget: &Budget) -> Result<RawJob, IngestError> {
    match super::detect::value_source(&value) {
        Source::CloudEvents => super::cloudevents::job(value, budget),
        Source::Cdevents => super::cdevents::job(&value),
        Source::Github => super::github::job(&value, content.as_bytes(), hints),
        Source::Gitlab => super::gitlab::job(&value, content.as_bytes(), hints),
        Source::Frappe => super::frappe::job(&value),
        Source::Job
        | Source::Generic
        | Source::Jsonl
        | Source::Csv
        | Source::Ubl
        | Source::Odoo
        | Source::Sap => job(value),
    }
}

/// What a value is, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An error at `pointer` of a value.
pub(crate) fn missing(pointer: &str) -> FieldError {
    FieldError::new(pointer, "is missing")
}

struct Strict<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, de: D) -> Result<Value, D::Error> {
        de.deserialize_any(self)
    }
}

impl Strict<'_> {
    fn spend<E: de::Error>(&self) -> Result<(), E> {
        match self.0.0.get().checked_sub(1) {
            Some(left) => {
                self.0.0.set(left);
                Ok(())
            }
            None => Err(E::custom("more than json_values_max values in one body")),
        }
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.spend().map(|()| Value::Null)
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        self.spend().map(|()| Value::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        self.spend().map(|()| v.into())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        self.spend().map(|()| v.into())
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        self.spend()?;
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        self.spend().map(|()| Value::String(v.to_owned()))
    }

    fn visit_string<E: de::Error>(self, v: String) -> Result<Value, E> {
        self.spend().map(|()| Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.spend()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict(self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {} occurs twice in one object", quote(&key))));
            }
            let value = access.next_value_seed(Strict(self.0))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
