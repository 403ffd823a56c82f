//! Shapes of requests and answers for `openapi.json`.
//!
//! The true types stand in `bul-job` and `bul-store`, which know nothing of OpenAPI. A test compares
//! real answers with these shapes, unknown members included, so that neither can drift.

#![expect(dead_code, reason = "these types are described, never made")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// Errors every route may answer.
#[derive(IntoResponses)]
pub(crate) enum Errors {
    /// `malformed_json`, `bad_parameter`, `bad_cursor`, `bad_header`, `body_broken_off`
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// `key_missing`, `key_invalid`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// `permission_missing`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// `not_found`, `no_such_document`
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// `body_timeout`
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// `not_possible_now`, `exists_already`, `idempotency_conflict`, `nothing_to_patch`
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// `body_too_large`, `too_many_jobs`
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// `unsupported_media_type`, `unsupported_encoding`, `unrecognised`
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// `invalid_job`, `invalid_field`, `empty`, `unsupported`
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// `internal_error`, `stored_data_damaged`
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// `overloaded`, `timeout`, `store_unavailable`, `store_failed`; with `Retry-After`
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Serialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type,)* }
    )*};
}

// Behind the macro, which they use.
mod jobs;
mod operation;

pub(crate) use jobs::*;
pub(crate) use operation::*;

/// Any JSON object.
#[derive(Serialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct Json(BTreeMap<String, Value>);

/// Where a job is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Waiting,
    Queued,
    Running,
    Completed,
    Cancelled,
    Dead,
}

/// A priority lane.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lane {
    Critical,
    High,
    Normal,
    Low,
}

/// Why a job is dead.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeadReason {
    Permanent,
    AttemptsSpent,
    Poison,
    DeadlinePassed,
    Unreadable,
}

shapes! {
    /// An error (RFC 9457).
    Problem {
        r#type: String,
        title: String,
        status: u16,
        /// Stable; decides what programs do.
        code: String,
        detail: String,
        /// Whether the same request may succeed later.
        retryable: bool,
        errors: Vec<FieldError>,
    }
    /// One wrong place.
    FieldError {
        /// JSON Pointer (RFC 6901); empty for the whole.
        pointer: String,
        message: String,
    }
}
