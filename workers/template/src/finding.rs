//! Findings: what a reader of the document should know but what does not stop it.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Should be looked at.
    Warning,
    /// The document states something its data does not support.
    Error,
}

/// One observation about a document or its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the rule, for example `prose.number` or `invoice.total`.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// JSON Pointer into the data, or `slot:<id>` for generated prose.
    pub path: String,
    /// What was seen.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(
        rule: &str,
        severity: Severity,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { rule: rule.into(), severity, path: path.into(), message: message.into() }
    }
}
