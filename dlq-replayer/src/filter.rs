//! Filter expressions: `reason=permanent,template=invoice,code=…,since=2026-11-01`.
//!
//! All conditions must hold. Everything is chosen with the word `all` only: an empty expression is
//! an error, since a variable that happens to be empty in a script must not replay all there is.

use bul_job::{DeadReason, JobId, Timestamp};
use bul_store::DeadFilter;
use chrono::NaiveDate;

/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 4_096;
const KEYS: &str = "reason, code, template, since, id";
const REASONS: [DeadReason; 5] = [
    DeadReason::Permanent,
    DeadReason::AttemptsSpent,
    DeadReason::Poison,
    DeadReason::DeadlinePassed,
    DeadReason::Unreadable,
];

/// A filter expression that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing given.
    #[error("the filter is empty; write all to choose every dead letter")]
    Empty,
    /// Longer than any sensible one.
    #[error("the filter has {0} bytes, at most {EXPRESSION_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A part without `=`.
    #[error("{0:?} is not of the form key=value, with a key of {KEYS}")]
    NoPair(String),
    /// A key that does not exist.
    #[error("unknown key {0:?}, expected one of {KEYS}")]
    Key(String),
    /// A key given twice.
    #[error("{0} is given twice")]
    Twice(String),
    /// A value that does not fit its key.
    #[error("{key}: {message}")]
    Value {
        /// Key.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Reads an expression. `id` may be given more than once.
pub fn parse_filter(expression: &str) -> Result<DeadFilter, FilterError> {
    let expression = expression.trim();
    if expression.is_empty() {
        return Err(FilterError::Empty);
    }
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(FilterError::TooLong(expression.len()));
    }
    let mut filter = DeadFilter::default();
    if expression == "all" {
        return Ok(filter);
    }
    for part in expression.split(',').map(str::trim) {
        let (key, value) = part.split_once('=').ok_or_else(|| FilterError::NoPair(cut(part)))?;
        let (key, value) = (key.trim(), value.trim());
        if value.is_empty() {
            return Err(FilterError::NoPair(cut(part)));
        }
        condition(&mut filter, key, value)?;
    }
    Ok(filter)
}

fn condition(filter: &mut DeadFilter, key: &str, value: &str) -> Result<(), FilterError> {
    let taken = match key {
        "reason" => filter.reason.replace(reason(value)?).is_some(),
        "code" => filter.code.replace(value.to_owned()).is_some(),
        "template" => filter.template.replace(value.to_owned()).is_some(),
        "since" => filter.since.replace(time(value)?).is_some(),
        "id" => {
            let id: JobId = value
                .parse()
                .map_err(|e: bul_job::IdError| FilterError::Value { key: "id", message: e.to_string() })?;
            filter.ids.push(id);
            false
        }
        other => return Err(FilterError::Key(cut(other))),
    };
    if taken { Err(FilterError::Twice(key.to_owned())) } else { Ok(()) }
}

fn reason(value: &str) -> Result<DeadReason, FilterError> {
    REASONS.into_iter().find(|r| r.as_str() == value).ok_or_else(|| FilterError::Value {
        key: "reason",
        message: format!(
            "unknown reason {:?}, expected one of {}",
            cut(value),
            REASONS.map(DeadReason::as_str).join(", ")
        ),
    })
}

/// A time, or a date for its first instant in UTC.
fn time(value: &str) -> Result<Timestamp, FilterError> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(value) {
        return Ok(time.to_utc());
    }
    let date = value.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    date.map(|time| time.and_utc()).ok_or_else(|| FilterError::Value {
        key: "since",
        message: format!("{:?} is neither a date such as 2026-11-01 nor an RFC 3339 time", cut(value)),
    })
}

/// Untrusted text in an error message: bounded.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read() {
        let filter =
            parse_filter("reason=attempts_spent, template = invoice,code=model_unavailable,since=2026-11-01")
                .unwrap();
        assert_eq!(filter.reason, Some(DeadReason::AttemptsSpent));
        assert_eq!(filter.template.as_deref(), Some("invoice"));
        assert_eq!(filter.code.as_deref(), Some("model_unavailable"));
        assert_eq!(filter.since, Some("2026-11-01T00:00:00Z".parse().unwrap()));
        let id = JobId::new();
        assert_eq!(parse_filter(&format!("id={id}")).unwrap().ids, [id]);
        assert!(parse_filter("all").unwrap().reason.is_none());
    }

    #[test]
    fn errors_name_the_key() {
        let error = |text: &str| parse_filter(text).unwrap_err();
        assert_eq!(error("  "), FilterError::Empty);
        assert_eq!(error("colour=red"), FilterError::Key("colour".into()));
        assert_eq!(error("invoice"), FilterError::NoPair("invoice".into()));
        assert_eq!(error("code="), FilterError::NoPair("code=".into()));
        assert_eq!(error("code=a,code=b"), FilterError::Twice("code".into()));
        assert!(matches!(error("reason=bored"), FilterError::Value { key: "reason", .. }));
        assert!(matches!(error("since=yesterday"), FilterError::Value { key: "since", .. }));
        assert!(matches!(error("id=7"), FilterError::Value { key: "id", .. }));
        assert!(matches!(error(&"x".repeat(5_000)), FilterError::TooLong(5_000)));
    }
}
