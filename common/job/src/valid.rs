//! A job that may be accepted: parsed once, trusted afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use crate::{FieldError, JobError, Lane, Params, PriorityInput, RawJob, Timestamp, response_schema};

/// Limits on what one job may carry. Each protects memory or the store from one caller.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the job's JSON.
    pub job_bytes_max: usize,
    /// Characters of a name such as template, area or session.
    pub name_chars_max: usize,
    /// Characters of the query.
    pub query_chars_max: usize,
    /// Characters of the context.
    pub context_chars_max: usize,
    /// Nesting of `data`.
    pub depth_max: usize,
    /// Bytes of `response_schema` as compact JSON. Compiling a schema takes time and memory that grow with it.
    pub schema_bytes_max: usize,
    /// Nesting of `response_schema`; each level of the answer takes two or three.
    pub schema_depth_max: usize,
    /// Labels in `metadata`.
    pub metadata_entries_max: usize,
    /// Failures a job may ask for.
    pub attempts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            job_bytes_max: 8 * 1024 * 1024,
            name_chars_max: 200,
            query_chars_max: 20_000,
            context_chars_max: 100_000,
            depth_max: 32,
            schema_bytes_max: 64 * 1024,
            schema_depth_max: 96,
            metadata_entries_max: 64,
            attempts_max: 50,
        }
    }
}

/// Template of a free query.
const FREE_TEMPLATE: &str = "document";

/// Attempts of a job that asks for no number.
pub const ATTEMPTS_DEFAULT: u32 = 5;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Write a document.
    #[default]
    #[serde(rename = "document.generate")]
    DocumentGenerate,
}

impl Kind {
    /// Name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DocumentGenerate => "document.generate",
        }
    }
}

/// Kinds of the contract that this version does not run; told apart from typing mistakes.
const KINDS_LATER: [&str; 6] = [
    "presentation.generate",
    "document.export",
    "redundancy.analyze",
    "agent.run",
    "workflow.run",
    "webhook.deliver",
];

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Markdown.
    Md,
    /// Self-contained HTML.
    Html,
    /// PDF.
    Pdf,
    /// The document tree.
    Json,
    /// Plain text.
    Txt,
}

impl Format {
    /// Formats this version writes.
    pub const ALL: [Format; 5] = [Self::Md, Self::Html, Self::Pdf, Self::Json, Self::Txt];

    /// Name; also the file extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Html => "html",
            Self::Pdf => "pdf",
            Self::Json => "json",
            Self::Txt => "txt",
        }
    }

    /// Parses a name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.as_str().eq_ignore_ascii_case(name))
    }

    /// Media type with character set.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Md => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Pdf => "application/pdf",
            Self::Json => "application/json",
            Self::Txt => "text/plain; charset=utf-8",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const FORMATS_LATER: [&str; 4] = ["docx", "pptx", "xlsx", "epub"];

/// A valid job. Its JSON is what the store keeps and the worker reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidJob {
    /// What to do.
    pub kind: Kind,
    /// Template; `document` when only a query was given.
    pub template: String,
    /// Free request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Business area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_area: Option<String>,
    /// Document type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc_type: Option<String>,
    /// Data for the template.
    pub data: Map<String, Value>,
    /// Background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// JSON Schema of the answer to a free query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// Output formats, distinct, in the order given.
    pub formats: Vec<Format>,
    /// BCP 47 tag.
    pub language: String,
    /// Lane.
    pub lane: Lane,
    /// Conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Not after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Failures allowed.
    pub max_attempts: u32,
    /// Coalesce with an open job of the same content.
    pub dedup: bool,
    /// Sampling.
    pub params: Params,
    /// Labels.
    pub metadata: BTreeMap<String, Value>,
}

impl ValidJob {
    /// Checks and normalises a raw job; all errors are reported at once.
    pub fn parse(raw: RawJob, now: Timestamp, limits: &Limits) -> Result<Self, JobError> {
        let mut check = Check { errors: Vec::new(), limits };
        let query = check.text("/query", raw.query, limits.query_chars_max);
        let template = check.name("/template", raw.template);
        if template.is_none() && query.is_none() {
            check.error("/template", "a job needs a template or a query");
        }
        let is_free = query.is_some() && template.as_deref().is_none_or(|name| name == FREE_TEMPLATE);
        let response_schema = check.response_schema(raw.response_schema, is_free);
        let run_at = check.time("/run_at", raw.run_at);
        let deadline = check.time("/deadline", raw.deadline);
        if let Some(deadline) = deadline
            && (deadline <= now || run_at.is_some_and(|run_at| deadline <= run_at))
        {
            check.error("/deadline", "must lie in the future and behind run_at");
        }
        if raw.callback_url.is_some() {
            check.error(
                "/callback_url",
                "webhooks are not available in this version; poll the job or watch its events",
            );
        }
        let job = Self {
            kind: check.kind(raw.kind),
            template: template.unwrap_or_else(|| FREE_TEMPLATE.into()),
            query,
            business_area: check.name("/business_area", raw.business_area),
            doc_type: check.name("/doc_type", raw.doc_type),
            data: check.data(raw.data),
            context: check.text("/context", raw.context, limits.context_chars_max),
            response_schema,
            formats: check.formats(raw.formats),
            language: check.language(raw.language),
            lane: check.lane(raw.priority),
            session_id: check.name("/session_id", raw.session_id),
            idempotency_key: check.name("/idempotency_key", raw.idempotency_key),
            run_at,
            deadline,
            max_attempts: check.attempts(raw.max_attempts),
            dedup: raw.dedup.unwrap_or(false),
            params: check.params(raw.params),
            metadata: check.metadata(raw.metadata),
        };
        if check.errors.is_empty() { Ok(job) } else { Err(JobError::Fields(check.errors)) }
    }

    /// blake3 of everything that decides the result, independent of key order. Two submissions
    /// under one idempotency key must agree on it.
    pub fn digest(&self) -> [u8; 32] {
        let mut content = self.clone();
        content.idempotency_key = None;
        let value = serde_json::to_value(&content).unwrap_or(Value::Null);
        let mut hasher = blake3::Hasher::new();
        hash_value(&value, &mut hasher);
        *hasher.finalize().as_bytes()
    }
}

/// Canonical: objects by sorted key, everything tagged and length-prefixed.
fn hash_value(value: &Value, hasher: &mut blake3::Hasher) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            hasher.update(b"{").update(&(entries.len() as u64).to_le_bytes());
            for (key, value) in entries {
                hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes());
                hash_value(value, hasher);
            }
        }
        Value::Array(items) => {
            hasher.update(b"[").update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| hash_value(item, hasher));
        }
        scalar => {
            let text = scalar.to_string();
            hasher.update(b"v").update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
    }
}

struct Check<'a> {
    errors: Vec<FieldError>,
    limits: &'a Limits,
}

impl Check<'_> {
    fn error(&mut self, pointer: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, message));
    }

    /// Free text: NFC, no control characters but tab and line breaks, not blank, bounded.
    fn text(&mut self, pointer: &str, value: Option<String>, chars_max: usize) -> Option<String> {
        let value: String = value?.nfc().collect();
        if let Some(c) = value.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.error(pointer, format!("control character U+{:04X} is not allowed", c as u32));
            return None;
        }
        let count = value.chars().count();
        if count > chars_max {
            self.error(pointer, format!("has {count} characters, at most {chars_max} are allowed"));
            return None;
        }
        let trimmed = value.trim();
        if trimmed.is_empty() {
            self.error(pointer, "must not be blank");
            return None;
        }
        Some(trimmed.to_owned())
    }

    /// A one-line text.
    fn name(&mut self, pointer: &str, value: Option<String>) -> Option<String> {
        let text = self.text(pointer, value, self.limits.name_chars_max)?;
        if text.contains(['\n', '\r', '\t']) {
            self.error(pointer, "must be a single line");
            return None;
        }
        Some(text)
    }

    fn kind(&mut self, value: Option<String>) -> Kind {
        match value.as_deref() {
            None | Some("document.generate") => {}
            Some(name) if KINDS_LATER.contains(&name) => {
                self.error("/kind", format!("kind {name} is not available in this version"));
            }
            Some(name) => {
                self.error("/kind", format!("unknown kind {:?}, expected document.generate", cut(name)))
            }
        }
        Kind::DocumentGenerate
    }

    fn formats(&mut self, value: Option<Vec<String>>) -> Vec<Format> {
        let Some(names) = value else { return vec![Format::Pdf] };
        let mut formats = Vec::new();
        if names.is_empty() {
            self.error("/formats", "at least one format is needed");
        }
        for (index, name) in names.iter().enumerate().take(32) {
            match Format::parse(name) {
                Some(format) if !formats.contains(&format) => formats.push(format),
                Some(_) => {}
                None if FORMATS_LATER.contains(&name.to_ascii_lowercase().as_str()) => {
                    self.error(
                        &format!("/formats/{index}"),
                        format!("format {name} is not available in this version"),
                    );
                }
                None => self.error(
                    &format!("/formats/{index}"),
                    format!("unknown format {:?}, expected md, html, pdf, json or txt", cut(name)),
                ),
            }
        }
        formats
    }

    fn language(&mut self, value: Option<String>) -> String {
        let Some(tag) = value else { return "en".into() };
        let mut parts = tag.split('-');
        let primary = parts.next().unwrap_or_default();
        let ok = (2..=3).contains(&primary.len())
            && primary.chars().all(|c| c.is_ascii_alphabetic())
            && parts.all(|p| (1..=8).contains(&p.len()) && p.chars().all(|c| c.is_ascii_alphanumeric()));
        if !ok || tag.len() > 35 {
            self.error("/language", format!("{:?} is not a language tag such as en or de-DE", cut(&tag)));
        }
        tag
    }

    fn lane(&mut self, value: Option<PriorityInput>) -> Lane {
        let lane = match &value {
            None => Some(Lane::default()),
            Some(PriorityInput::Number(n)) => usize::try_from(*n).ok().and_then(Lane::from_index),
            Some(PriorityInput::Name(name)) => Lane::parse(name),
        };
        lane.unwrap_or_else(|| {
            self.error("/priority", "expected critical, high, normal, low or a number from 0 to 3");
            Lane::default()
        })
    }

    fn time(&mut self, pointer: &str, value: Option<String>) -> Option<Timestamp> {
        let value = value?;
        match chrono::DateTime::parse_from_rfc3339(&value) {
            Ok(time) if (1970..=9999).contains(&chrono::Datelike::year(&time)) => Some(time.to_utc()),
            _ => {
                self.error(
                    pointer,
                    format!("{:?} is not an RFC 3339 time such as 2026-12-01T09:00:00Z", cut(&value)),
                );
                None
            }
        }
    }

    fn attempts(&mut self, value: Option<u32>) -> u32 {
        let max = self.limits.attempts_max;
        let n = value.unwrap_or(ATTEMPTS_DEFAULT);
        if !(1..=max).contains(&n) {
            self.error("/max_attempts", format!("must be 1 to {max}"));
        }
        n
    }

    fn params(&mut self, value: Option<Params>) -> Params {
        let params = value.unwrap_or_default();
        if params.max_tokens.is_some_and(|n| n == 0 || n > 32_768) {
            self.error("/params/max_tokens", "must be 1 to 32768");
        }
        if params.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            self.error("/params/temperature", "must be 0 to 2");
        }
        if params.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            self.error("/params/top_p", "must be above 0 and at most 1");
        }
        params
    }

    fn response_schema(&mut self, value: Option<Value>, is_free: bool) -> Option<Value> {
        let schema = value?;
        match response_schema::problem(&schema, is_free, self.limits) {
            None => Some(schema),
            Some(problem) => {
                self.error("/response_schema", problem);
                None
            }
        }
    }

    fn metadata(&mut self, value: Option<BTreeMap<String, Value>>) -> BTreeMap<String, Value> {
        let metadata = value.unwrap_or_default();
        let max = self.limits.metadata_entries_max;
        if metadata.len() > max {
            self.error("/metadata", format!("has {} entries, at most {max} are allowed", metadata.len()));
        }
        for (key, value) in &metadata {
            if value.is_object() || value.is_array() || value.as_str().is_some_and(|s| s.len() > 2_000) {
                self.error(&format!("/metadata/{}", cut(key)), "must be a short text, number or boolean");
            }
        }
        metadata
    }

    fn data(&mut self, value: Option<Map<String, Value>>) -> Map<String, Value> {
        let mut data = value.unwrap_or_default();
        for (key, value) in &mut data {
            self.data_value(&format!("/data/{}", key.replace('~', "~0").replace('/', "~1")), value, 1);
        }
        data
    }

    /// Removes what no output format can hold; refuses what is too deep.
    fn data_value(&mut self, pointer: &str, value: &mut Value, depth: usize) {
        if depth > self.limits.depth_max {
            let max = self.limits.depth_max;
            return self.error(
                &pointer.chars().take(200).collect::<String>(),
                format!("nested deeper than {max} levels"),
            );
        }
        match value {
            Value::String(text)
                if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) =>
            {
                text.retain(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.data_value(&format!("{pointer}/{index}"), item, depth + 1);
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    self.data_value(&format!("{pointer}/{key}"), item, depth + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Untrusted text in an error message: bounded.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
#[path = "valid_tests.rs"]
mod tests;
