//! A model behind an OpenAI-compatible server: `POST {base}/chat/completions`, streamed.
//!
//! Every wait is bounded; transient failures are retried with backoff, a circuit breaker stands
//! in front, and dropping the future drops the connection. Shapes cannot be masked here: the
//! whole answer is checked and the question repeated. Opened by `open`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use bul_runtime::breaker::{Breaker, BreakerState, Outcome, Permit};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::options::OpenAiOptions;
use super::stream::{Answer, read_answer};
use super::wire;
use crate::constraint::{check, schema};
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::job::{Completion, Constraint, Message, Receipt, Request, Role, Scope};
use crate::metrics::Metrics;
use crate::open::OpenError;

/// See the module's text.
pub struct OpenAi {
    options: OpenAiOptions,
    client: reqwest::Client,
    breaker: Mutex<Breaker>,
    started: Instant,
    metrics: Option<Metrics>,
}

/// A failed try.
#[derive(Debug)]
pub(super) struct TryError {
    /// What the caller gets when this was the last try.
    pub error: GenerateError,
    /// May another try help?
    pub retry: bool,
    /// What it says about the server.
    pub outcome: Outcome,
}

impl TryError {
    /// The server failed; another try may help.
    pub fn transient(reason: impl Into<String>) -> Self {
        let error = GenerateError::Unavailable { reason: reason.into(), retry_after_ms: None };
        Self { error, retry: true, outcome: Outcome::Failure }
    }

    /// The server was not reached; another try may help.
    fn unreached(reason: String) -> Self {
        let error = GenerateError::Unreachable { reason };
        Self { error, retry: true, outcome: Outcome::Failure }
    }

    /// Another try would end the same way.
    pub fn permanent(error: GenerateError) -> Self {
        Self { error, retry: false, outcome: Outcome::Ignored }
    }
}

/// Records an outcome even when the call is dropped half-way.
struct Call<'a> {
    model: &'a OpenAi,
    permit: Option<Permit>,
}

impl Call<'_> {
    fn end(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            let now = self.model.now_ms();
            let mut breaker = self.model.breaker.lock();
            breaker.record(permit, outcome, now);
            self.model.show(breaker.state(now));
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.end(Outcome::Ignored);
    }
}

impl OpenAi {
    /// A client for one server and model. Opens no connection.
    ///
    /// # Errors
    /// When the HTTP client or the metrics cannot be set up.
    pub fn new(options: OpenAiOptions, registry: Option<&prometheus::Registry>) -> Result<Self, OpenError> {
        // Without a process-wide provider the client cannot be built; an error means there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(options.timeouts.connect)
            .user_agent(concat!("bul/", env!("CARGO_PKG_VERSION")))
            // A key must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| OpenError::Setup(format!("HTTP client: {e}")))?;
        let metrics = registry.map(|registry| Metrics::register(registry, None)).transpose();
        let metrics = metrics.map_err(|e| OpenError::Setup(e.to_string()))?;
        let breaker = Mutex::new(Breaker::new(options.breaker.clone()));
        Ok(Self { options, client, breaker, started: Instant::now(), metrics })
    }

    /// State of the circuit breaker.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn show(&self, state: BreakerState) {
        if let Some(metrics) = &self.metrics {
            metrics.breaker_state.set(match state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            });
        }
    }

    /// Asks until the answer has the wanted shape.
    async fn converse(
        &self,
        request: &Request,
        pieces: Option<&Pieces>,
    ) -> Result<Completion, GenerateError> {
        let Some(constraint) = &request.constraint else {
            let answer = self.ask(request, &request.messages, pieces).await?;
            return Ok(complete(answer.text, &answer.receipt, answer.finish));
        };
        if let Constraint::Schema { schema } = constraint {
            schema::read(schema).map_err(GenerateError::Rejected)?;
        }
        let mut messages = request.messages.clone();
        let mut receipt = Receipt::default();
        for correction in 0..=self.options.corrections_max {
            let answer = self.ask(request, &messages, None).await?;
            receipt.add(&answer.receipt);
            let text = answer.text.trim();
            match check(constraint, text) {
                Ok(()) => {
                    if let Some(pieces) = pieces {
                        // Shown only now: a refused answer must not reach the reader.
                        let _ = pieces.try_send(text.to_string());
                    }
                    return Ok(complete(text.to_string(), &receipt, answer.finish));
                }
                Err(problem) if correction == self.options.corrections_max => {
                    return Err(GenerateError::Shape(problem));
                }
                Err(problem) => correct(&mut messages, constraint, answer.text, &problem),
            }
        }
        Err(GenerateError::Shape("no answer".into()))
    }

    /// One question, tried again after transient failures.
    async fn ask(
        &self,
        request: &Request,
        messages: &[Message],
        pieces: Option<&Pieces>,
    ) -> Result<Answer, GenerateError> {
        let mut backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.options.retry_delay)
            .with_max_delay(self.options.retry_delay_max)
            .with_max_times(self.options.retries_max)
            .build();
        let mut earlier = None;
        loop {
            let failed = match self.attempt(request, messages, pieces).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let asked = failed.error.retry_after_ms().map(Duration::from_millis).unwrap_or_default();
            let error = sum_up(earlier.take(), failed.error);
            let delay = backoff.next().filter(|_| failed.retry);
            let Some(delay) = delay else { return Err(error) };
            if asked > self.options.retry_delay_max {
                return Err(error);
            }
            tracing::debug!(%error, request.id, "trying the model's server again");
            earlier = Some(error);
            tokio::time::sleep(delay.max(asked)).await;
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        messages: &[Message],
        pieces: Option<&Pieces>,
    ) -> Result<Answer, TryError> {
        let permit = self.breaker.lock().try_acquire(self.now_ms()).map_err(|retry_after_ms| TryError {
            error: GenerateError::BreakerOpen { retry_after_ms },
            retry: false,
            outcome: Outcome::Ignored,
        })?;
        let mut call = Call { model: self, permit: Some(permit) };
        let total = self.options.timeouts.total;
        let result = match tokio::time::timeout(total, self.exchange(request, messages, pieces)).await {
            Ok(result) => result,
            Err(_) => Err(TryError::transient(format!("no whole answer within {total:?}"))),
        };
        call.end(result.as_ref().map_or_else(|failed| failed.outcome, |_| Outcome::Success));
        result
    }

    async fn exchange(
        &self,
        request: &Request,
        messages: &[Message],
        pieces: Option<&Pieces>,
    ) -> Result<Answer, TryError> {
        let options = &self.options;
        let mut post = self.client.post(format!("{}/chat/completions", options.base_url));
        if let Some(key) = &options.key {
            post = post.bearer_auth(key.reveal());
        }
        let post = post.json(&wire::body(&options.model, request, messages)).send();
        let first_byte = options.timeouts.first_byte;
        let started = Instant::now();
        let response = match tokio::time::timeout(first_byte, post).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(TryError::unreached(describe(&error))),
            Ok(Err(error)) => return Err(TryError::transient(describe(&error))),
            Err(_) => return Err(TryError::transient(format!("no answer within {first_byte:?}"))),
        };
        let status = response.status();
        if status.is_success() {
            return read_answer(response, request, options, pieces, started).await;
        }
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let sent = header(reqwest::header::DATE);
        let retry_after_ms = header(reqwest::header::RETRY_AFTER).and_then(|text| retry_after_ms(text, sent));
        let reason = super::stream::read_fault(response, options).await;
        let reason = format!("HTTP {}: {reason}", status.as_u16());
        Err(match status.as_u16() {
            408 | 409 | 429 => TryError {
                error: GenerateError::Unavailable { reason, retry_after_ms },
                retry: true,
                // Overload of one caller is no fault of the server.
                outcome: Outcome::Ignored,
            },
            500.. => TryError {
                error: GenerateError::Unavailable { reason, retry_after_ms },
                retry: true,
                outcome: Outcome::Failure,
            },
            _ => TryError { error: GenerateError::Rejected(reason), retry: false, outcome: Outcome::Success },
        })
    }
}

#[async_trait]
impl Generate for OpenAi {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            kind: "openai",
            name: self.options.model.clone(),
            architecture: String::new(),
            parameters: None,
            context_tokens: None,
            precision: String::new(),
            fingerprint: String::new(),
        }
    }

    fn closed_for(&self) -> Option<Duration> {
        self.breaker.lock().closed_for(self.now_ms()).map(Duration::from_millis)
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(GenerateError::Cancelled),
            result = self.converse(&request, pieces.as_ref()) => result,
        };
        if let Some(metrics) = &self.metrics {
            metrics.outcome(&result);
            if let Ok(completion) = &result {
                metrics.count(&completion.receipt);
            }
        }
        result
    }
}

/// What the tries of a request come to. A server that was asked and failed may have failed over this very request: that a
/// later try did not reach it takes nothing back.
fn sum_up(earlier: Option<GenerateError>, last: GenerateError) -> GenerateError {
    match (earlier, last) {
        (
            Some(asked @ GenerateError::Unavailable { .. }),
            GenerateError::Unreachable { .. } | GenerateError::BreakerOpen { .. },
        ) => asked,
        (_, last) => last,
    }
}

fn complete(text: String, receipt: &Receipt, finish: crate::job::Finish) -> Completion {
    Completion { text, finish, receipt: *receipt }
}

fn correct(messages: &mut Vec<Message>, constraint: &Constraint, answer: String, problem: &str) {
    messages.push(Message { role: Role::Assistant, text: answer, scope: Scope::Tenant });
    let text = wire::correction(constraint, problem);
    messages.push(Message { role: Role::User, text, scope: Scope::Tenant });
}

/// The chain of causes, without the address, which may hold secrets in its query.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text =
        if error.is_connect() { "no connection".to_string() } else { "connection failed".to_string() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110, section 10.2.3). A date is taken
/// relative to the response's own `Date`, so the two machines' clocks need not agree.
fn retry_after_ms(text: &str, sent: Option<&str>) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let sent = httpdate::parse_http_date(sent?).ok()?;
    Some(date.duration_since(sent).map_or(0, |wait| wait.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::retry_after_ms;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let sent = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after_ms("7", None), Some(7000));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:47 GMT", sent), Some(10_000));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:27 GMT", sent), Some(0));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:47 GMT", None), None);
        assert_eq!(retry_after_ms("soon", sent), None);
    }
}
