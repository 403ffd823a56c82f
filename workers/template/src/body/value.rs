//! Between JSON and the values of the body language.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use rust_decimal::Decimal;
use serde_json::Value as Json;

use crate::format::plain_decimal;

/// JSON as a body value; members keep their order.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => {
            if let Some(whole) = number.as_i64() {
                Value::from(whole)
            } else if let Some(whole) = number.as_u64() {
                Value::from(whole)
            } else {
                // The text keeps the digits the sender wrote; filters read it exactly.
                Value::from(number.to_string())
            }
        }
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(to_value).collect::<Vec<_>>()),
        Json::Object(members) => {
            Value::from_pairs(members.iter().map(|(key, value)| (key.as_str(), to_value(value))))
        }
    }
}

/// What a value prints as; lists and maps have no printed form a reader would want.
pub(crate) fn printed(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number => Ok(value.to_string()),
        ValueKind::Bool => Ok(if value.is_true() { "yes".into() } else { "no".into() }),
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a value of type {kind} cannot be printed; use a function such as `table` or `join`"),
        )),
    }
}

/// Exact decimal of a number or of a string that holds one.
pub(crate) fn decimal(value: &Value) -> Result<Decimal, Error> {
    let text = match value.kind() {
        ValueKind::Number | ValueKind::String => value.to_string(),
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a value of type {kind} is no number"),
            ));
        }
    };
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    plain_decimal(whole).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        Error::new(ErrorKind::InvalidOperation, format!("`{shown}` is no number"))
    })
}

/// Whether there is something to show.
pub(crate) fn is_blank(value: &Value) -> bool {
    value.is_undefined() || value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty())
}
