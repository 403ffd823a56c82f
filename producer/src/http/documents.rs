//! `/v1/jobs/{id}/documents/{format}`: the finished bytes.
//!
//! Documents hold data of strangers: they are served so that a browser neither guesses their type
//! nor runs anything in them.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bul_job::{Format, State as JobState};
use bul_store::{JobDetail, StoreError};
use serde::Deserialize;

use super::params::{Params, job_id};
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Reader};

/// Characters of a file name.
const FILE_NAME_CHARS_MAX: usize = 100;
/// Nothing runs, nothing is loaded, nothing is sent; styles and images inside the file are shown.
const HTML_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'";

/// How to send a document.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub(crate) struct DocumentParams {
    /// Save it instead of showing it.
    #[serde(default)]
    download: bool,
}

/// The bytes of a document. Its format is one of those the job asked for.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/jobs/{id}/documents/{format}", operation_id = "get_document", tag = "jobs",
    params(("id" = uuid::Uuid, Path), ("format" = String, Path, description = "md, html, pdf, json or txt"), DocumentParams),
    responses(shapes::Errors,
        (status = 200, description = "the document", body = Vec<u8>, content_type = "application/octet-stream", headers(("ETag" = String), ("Content-Disposition" = String))),
        (status = 304, description = "the copy of `If-None-Match` is still right"))))]
pub(crate) async fn document(
    Reader(caller): Reader,
    State(state): State<AppState>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    Params(params): Params<DocumentParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, format)) = path.map_err(|_| Problem::not_found("no such path"))?;
    let id = job_id(&id)?;
    let format = Format::parse(&format).ok_or_else(|| {
        let known = Format::ALL.map(Format::as_str).join(", ");
        Problem::not_found(format!("no such format; there are {known}"))
    })?;
    let detail = state.inner.store.job(&caller.tenant, id).await?;
    let bytes = match state.inner.store.document(&caller.tenant, id, format).await {
        Err(StoreError::NotFound(_)) => return Err(missing(&detail, format)),
        other => other?,
    };
    let tag = format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..32]);
    let mut answer = if matches(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(bytes))
    };
    let title =
        if detail.summary.title.is_empty() { &detail.summary.template } else { &detail.summary.title };
    let mut set = |name: HeaderName, value: &str| -> Result<(), Problem> {
        let value = HeaderValue::from_str(value).map_err(|e| Problem::internal(&e.to_string()))?;
        answer.headers_mut().insert(name, value);
        Ok(())
    };
    set(header::CONTENT_TYPE, format.media_type())?;
    set(header::CONTENT_DISPOSITION, &disposition(title, format, params.download))?;
    set(header::ETAG, &tag)?;
    set(header::CACHE_CONTROL, "private, no-cache")?;
    if format == Format::Html {
        set(header::CONTENT_SECURITY_POLICY, HTML_POLICY)?;
    }
    Ok(answer)
}

/// Why there is no such document, in terms of the job.
fn missing(detail: &JobDetail, format: Format) -> Problem {
    let state = detail.summary.status.state;
    let detail = match state {
        JobState::Completed => {
            let formats: Vec<&str> = detail.documents.keys().map(|f| f.as_str()).collect();
            format!("the job made no {format}, only {}", formats.join(", "))
        }
        JobState::Waiting | JobState::Queued | JobState::Running => {
            format!("the job is {state}; its documents are there once it is completed")
        }
        JobState::Cancelled | JobState::Dead => format!("the job is {state} and made no documents"),
    };
    let problem = Problem::new(StatusCode::NOT_FOUND, "no_such_document", detail);
    if state.is_final() { problem } else { Problem { retry_after_s: Some(2), ..problem } }
}

fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    given.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// RFC 6266: an ASCII name for all, the true one (RFC 8187) for those who understand it.
fn disposition(title: &str, format: Format, download: bool) -> String {
    let name: String = file_name(title);
    let ascii: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    let kind = if download { "attachment" } else { "inline" };
    format!("{kind}; filename=\"{ascii}.{format}\"; filename*=UTF-8''{encoded}.{format}")
}

/// Letters, digits and a few harmless signs; no path, no leading dot, no name a system reserves.
fn file_name(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars().take(FILE_NAME_CHARS_MAX) {
        let kept = c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')' | ',' | '+');
        if kept {
            name.push(c);
        } else if !name.ends_with(' ') {
            name.push(' ');
        }
    }
    let name = name.trim_matches(|c| c == ' ' || c == '.');
    let reserved = ["con", "prn", "aux", "nul"].iter().any(|word| name.eq_ignore_ascii_case(word));
    if name.is_empty() || reserved { "document".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_harmless() {
        let check = |title: &str, expected: &str| assert_eq!(file_name(title), expected, "{title}");
        check("Invoice 2026-17", "Invoice 2026-17");
        check("../../etc/passwd", "etc passwd");
        check("a\"b\r\nSet-Cookie: x", "a b Set-Cookie x");
        check("Übersicht", "Übersicht");
        check("...", "document");
        check("NUL", "document");
        assert_eq!(
            disposition("Übersicht 1", Format::Pdf, true),
            "attachment; filename=\"_bersicht 1.pdf\"; filename*=UTF-8''%C3%9Cbersicht%201.pdf"
        );
    }
}
