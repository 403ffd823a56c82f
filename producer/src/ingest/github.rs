//! GitHub webhook deliveries: which event it is, and its job.
//!
//! `X-GitHub-Event` names the event; without it the keys of the payload do. A delivery id, or else
//! the content, makes the idempotency key: GitHub repeats deliveries that were answered too late.

use std::borrow::Cow;

use bul_job::RawJob;
use serde_json::{Map, Value};

use super::error::{IngestError, quote};
use super::event::{self, LINE, NAME, Report, put, put_line, put_map, text};
use super::github_events as events;
use super::{Hints, IngestLimits, Item, json};

/// Events that are read, for messages.
const SUPPORTED: &str = "push, create, delete, pull_request, issues, check_run, check_suite, release, \
                         workflow_run, deployment, deployment_status";

/// Reads a body: JSON, or the form that GitHub sends when a webhook is not set to JSON.
pub(crate) fn read(bytes: &[u8], hints: &Hints, limits: &IngestLimits) -> Result<Vec<Item>, IngestError> {
    let bytes = match bytes.strip_prefix(b"payload=") {
        Some(form) => Cow::Owned(form_value(form)),
        None => Cow::Borrowed(bytes),
    };
    let many = bytes.trim_ascii_start().first() == Some(&b'[');
    json::each(&bytes, limits, |value| {
        if many {
            // In an array each delivery stands for itself.
            let own = value.to_string();
            return job(&value, own.as_bytes(), &Hints { github_delivery: None, ..hints.clone() });
        }
        job(&value, &bytes, hints)
    })
}

/// Decodes one value of a form; bytes that are no escape stay as they are.
fn form_value(form: &[u8]) -> Vec<u8> {
    let form = form.split(|b| *b == b'&').next().unwrap_or_default();
    let mut out = Vec::with_capacity(form.len());
    let mut at = 0;
    while let Some(byte) = form.get(at) {
        let escaped = form.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, escaped) {
            (_, Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            (other, None) => out.push(*other),
        }
        at += 1;
    }
    out
}

/// One delivery to its job; `bytes` is what identifies it where no delivery id is known.
pub(crate) fn job(value: &Value, bytes: &[u8], hints: &Hints) -> Result<RawJob, IngestError> {
    if !value.is_object() {
        return Err(IngestError::invalid(
            "",
            format!("a webhook is an object, found {}", json::kind_of(value)),
        ));
    }
    let named = hints.github_event.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let Some(name) = named.or_else(|| event_of(value)) else {
        let message =
            format!("cannot tell which GitHub event this is; send X-GitHub-Event, one of: {SUPPORTED}");
        return Err(IngestError::unsupported("", message));
    };
    let action = value.get("action").and_then(Value::as_str).unwrap_or_default();
    let found = match name {
        "push" => events::push(value),
        "create" | "delete" => events::reference(value, name),
        "pull_request" => events::pull_request(value, action),
        "issues" => events::issue(value, action),
        "check_run" => events::check(value, "check_run"),
        "check_suite" => events::check(value, "check_suite"),
        "release" => events::release(value, action),
        "workflow_run" => events::workflow_run(value),
        "deployment" | "deployment_status" => events::deployment(value),
        "ping" => {
            return Err(IngestError::unsupported("", "ping is a test of the webhook, it makes no document"));
        }
        _ => None,
    };
    let full = if action.is_empty() { name.to_owned() } else { format!("{name}.{action}") };
    let Some((report, kind, parts)) = found else {
        let message = format!("GitHub event {} makes no document; supported are: {SUPPORTED}", quote(&full));
        return Err(IngestError::unsupported("", message));
    };
    let data = assemble(value, kind, &full, parts, hints);
    let delivery = hints.github_delivery.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let key = match delivery {
        Some(delivery) if delivery.len() <= 100 => format!("github:{delivery}"),
        Some(delivery) => event::key("github", &[delivery.as_bytes()]),
        None => event::key("github", &[name.as_bytes(), bytes]),
    };
    Ok(report.job(data, key))
}

/// What is the same in every event, around the parts of this one.
fn assemble(
    value: &Value,
    kind: &str,
    full: &str,
    parts: Map<String, Value>,
    hints: &Hints,
) -> Map<String, Value> {
    let mut parts = parts;
    let mut head = Map::new();
    head.insert("kind".into(), kind.into());
    put_line(&mut head, "type", Some(full.to_owned()), NAME);
    put(&mut head, "source", text(value, "/repository/html_url"), LINE);
    put_line(&mut head, "id", hints.github_delivery.clone(), NAME);
    for key in ["time", "url"] {
        if let Some(part) = parts.remove(key) {
            head.insert(key.into(), part);
        }
    }
    let mut data = Map::new();
    put_map(&mut data, "event", head);
    put_line(&mut data, "repository", text(value, "/repository/full_name"), NAME);
    let author = ["/sender/login", "/pusher/name"];
    put_line(&mut data, "author", event::first(value, &author), NAME);
    data.extend(parts);
    data
}

/// The event by the keys of its payload.
pub(crate) fn event_of(value: &Value) -> Option<&'static str> {
    let has = |key: &str| value.get(key).is_some();
    Some(match () {
        () if has("hook") && has("zen") => "ping",
        // Comments and reviews carry the thing they are about, so they come first.
        () if has("comment") => "comment",
        () if has("review") || has("thread") => "pull_request_review",
        () if has("deployment_status") => "deployment_status",
        () if has("workflow_run") => "workflow_run",
        () if has("workflow_job") => "workflow_job",
        () if has("check_run") => "check_run",
        () if has("check_suite") => "check_suite",
        () if has("release") => "release",
        () if has("pull_request") => "pull_request",
        () if has("issue") => "issues",
        () if has("deployment") => "deployment",
        () if has("ref") && has("before") && has("after") => "push",
        () if has("ref_type") && has("master_branch") => "create",
        () if has("ref_type") => "delete",
        () => return None,
    })
}

/// What an event gives: the document, the kind of event, and its parts of the data. `time` and
/// `url` among the parts belong to the event itself.
pub(crate) type Found = Option<(Report, &'static str, Map<String, Value>)>;
