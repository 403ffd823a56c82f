//! What surrounds every request: id, log, metrics, limits, time, panics, safe headers.

use std::any::Any;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Instrument, error, info, info_span};

use super::problem::Problem;
use super::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Outermost: gives the request an id, logs and counts it, and adds headers that make answers safe.
/// Logged are method, route pattern, status and time; never the path, query or headers, which hold
/// ids, search words and keys.
pub(crate) async fn observe(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let span = info_span!("request", request.id = id.to_str().unwrap_or_default(), http.route = route);
    let mut response = next.run(request).instrument(span.clone()).await;
    safe_headers(response.headers_mut());
    response.headers_mut().insert(REQUEST_ID, id);
    let status = response.status().as_u16();
    let elapsed = begun.elapsed();
    let metrics = &state.inner.metrics;
    metrics.requests.with_label_values(&[route.as_str(), method, &status.to_string()]).inc();
    metrics.seconds.with_label_values(&[route.as_str()]).observe(elapsed.as_secs_f64());
    span.in_scope(|| {
        info!(http.method = method, http.status = status, ms = elapsed.as_millis() as u64, "answered")
    });
    response
}

/// A method as a label: a client must not be able to make up label values.
fn known_method(method: &axum::http::Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}

/// The caller's id where it is harmless in logs, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(harmless).cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::now_v7().to_string();
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// Answers are data, not pages: nothing may be framed, sniffed, cached by others or run. A route that
/// knows better has set its own.
fn safe_headers(headers: &mut HeaderMap) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Refuses work beyond what this process can do at once, and work that takes too long.
pub(crate) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Ok(_permit) = state.inner.requests.try_acquire() else {
        let problem = Problem::later(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "too many requests at once (requests_max)",
        );
        return problem.into_response();
    };
    let options = &state.inner.options;
    let longest = options.request_timeout + options.body_timeout;
    tokio::time::timeout(longest, next.run(request)).await.unwrap_or_else(|_| {
        let detail =
            "the request took too long; what it asked for may have been done, look before repeating it";
        Problem::later(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).into_response()
    })
}

/// A panic in a handler: the request fails, the process and its other requests go on.
pub(crate) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    error!(panic = text, "a request panicked");
    Problem::internal("panic").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_of_callers_are_kept_only_when_harmless() {
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value.parse().unwrap());
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(given("abc-1.2_3"), "abc-1.2_3");
        for bad in ["", "a b", "a;b", "<x>", &"x".repeat(65)] {
            assert_ne!(given(bad), bad);
        }
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }
}
