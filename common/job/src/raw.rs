//! A job as it arrives: any shape, unknown fields refused by name.
//!
//! `RawJob → ValidJob` ([`crate::ValidJob::parse`]) is the only way into the system; whatever came
//! by HTTP, file, schedule or broker passes through it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing wrong with a job, at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the field; empty for the whole.
    pub pointer: String,
    /// What is wrong, for people.
    pub message: String,
}

impl FieldError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

/// A job that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Not JSON, or not UTF-8.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// Larger than allowed.
    #[error("the job has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// Given.
        bytes: usize,
        /// Limit.
        bytes_max: usize,
    },
    /// Fields are wrong; all that were found are listed.
    #[error("{}", join(.0))]
    Fields(Vec<FieldError>),
}

fn join(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A priority by name (any case) or number 0–3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PriorityInput {
    /// 0 is critical, 3 is low.
    Number(i64),
    /// `critical`, `high`, `normal`, `low`.
    Name(String),
}

/// Sampling parameters of a job.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Limit on generated tokens per section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 to 2; 0 is greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// In (0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Same seed, same job, same model: same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A job as submitted. Every field is optional here; which are needed is decided by validation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawJob {
    /// What to do; `document.generate` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What to write, in free words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// For example `marketing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business_area: Option<String>,
    /// For example `strategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_type: Option<String>,
    /// Data for the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Further background for the prose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// JSON Schema of the answer to a free query, which is then a JSON value instead of prose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// Output formats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<String>>,
    /// BCP 47 tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityInput>,
    /// Conversation to continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Same key, same job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Not before, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// Not after, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Failures allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Answer with a job of the same content that is still open, instead of making another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<bool>,
    /// Webhook to call at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params>,
    /// Labels of the caller; kept, never interpreted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, Value>>,
}

impl RawJob {
    /// Reads one job. Errors name the field by JSON Pointer, or line and column where the text is
    /// no JSON at all.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JobError> {
        let mut de = serde_json::Deserializer::from_slice(bytes);
        let raw = serde_path_to_error::deserialize(&mut de).map_err(read_error)?;
        de.end().map_err(|e| JobError::Syntax(e.to_string()))?;
        Ok(raw)
    }

    /// Reads one job out of an already parsed value.
    pub fn from_value(value: Value) -> Result<Self, JobError> {
        serde_path_to_error::deserialize(value).map_err(read_error)
    }
}

fn read_error(error: serde_path_to_error::Error<serde_json::Error>) -> JobError {
    let inner = error.inner();
    if matches!(inner.classify(), serde_json::error::Category::Syntax | serde_json::error::Category::Eof) {
        return JobError::Syntax(inner.to_string());
    }
    let mut pointer: String = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(format!("/{index}")),
            serde_path_to_error::Segment::Map { key } => Some(format!("/{}", escape_pointer(key))),
            serde_path_to_error::Segment::Enum { variant } => Some(format!("/{}", escape_pointer(variant))),
            serde_path_to_error::Segment::Unknown => None,
        })
        .collect();
    let message = inner.to_string();
    // serde names an unknown field only in its text; the pointer must hold it, as for all others.
    if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((field, _)) = rest.split_once('`')
        && !pointer.ends_with(&format!("/{}", escape_pointer(field)))
    {
        pointer.push('/');
        pointer.push_str(&escape_pointer(field));
    }
    JobError::Fields(vec![FieldError::new(pointer, message)])
}

fn escape_pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
