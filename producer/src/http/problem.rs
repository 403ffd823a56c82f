//! Errors on the wire: `application/problem+json` (RFC 9457).
//!
//! `code` is stable and decides what programs do; `detail` is for people. Nothing about the inside
//! of this installation gets out: store and broker texts are logged, not sent.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bul_dlq_replayer::{EditError, FilterError, RateError, ReplayError};
use bul_job::{CronError, FieldError, JobError};
use bul_store::StoreError;
use serde::Serialize;
use tracing::{error, warn};

use crate::auth::AuthError;
use crate::ingest::{IngestError, IngestErrorKind};
use crate::submit::SubmitError;

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Seconds after which a client should try again, where nothing better is known.
const RETRY_AFTER_S: u64 = 2;

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Status.
    pub status: StatusCode,
    /// Stable code.
    pub code: &'static str,
    /// What happened, for people.
    pub detail: String,
    /// Wrong fields.
    pub errors: Vec<FieldError>,
    /// Seconds to wait before trying again; set exactly for what may succeed later.
    pub retry_after_s: Option<u64>,
}

/// The JSON of a problem.
#[derive(Debug, Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    retryable: bool,
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem that will not go away by repeating the request.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// With wrong fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// One that may go away.
    pub fn later(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(RETRY_AFTER_S), ..Self::new(status, code, detail) }
    }

    /// 400 with a code.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 422 with its fields.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.to_string(),
            many => format!("{} fields are wrong", many.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_job", detail).with_errors(errors)
    }

    /// 422 for one field.
    pub fn field(pointer: &str, message: impl Into<String>) -> Self {
        let mut problem = Self::invalid(vec![FieldError::new(pointer, message)]);
        problem.code = "invalid_field";
        problem
    }

    /// 500; the reason is logged here and nowhere else.
    pub fn internal(reason: &str) -> Self {
        error!(reason, "request failed inside");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the server failed; the failure is logged",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let wire = Wire {
            r#type: format!("urn:bul:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            retryable: self.retry_after_s.is_some(),
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&wire).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED || self.status == StatusCode::FORBIDDEN {
            let challenge = match self.code {
                "key_invalid" => r#"Bearer realm="bul", error="invalid_token""#,
                "permission_missing" => r#"Bearer realm="bul", error="insufficient_scope""#,
                _ => r#"Bearer realm="bul""#,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(format!("{what} not found")),
            StoreError::Refused(refused) => {
                Self::new(StatusCode::CONFLICT, "not_possible_now", refused.to_string())
            }
            StoreError::Conflict(what) => {
                Self::new(StatusCode::CONFLICT, "exists_already", format!("{what} exists already"))
            }
            StoreError::Unavailable(why) => {
                warn!(why, "store unavailable");
                Self::later(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "the store is unavailable for now",
                )
            }
            StoreError::Failed(why) => {
                error!(why, "store failed");
                Self::later(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_failed",
                    "the store cannot take this for now",
                )
            }
            StoreError::Corrupt(why) => {
                error!(why, "stored data damaged");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "stored_data_damaged",
                    "the stored data cannot be read",
                )
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = error.to_string();
        match error {
            AuthError::Missing => Self::new(StatusCode::UNAUTHORIZED, "key_missing", detail),
            AuthError::Invalid => Self::new(StatusCode::UNAUTHORIZED, "key_invalid", detail),
            AuthError::Forbidden { .. } => Self::new(StatusCode::FORBIDDEN, "permission_missing", detail),
            AuthError::Store(error) => error.into(),
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let detail = error.to_string();
        match error {
            JobError::Syntax(_) => Self::bad_request("malformed_json", detail),
            JobError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail),
            JobError::Fields(errors) => Self::invalid(errors),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::Empty => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "empty", detail),
            SubmitError::TooMany { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_jobs", detail),
            SubmitError::Invalid(bad) => {
                let errors = bad.into_iter().flat_map(placed).collect();
                Self::invalid(errors)
            }
            SubmitError::Store(error) => error.into(),
            SubmitError::Internal(reason) => Self::internal(&reason),
        }
    }
}

/// Pointers from the root of the body, where the place is one; else the place is in the text.
fn placed(bad: crate::submit::BadJob) -> Vec<FieldError> {
    let place = bad.place;
    let at = |error: FieldError| match place.as_str() {
        "" => error,
        pointer if pointer.starts_with('/') => {
            FieldError::new(format!("{pointer}{}", error.pointer), error.message)
        }
        words => FieldError::new(error.pointer, format!("{words}: {}", error.message)),
    };
    bad.errors.into_iter().map(at).collect()
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let detail = error.to_string();
        let (status, code) = match error.kind {
            IngestErrorKind::Empty => (StatusCode::UNPROCESSABLE_ENTITY, "empty"),
            IngestErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            IngestErrorKind::Encoding => (StatusCode::BAD_REQUEST, "malformed_text"),
            IngestErrorKind::Syntax => (StatusCode::BAD_REQUEST, "malformed_json"),
            IngestErrorKind::Unsupported => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported"),
            IngestErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_job"),
            IngestErrorKind::Unrecognised => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unrecognised"),
        };
        Self::new(status, code, detail).with_errors(error.fields())
    }
}

impl From<CronError> for Problem {
    fn from(error: CronError) -> Self {
        let pointer = match error {
            CronError::Expression { .. } | CronError::Never(_) => "/cron",
            CronError::Zone(_) => "/timezone",
        };
        Self::field(pointer, error.to_string())
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NothingToPatch => {
                Self::new(StatusCode::CONFLICT, "nothing_to_patch", EditError::NothingToPatch.to_string())
            }
            EditError::Invalid(error) => error.into(),
            EditError::Store(error) => error.into(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        let detail = error.to_string();
        match error {
            ReplayError::Halted(_) => Self::later(StatusCode::SERVICE_UNAVAILABLE, "breaker_open", detail),
            ReplayError::Edit(error) => error.into(),
        }
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        Self::field("/filter", error.to_string())
    }
}

impl From<RateError> for Problem {
    fn from(error: RateError) -> Self {
        Self::field("/rate", error.to_string())
    }
}
