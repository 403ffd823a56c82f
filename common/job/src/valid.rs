//! A job that may be accepted: parsed once, trusted afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check::Check;
use crate::{JobError, Lane, Params, RawJob, Timestamp};

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
pub(crate) const KINDS_LATER: [&str; 6] = [
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

pub(crate) const FORMATS_LATER: [&str; 4] = ["docx", "pptx", "xlsx", "epub"];

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

#[cfg(test)]
#[path = "valid_tests.rs"]
mod tests;
