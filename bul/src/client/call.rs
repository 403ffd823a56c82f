//! One HTTP request: where it goes, with which key, what its failure means for the user.
//!
//! Invariant: a request is repeated only when repeating is harmless (reads, or writes under an
//! idempotency key), and the local key is sent to this machine only.

use std::time::Duration;

use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{CallError, Problem};
use crate::context::Context;
use crate::exit::Fault;

/// A server that is there answers a connection at once; longer means a wrong address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole request. A batch of thousands of jobs is validated and stored within it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Tries of a harmless request in all.
const TRIES: u32 = 3;
/// Pause before the second try; doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest `Retry-After` that is waited for; beyond it the user is told.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// Largest answer that is read. Documents are the largest.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Largest error answer that is read.
const PROBLEM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    idempotency_key: Option<String>,
    repeatable: bool,
    stream: bool,
}

impl Call {
    fn new(method: Method, segments: &[&str]) -> Self {
        let segments = segments.iter().map(|s| (*s).to_owned()).collect();
        Self {
            method,
            segments,
            query: Vec::new(),
            body: None,
            idempotency_key: None,
            repeatable: false,
            stream: false,
        }
    }

    /// Reads.
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// Makes or does something.
    pub fn post(segments: &[&str], body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, segments) }
    }

    /// Replaces.
    pub fn put(segments: &[&str], body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::PUT, segments) }
    }

    /// Removes.
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds a parameter, when there is a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    /// Makes a write repeatable.
    #[must_use]
    pub fn under_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }

    /// Says that sending it twice does no more than sending it once.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// An answer without an end.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.stream = true;
        self
    }

    fn may_repeat(&self) -> bool {
        self.repeatable
            || self.idempotency_key.is_some()
            || matches!(self.method, Method::GET | Method::PUT | Method::DELETE)
    }
}

/// Sends requests to one server.
#[derive(Debug, Clone)]
pub struct Caller {
    client: reqwest::Client,
    base: Url,
    key: Option<bul_config::Secret>,
}

impl Caller {
    /// Reads address and key from the configuration.
    pub fn new(context: &Context) -> anyhow::Result<Self> {
        let given = &context.config().url;
        let base = parse_url(given)?;
        let here = is_loopback(&base);
        let mut key = Some(context.config().key.clone()).filter(|key| !key.is_empty());
        if key.is_none() && here {
            key = local_key(context)?;
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("bul/", env!("CARGO_PKG_VERSION")));
        if here {
            // A proxy meant for the internet cannot reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|e| Fault::failed(format!("no HTTP client: {e}")))?;
        Ok(Self { client, base, key })
    }

    /// Sends a request and reads its answer as JSON; no body reads as `null`.
    pub async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        let bytes = self.bytes(call).await?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|e| {
            let message = format!("{} sent an answer that cannot be read: {e}", self.base);
            CallError::Fault(Fault::failed(message).hint("are server and client of the same version?"))
        })
    }

    /// Sends a request and reads the bytes of its answer.
    pub async fn bytes(&self, call: Call) -> Result<Vec<u8>, CallError> {
        let mut response = self.send(call).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| CallError::Fault(self.broken(&e)))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(CallError::Fault(Fault::failed(format!(
                    "the answer has more than {ANSWER_BYTES_MAX} bytes"
                ))));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Sends a request; the answer is a success.
    pub async fn send(&self, call: Call) -> Result<Response, CallError> {
        let mut pause = PAUSE;
        for tried in 1.. {
            let last = tried >= TRIES || !call.may_repeat();
            match self.request(&call).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let wait = retry_after(&response).unwrap_or(pause);
                    let busy = matches!(response.status().as_u16(), 429 | 502..=504);
                    if last || !busy || wait > RETRY_AFTER_MAX {
                        return Err(self.problem(response).await);
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(error) if last || error.is_timeout() || error.is_builder() => {
                    return Err(CallError::Fault(self.broken(&error)));
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        Err(CallError::Fault(Fault::failed("no try was made")))
    }

    fn request(&self, call: &Call) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.segments);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.client.request(call.method.clone(), url);
        if !call.stream {
            request = request.timeout(REQUEST_TIMEOUT);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        request
    }

    async fn problem(&self, mut response: Response) -> CallError {
        let status = response.status();
        let media = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > PROBLEM_BYTES_MAX {
                break;
            }
        }
        Problem::read(status, &media, &body, &self.base)
    }

    fn broken(&self, error: &reqwest::Error) -> Fault {
        let base = &self.base;
        if error.is_timeout() {
            return Fault::unavailable(format!("{base} did not answer in time"));
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let message = format!("cannot reach the server at {base}: {cause}");
        Fault::unavailable(message).hint("start it with: bul up, or add --direct")
    }
}

/// An `http` or `https` address.
pub fn parse_url(text: &str) -> Result<Url, Fault> {
    let url = Url::parse(text)
        .map_err(|e| Fault::usage(format!("the server's address {text:?} is no URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        let message =
            format!("the server's address {text:?} must begin with http:// or https:// and name a host");
        return Err(Fault::usage(message).hint("for example http://127.0.0.1:8002"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn local_key(context: &Context) -> anyhow::Result<Option<bul_config::Secret>> {
    let Ok(path) = context.local_key_file() else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(bul_config::Secret::new(text.trim())).filter(|key| !key.is_empty())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::usage(format!("cannot read the local key {}: {e}", path.display())).into()),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_the_local_key_stays_here() {
        assert!(parse_url("127.0.0.1:8002").is_err());
        assert!(parse_url("ftp://host").is_err());
        for (text, here) in [
            ("http://127.0.0.1:8002", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("https://127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(&parse_url(text).unwrap()), here, "{text}");
        }
    }
}
