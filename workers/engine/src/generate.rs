//! The one seam between the worker and whatever writes prose: the local engine, an
//! OpenAI-compatible server, or the scripted model.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::forecast::{ExpectedPrefix, Forecast};
use crate::job::{Completion, Receipt, Request};
use crate::report::CacheReport;

/// What is behind the trait, for `bul model info`, `bul doctor` and the log.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// `local`, `openai` or `scripted`.
    pub kind: &'static str,
    /// Name, for example of the directory, file or remote model.
    pub name: String,
    /// `llama`, `qwen2`, `qwen3`, or empty when unknown.
    pub architecture: String,
    /// Number of parameters, when known.
    pub parameters: Option<u64>,
    /// Longest prompt plus answer, tokens, when known.
    pub context_tokens: Option<usize>,
    /// Precision of the weights, for example `f16`, `q8_0`, or empty.
    pub precision: String,
    /// blake3 over config, tokenizer and weights; empty for remote models.
    pub fingerprint: String,
}

/// How a caller must treat a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerateErrorClass {
    /// May succeed later: time-out, overload, connection, open breaker.
    Transient,
    /// Will fail again with the same request.
    Permanent,
    /// The caller cancelled.
    Cancelled,
}

/// A failed generation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GenerateError {
    /// The token was cancelled.
    #[error("generation was cancelled")]
    Cancelled,
    /// Prompt and answer do not fit the model's context.
    #[error(
        "the prompt has {prompt_tokens} tokens and may answer with {max_tokens}, but the model's context holds {context_tokens}"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Tokens that fit.
        context_tokens: usize,
    },
    /// The request itself is wrong.
    #[error("the model refuses the request: {0}")]
    Rejected(String),
    /// The model was asked and failed, or is overloaded; `retry_after_ms` when it said so.
    #[error("the model is unavailable: {reason}")]
    Unavailable {
        /// Reason.
        reason: String,
        /// What `Retry-After` said, milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// No connection to the model's server: it never saw the request.
    #[error("the model cannot be reached: {reason}")]
    Unreachable {
        /// Reason.
        reason: String,
    },
    /// The circuit breaker is open: nothing was tried.
    #[error("the circuit breaker of the model is open for another {retry_after_ms} ms")]
    BreakerOpen {
        /// Milliseconds until the next probe.
        retry_after_ms: u64,
    },
    /// The answer did not keep to the constraint, however often it was asked.
    #[error("the model's answer has the wrong shape: {0}")]
    Shape(String),
    /// A fault inside the engine.
    #[error("the engine failed: {0}")]
    Engine(String),
}

impl GenerateError {
    /// Decides between retry and dead letter; the text never does.
    pub fn class(&self) -> GenerateErrorClass {
        match self {
            Self::Cancelled => GenerateErrorClass::Cancelled,
            Self::TooLong { .. } | Self::Rejected(_) => GenerateErrorClass::Permanent,
            Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::BreakerOpen { .. }
            | Self::Shape(_)
            | Self::Engine(_) => GenerateErrorClass::Transient,
        }
    }

    /// The earliest sensible time to try again, when the model said one.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after_ms, .. } => *retry_after_ms,
            Self::BreakerOpen { retry_after_ms } => Some(*retry_after_ms),
            Self::Cancelled
            | Self::TooLong { .. }
            | Self::Rejected(_)
            | Self::Unreachable { .. }
            | Self::Shape(_)
            | Self::Engine(_) => None,
        }
    }
}

/// How a request ended, in metrics and spans.
pub(crate) fn outcome_name<T>(result: &Result<T, GenerateError>) -> &'static str {
    match result.as_ref().map_err(GenerateError::class) {
        Ok(_) => "completed",
        Err(GenerateErrorClass::Cancelled) => "cancelled",
        Err(GenerateErrorClass::Transient) => "failed",
        Err(GenerateErrorClass::Permanent) => "rejected",
    }
}

/// Pieces of an answer while it is being written. The channel is bounded; a reader that is gone
/// or slow never holds up generation (pieces are dropped, the completion holds the whole text).
pub type Pieces = mpsc::Sender<String>;

/// Something that writes text.
#[async_trait]
pub trait Generate: Send + Sync {
    /// What this is.
    fn info(&self) -> ModelInfo;

    /// How long no request should be sent, since the model's circuit breaker is open; `None` when one may
    /// be. Workers pull no jobs meanwhile.
    fn closed_for(&self) -> Option<std::time::Duration> {
        None
    }

    /// Says which prefixes waiting jobs will ask for. A model that keeps a cache keeps these; others
    /// need not know. Cheap; each call replaces what was said before, so a lost one does no harm.
    fn announce(&self, _forecast: &Forecast) {}

    /// Whether this model makes use of [`Self::announce`], so that it is worth finding out what is coming.
    fn heeds_forecasts(&self) -> bool {
        false
    }

    /// Computes a prefix before anybody asks for it, behind all other work, and keeps it for a time:
    /// templates that will be needed, right after the start. Without a cache nothing happens.
    ///
    /// # Errors
    /// As of `generate`.
    async fn warm_up(&self, _prefix: &ExpectedPrefix, _keep_for: Duration) -> Result<Receipt, GenerateError> {
        Ok(Receipt::default())
    }

    /// What the model's cache holds and found; `None` where there is none to look into.
    async fn cache_report(&self) -> Option<CacheReport> {
        None
    }

    /// Writes one answer. Returns soon after `cancel` fires, with [`GenerateError::Cancelled`].
    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError>;
}
