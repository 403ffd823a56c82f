//! Reading bodies: bounded, typed, timed; and throwing away what nobody wants.
//!
//! A server that answers 413 and closes while the client still sends makes the client's system
//! discard the answer (RFC 9112, section 9.6). So what is left of a refused body is read and thrown
//! away, up to a limit, before the answer goes out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::options::ProducerOptions;
use super::problem::Problem;
use super::state::AppState;

/// Memory taken for a body before any of it has arrived.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// Reads a body of at most `max` bytes; `limit` is the name of that limit.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    limit: &str,
    options: &ProducerOptions,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body has more than {max} bytes ({limit})");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "compressed bodies are not accepted; send the body as it is";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail));
    }
    let announced = content_length(headers);
    if announced.is_some_and(|n| n > max as u64) {
        return Err(too_large());
    }
    let reading = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = BytesMut::with_capacity((announced.unwrap_or(0) as usize).min(RESERVE_BYTES_MAX));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request("body_broken_off", "the body broke off"))?;
            if bytes.len() + chunk.len() > max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(options.body_timeout, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", options.body_timeout.as_secs());
        Err(Problem::later(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail))
    })
}

/// Reads a JSON body of type `T`; errors name the place.
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    options: &ProducerOptions,
) -> Result<T, Problem> {
    expect_type(headers, &["application/json"])?;
    let bytes = read(headers, body, options.body_bytes_max, "body_bytes_max", options).await?;
    expect_object(&bytes)?;
    from_json(&bytes)
}

/// The same where a body may be left out.
pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
    options: &ProducerOptions,
) -> Result<T, Problem> {
    let bytes = read(headers, body, options.body_bytes_max, "body_bytes_max", options).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    expect_type(headers, &["application/json"])?;
    expect_object(&bytes)?;
    from_json(&bytes)
}

/// Refuses arrays: serde would take their items for the fields of a struct, one by one.
pub(crate) fn expect_object(bytes: &[u8]) -> Result<(), Problem> {
    match bytes.trim_ascii_start().first() {
        Some(b'[') => Err(Problem::field("", "must be a JSON object, not an array")),
        _ => Ok(()),
    }
}

/// Parses JSON; syntax errors tell line and column, others the pointer.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut de).map_err(|error| {
        let inner = error.inner();
        if matches!(inner.classify(), serde_json::error::Category::Data) {
            let path = error.path();
            let pointer: String = path.iter().map(segment).collect();
            Problem::field(&pointer, inner.to_string())
        } else {
            malformed(inner)
        }
    })?;
    de.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request("malformed_json", format!("not valid JSON: {error}"))
}

fn segment(segment: &serde_path_to_error::Segment) -> String {
    match segment {
        serde_path_to_error::Segment::Seq { index } => format!("/{index}"),
        serde_path_to_error::Segment::Map { key } => {
            format!("/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        serde_path_to_error::Segment::Enum { variant } => format!("/{variant}"),
        serde_path_to_error::Segment::Unknown => String::new(),
    }
}

/// The media type without parameters, in lower case; an error that lists what is accepted otherwise.
pub(crate) fn expect_type(headers: &HeaderMap, accepted: &[&'static str]) -> Result<&'static str, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    accepted.iter().copied().find(|known| known.eq_ignore_ascii_case(essence)).ok_or_else(|| {
        let given = if essence.is_empty() { "no content type".into() } else { format!("{:?}", cut(essence)) };
        let detail = format!("{given} is not accepted here; send {}", accepted.join(" or "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    })
}

/// Untrusted text in an error message: bounded.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

type Slot = Arc<Mutex<Option<BodyDataStream>>>;

/// A request body that hands what is left of it back when the handler lets go of it.
struct Returning {
    inner: Option<BodyDataStream>,
    slot: Slot,
}

impl Stream for Returning {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_next(cx);
        // At the end, or broken: nothing to throw away later.
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if let Some(rest) = self.inner.take() {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

/// Middleware: throws away what a handler left unread of the body, before its answer goes out.
pub(crate) async fn drain(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let options = &state.inner.options;
    // A client that waits for "100 Continue" has not begun to send, and need not.
    let waits = request.headers().contains_key(header::EXPECT);
    let slot = Slot::default();
    let request = request.map(|body| {
        Body::from_stream(Returning { inner: Some(body.into_data_stream()), slot: slot.clone() })
    });
    let mut response = next.run(request).await;
    let rest = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) = rest.filter(|_| !waits)
        && !throw_away(rest, options).await
    {
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body came to its end within the limits.
async fn throw_away(mut rest: BodyDataStream, options: &ProducerOptions) -> bool {
    let reading = async {
        let mut seen = 0;
        while let Some(chunk) = rest.next().await {
            let Ok(chunk) = chunk else { return true };
            seen += chunk.len() as u64;
            if seen > options.drain_bytes_max {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(options.drain_timeout, reading).await.unwrap_or(false)
}
