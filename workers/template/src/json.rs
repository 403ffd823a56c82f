//! Reading job data: exact decimals, dates and text, with the JSON Pointer of whatever is wrong.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::error::Problem;
use crate::format::plain_decimal;

/// A value and where it is.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) pointer: String,
}

/// What stands for "nothing there".
static ABSENT: Value = Value::Null;

impl<'a> Node<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, pointer: String::new() }
    }

    /// Member of an object; absent members are null.
    pub(crate) fn get(&self, key: &str) -> Node<'a> {
        Node {
            value: self.value.get(key).unwrap_or(&ABSENT),
            pointer: format!("{}/{}", self.pointer, escape_step(key)),
        }
    }

    pub(crate) fn exists(&self) -> bool {
        !self.value.is_null()
    }

    /// Elements of a member that is an array.
    pub(crate) fn items(&self, key: &str) -> Vec<Node<'a>> {
        let list = self.get(key);
        let Some(values) = list.value.as_array() else { return Vec::new() };
        values
            .iter()
            .enumerate()
            .map(|(at, value)| Node { value, pointer: format!("{}/{at}", list.pointer) })
            .collect()
    }

    /// Text of a scalar member, trimmed; `None` when absent or blank.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.value.get(key).and_then(scalar)
    }

    /// Text of this scalar.
    pub(crate) fn own_text(&self) -> Option<String> {
        scalar(self.value)
    }

    /// Identifier given as text or as `{id, scheme}`: its text, with the scheme in brackets.
    pub(crate) fn identifier(&self) -> Option<String> {
        if let Some(text) = self.own_text() {
            return Some(text);
        }
        let id = self.text("id")?;
        Some(match self.text("scheme") {
            Some(scheme) => format!("{id} ({scheme})"),
            None => id,
        })
    }

    /// Exact decimal of a member.
    pub(crate) fn decimal(&self, key: &str) -> Result<Option<Decimal>, Problem> {
        let Some(value) = self.value.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
        let found = match value {
            Value::Number(number) => plain_decimal(&number.to_string()),
            Value::String(text) => plain_decimal(text),
            _ => None,
        };
        match found {
            Some(found) => Ok(Some(found)),
            None => Err(Problem::new(self.get(key).pointer, "is not a decimal number in range")),
        }
    }

    /// ISO date of a member.
    pub(crate) fn date(&self, key: &str) -> Result<Option<NaiveDate>, Problem> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match NaiveDate::parse_from_str(&text, "%Y-%m-%d") {
            Ok(date) => Ok(Some(date)),
            Err(_) => Err(Problem::new(self.get(key).pointer, "is not a calendar date")),
        }
    }
}

/// Text of a scalar, trimmed; `None` for blanks, null, lists and objects.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Escapes one step of a JSON Pointer.
pub(crate) fn escape_step(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The data as one value without null members: senders write null for "not given", and schemas
/// should not have to say so for every field. Null elements of arrays stay, they hold a position.
pub(crate) fn without_nulls(data: &Map<String, Value>) -> Value {
    let mut value = Value::Object(data.clone());
    strip_nulls(&mut value);
    value
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.values().any(Value::is_null) {
                members.retain(|_, member| !member.is_null());
            }
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
