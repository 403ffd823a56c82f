//! Query parameters and path segments: typed, unknown ones refused, errors as problems.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bul_job::JobId;
use serde::de::DeserializeOwned;

use super::body::cut;
use super::problem::Problem;

/// Entries of a page when none are asked for.
pub(crate) const PAGE_DEFAULT: usize = 50;
/// Entries of a page at most.
pub(crate) const PAGE_MAX: usize = 500;
/// First byte of a cursor: its version.
const CURSOR_VERSION: u8 = 1;

/// Query parameters as `T`, which refuses those it does not know.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri)
            .map_err(|e| Problem::bad_request("bad_parameter", cut_long(&e.body_text())))?;
        Ok(Self(params))
    }
}

/// The one variable segment of a path.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        found.map(|Path(text)| Self(text)).map_err(|_| Problem::not_found("no such path"))
    }
}

/// The one variable segment of a path, as a job id. What is no id names no job: 404.
pub(crate) struct Id(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        job_id(&text).map(Self)
    }
}

pub(crate) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|e: bul_job::IdError| Problem::not_found(e.to_string()))
}

/// The size of a page.
pub(crate) fn page_size(asked: Option<usize>) -> Result<usize, Problem> {
    let size = asked.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&size) {
        return Ok(size);
    }
    Err(Problem::bad_request("bad_parameter", format!("limit must be 1 to {PAGE_MAX}")))
}

/// An opaque cursor: where the next page begins.
pub(crate) fn cursor(after: JobId) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor.
pub(crate) fn read_cursor(text: &str) -> Result<JobId, Problem> {
    let bad = || Problem::bad_request("bad_cursor", "the cursor is not one that this server gave out");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    match bytes.split_first() {
        Some((&CURSOR_VERSION, id)) if id.len() == 16 => {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            hex.parse().map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

/// A time, or a date for its first instant in UTC.
pub(crate) fn time(name: &str, text: &str) -> Result<bul_job::Timestamp, Problem> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let date = text.parse::<chrono::NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    date.map(|time| time.and_utc()).ok_or_else(|| {
        let detail =
            format!("{name}: {:?} is neither a date such as 2026-11-01 nor an RFC 3339 time", cut(text));
        Problem::bad_request("bad_parameter", detail)
    })
}

fn cut_long(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_way_and_others_are_refused() {
        let id = JobId::new();
        assert_eq!(read_cursor(&cursor(id)).unwrap(), id);
        for bad in
            ["", "x", "AAAA", "!!!!", &URL_SAFE_NO_PAD.encode([2; 17]), &URL_SAFE_NO_PAD.encode([1; 16])]
        {
            assert_eq!(read_cursor(bad).unwrap_err().code, "bad_cursor", "{bad}");
        }
    }
}
