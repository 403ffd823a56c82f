//! Settings of the remote backend; the key in them is never shown.

use std::fmt;
use std::time::Duration;

use bul_runtime::breaker::BreakerOptions;

/// A secret that no log shows.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself, for the header alone.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Bounds on waiting for the server.
#[derive(Debug, Clone)]
pub struct OpenAiTimeouts {
    /// To connect. Longer hides a dead host.
    pub connect: Duration,
    /// From the request to the first byte of the answer: queueing and prefill on the server.
    pub first_byte: Duration,
    /// Between two reads of the stream.
    pub idle: Duration,
    /// For one try as a whole.
    pub total: Duration,
}

impl Default for OpenAiTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(300),
        }
    }
}

/// Settings of the remote backend.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// Address up to and including `/v1`.
    pub base_url: String,
    /// Name of the model on the server.
    pub model: String,
    /// Bearer token.
    pub key: Option<ApiKey>,
    /// Bounds on waiting.
    pub timeouts: OpenAiTimeouts,
    /// Further tries after a transient failure.
    pub retries_max: usize,
    /// First wait before a further try; doubled each time, with jitter.
    pub retry_delay: Duration,
    /// Longest wait within one request; when the server asks for more, the request fails and says so.
    pub retry_delay_max: Duration,
    /// Largest answer, bytes on the wire.
    pub response_bytes_max: usize,
    /// How often the question is repeated when the answer has the wrong shape.
    pub corrections_max: usize,
    /// Circuit breaker.
    pub breaker: BreakerOptions,
}

impl OpenAiOptions {
    /// Defaults for one server and model.
    pub fn new(base_url: String, model: String, key: Option<String>) -> Self {
        let retries_max = 3;
        Self {
            base_url,
            model,
            key: key.filter(|k| !k.is_empty()).map(ApiKey),
            timeouts: OpenAiTimeouts::default(),
            retries_max,
            retry_delay: Duration::from_millis(500),
            retry_delay_max: Duration::from_secs(30),
            response_bytes_max: 4 << 20,
            corrections_max: 2,
            // As many calls as one request makes: a job that is alone in its process opens it, too.
            breaker: BreakerOptions { calls_min: retries_max + 1, ..BreakerOptions::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OpenAiOptions;

    #[test]
    fn the_key_is_never_shown() {
        let options = OpenAiOptions::new("http://x/v1".into(), "m".into(), Some("sk-secret".into()));
        assert!(!format!("{options:?}").contains("secret"));
    }
}
