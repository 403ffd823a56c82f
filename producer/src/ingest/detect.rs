//! Which kind of input this is: headers, then media type, then file name, then content.
//!
//! Invariant: the answer never depends on more than the first value of the content, and an input
//! that fits nothing is an error that says how to name it, not a guess.

use serde_json::Value;

use super::error::{IngestError, IngestErrorKind};
use super::json::{Budget, first_value};
use super::{Hints, IngestLimits, Source, cloudevents, csv_text, github, text};

/// See [`Source::detect`].
pub(crate) fn detect(
    bytes: &[u8],
    file_name: Option<&str>,
    media_type: Option<&str>,
    headers: &Hints,
    limits: &IngestLimits,
) -> Result<Source, IngestError> {
    if bytes.trim_ascii().is_empty() {
        return Err(IngestError::new(IngestErrorKind::Empty, "", "the input is empty"));
    }
    let by_header = [
        (&headers.github_event, Source::Github),
        (&headers.gitlab_event, Source::Gitlab),
        (&headers.ce_type, Source::CloudEvents),
    ];
    if let Some((_, source)) = by_header.into_iter().find(|(header, _)| header.is_some()) {
        return Ok(source);
    }
    if bytes.len() > limits.body_bytes_max {
        let max = limits.body_bytes_max;
        return Err(IngestError::too_large(format!("the body has more than {max} bytes (body_bytes_max)")));
    }
    if let Some(source) =
        media_type.and_then(by_media_type).or_else(|| by_name(file_name.or(headers.file_name.as_deref())))
    {
        return Ok(source);
    }
    by_content(bytes, limits)
}

fn by_media_type(media_type: &str) -> Option<Source> {
    let essence = media_type.split(';').next()?.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/cloudevents+json" | "application/cloudevents-batch+json" => Some(Source::CloudEvents),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Some(Source::Jsonl)
        }
        "text/csv" | "text/tab-separated-values" => Some(Source::Csv),
        "application/xml" | "text/xml" => Some(Source::Ubl),
        // Every client calls every JSON so; the content says which it is.
        _ => None,
    }
}

fn by_name(file_name: Option<&str>) -> Option<Source> {
    let (_, extension) = file_name?.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Source::Jsonl),
        "csv" | "tsv" => Some(Source::Csv),
        "xml" | "ubl" => Some(Source::Ubl),
        _ => None,
    }
}

fn by_content(bytes: &[u8], limits: &IngestLimits) -> Result<Source, IngestError> {
    if bytes.starts_with(b"payload=") {
        return Ok(Source::Github);
    }
    let text = text::decode(bytes, text::Fallback::Windows1252)?;
    let trimmed = text.trim_start();
    match trimmed.as_bytes().first() {
        Some(b'<') => Ok(Source::Ubl),
        Some(b'{' | b'[') => Ok(by_json(trimmed, limits)),
        _ if is_table(trimmed) => Ok(Source::Csv),
        _ => Err(IngestError::new(
            IngestErrorKind::Unrecognised,
            "",
            format!("cannot tell what this is; name its source, one of: {}", names()),
        )),
    }
}

fn names() -> String {
    Source::ALL.map(Source::as_str).join(", ")
}

/// A header with a delimiter and a second line with as many: prose rarely has both.
fn is_table(text: &str) -> bool {
    let delimiter = csv_text::delimiter_of(text);
    let count = |line: &str| line.bytes().filter(|b| *b == delimiter).count();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(count);
    let header = lines.next().unwrap_or_default();
    header > 0 && lines.next().is_some_and(|row| row >= header || text.contains('"'))
}

fn by_json(text: &str, limits: &IngestLimits) -> Source {
    match first_value(text, &Budget::new(limits)) {
        Ok((Value::Array(items), false)) => items.first().map_or(Source::Job, value_source),
        Ok((value, false)) => value_source(&value),
        // More values follow the first: one per line.
        Ok((_, true)) => Source::Jsonl,
        // Broken: as JSON lines if the first value is a broken line, so that the others are read too.
        Err(_)
            if text.lines().filter(|line| line.trim_start().starts_with('{')).nth(1).is_some()
                && text.lines().next().is_some_and(|line| line.trim_end().ends_with('}')) =>
        {
            Source::Jsonl
        }
        Err(_) => Source::Job,
    }
}

/// The source that a JSON value comes from, by the keys only it has.
pub(crate) fn value_source(value: &Value) -> Source {
    let has = |key: &str| value.get(key).is_some();
    let text_at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if has("specversion") && has("type") {
        return Source::CloudEvents;
    }
    if has("template") || has("query") {
        return Source::Job;
    }
    if text_at("/context/type").is_some_and(|kind| kind.starts_with(cloudevents::CDEVENTS)) {
        return Source::Cdevents;
    }
    if text_at("/object_kind").is_some() || text_at("/event_name").is_some() && has("project") {
        return Source::Gitlab;
    }
    if has("repository") && (has("sender") || has("pusher")) || github::event_of(value) == Some("ping") {
        return Source::Github;
    }
    if text_at("/doctype").is_some() || text_at("/data/doctype").is_some() {
        return Source::Frappe;
    }
    if has("move_type") || text_at("/_model") == Some("account.move") {
        return Source::Odoo;
    }
    if has("BillingDocument") || value.pointer("/d/BillingDocument").is_some() {
        return Source::Sap;
    }
    Source::Job
}
