//! CloudEvents 1.0: structured JSON, a batch of it, or binary mode with the attributes in headers.
//!
//! The type decides what the data is: a job of ours, or an event of the CDEvents vocabulary. The
//! pair of source and id identifies an event, so it makes the job's idempotency key.

use base64::Engine as _;
use bul_job::{FieldError, RawJob};
use serde_json::{Map, Value};

use super::error::{Bad, IngestError, quote};
use super::json::{self, Budget, missing};
use super::{Hints, IngestLimits, Item, event};

/// Type of an event whose data is a job.
pub(crate) const JOB_SUBMITTED: &str = "dev.bul.job.submitted.v1";
/// Prefix of the types of CDEvents.
pub(crate) const CDEVENTS: &str = "dev.cdevents.";

/// Reads a body in structured or, when the hints carry the headers, binary mode.
pub(crate) fn read(bytes: &[u8], hints: &Hints, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let budget = Budget::new(limits);
    let Some(kind) = &hints.ce_type else {
        return json::each(bytes, limits, |event| job(event, &budget));
    };
    json::each(bytes, limits, |data| {
        let attributes =
            [("type", Some(kind)), ("id", hints.ce_id.as_ref()), ("source", hints.ce_source.as_ref())];
        let mut event = Map::new();
        event.insert("specversion".into(), "1.0".into());
        for (name, value) in attributes {
            if let Some(value) = value {
                event.insert(name.into(), value.as_str().into());
            }
        }
        event.insert("data".into(), data);
        job(Value::Object(event), &budget)
    })
}

/// One event to its job. JSON inside a text or base64 draws on `budget`.
pub(crate) fn job(event: Value, budget: &Budget) -> Result<RawJob, IngestError> {
    let Value::Object(mut map) = event else {
        return Err(IngestError::invalid(
            "",
            format!("a CloudEvent is an object, found {}", json::kind_of(&event)),
        ));
    };
    let mut bad = Bad::default();
    let mut attribute = |name: &str| match map.get(name).and_then(Value::as_str).map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => {
            bad.push("", missing(&format!("/{name}")));
            String::new()
        }
    };
    let version = attribute("specversion");
    let (id, source, kind) = (attribute("id"), attribute("source"), attribute("type"));
    if !version.is_empty() && !version.starts_with("1.") {
        let message = format!("version {} is not supported, expected 1.0", quote(&version));
        bad.push("", FieldError::new("/specversion", message));
    }
    bad.finish(())?;
    if kind != JOB_SUBMITTED && !kind.starts_with(CDEVENTS) {
        let message =
            format!("type {} is not supported, expected {JOB_SUBMITTED} or {CDEVENTS}*", quote(&kind));
        return Err(IngestError::unsupported("/type", message));
    }
    let data = data(&mut map, budget)?;
    if kind.starts_with(CDEVENTS) {
        return super::cdevents::job(&data).map_err(|error| error.within("/data", "/data"));
    }
    let mut job = json::job(data).map_err(|error| error.within("/data", "/data"))?;
    if job.idempotency_key.is_none() {
        let given = map.get("idempotencykey").and_then(Value::as_str).map(str::to_owned);
        job.idempotency_key =
            Some(given.unwrap_or_else(|| event::key("ce", &[source.as_bytes(), id.as_bytes()])));
    }
    Ok(job)
}

fn data(map: &mut Map<String, Value>, budget: &Budget) -> Result<Value, IngestError> {
    if let Some(kind) = map.get("datacontenttype").and_then(Value::as_str) {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" && essence != "text/json" && !essence.ends_with("+json") {
            let message = format!("content type {} is not supported, expected application/json", quote(kind));
            return Err(IngestError::invalid("/datacontenttype", message));
        }
    }
    match (map.remove("data"), map.remove("data_base64")) {
        (Some(_), Some(_)) => {
            Err(IngestError::invalid("/data_base64", "stands beside data, only one may be given"))
        }
        // Some producers send JSON as a text.
        (Some(Value::String(text)), None) => inner(text.as_bytes(), "/data", budget),
        (Some(data), None) => Ok(data),
        (None, Some(Value::String(encoded))) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
            let bytes = bytes.map_err(|_| IngestError::invalid("/data_base64", "is not base64"))?;
            inner(&bytes, "/data_base64", budget)
        }
        (None, Some(_)) => Err(IngestError::invalid("/data_base64", "must be a text")),
        (None, None) => Err(IngestError::invalid("/data", "is missing")),
    }
}

fn inner(bytes: &[u8], pointer: &str, budget: &Budget) -> Result<Value, IngestError> {
    let text = super::text::decode(bytes, super::text::Fallback::None);
    let value = text.and_then(|text| json::value(&text, budget));
    value.map_err(|error| IngestError::invalid(pointer, error.to_string()))
}
