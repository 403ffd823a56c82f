//! How an attempt failed, in the only terms that decide what happens next.

use serde::{Deserialize, Serialize};

/// What a failure means for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// May succeed later: retried with back-off.
    Transient,
    /// Will fail again: dead letter.
    Permanent,
    /// Endangers workers: dead letter at once, whatever attempts are left.
    Poison,
    /// The user cancelled.
    Cancelled,
}

/// A failed attempt as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Class.
    pub class: FailureClass,
    /// Stable code, for example `model_unavailable`.
    pub code: String,
    /// What happened, for people; holds no prompt, data or secret.
    pub message: String,
    /// Earliest sensible retry, when the failing side said one, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
