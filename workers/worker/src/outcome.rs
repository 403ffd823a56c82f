//! What became of an attempt, and its record in the store.

use std::time::Duration;

use bul_engine::{GenerateError, GenerateErrorClass};
use bul_job::{EventKind, Failure, FailureClass, State};
use bul_store::{Attempt, JobStatus, Output, StoreError, StoreErrorClass};
use bul_template::TemplateError;
use tracing::{error, info, warn};

use crate::Worker;

/// Waits between tries to record an outcome. Together they stay below any sensible lease: when
/// the lease is over, the dispatcher decides.
const RECORD_WAITS: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Why an attempt ended without its documents.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// The model was asked and failed: its own fault, or this job's; see `pardon`.
    Unanswered(Failure),
    /// The user cancelled the job.
    Cancelled,
    /// Another attempt has taken over, or the job has ended.
    Fenced,
    /// The process shuts down.
    Halting,
    /// A dependency is known to be down: nothing was tried, and no attempt is spent.
    Paused {
        /// Which, in words.
        reason: String,
    },
}

impl From<TemplateError> for Stop {
    /// A template gives the same result for the same data every time: never retried. A model that did not keep to the
    /// schema of its answer may do so the next time.
    fn from(error: TemplateError) -> Self {
        let (class, code) = match &error {
            TemplateError::Answer { .. } => (FailureClass::Transient, "answer_schema"),
            TemplateError::AnswerSchema(_) => (FailureClass::Permanent, "response_schema"),
            TemplateError::Unknown { .. }
            | TemplateError::Data { .. }
            | TemplateError::Body { .. }
            | TemplateError::Package { .. }
            | TemplateError::Plan(_)
            | TemplateError::Read { .. } => (FailureClass::Permanent, "template"),
        };
        Self::Failed(Failure { class, code: code.into(), message: error.to_string(), retry_after_ms: None })
    }
}

impl From<GenerateError> for Stop {
    fn from(error: GenerateError) -> Self {
        let class = match error.class() {
            GenerateErrorClass::Cancelled => return Self::Cancelled,
            // The model never saw this job, so it cannot have failed over it.
            GenerateErrorClass::Transient
                if matches!(error, GenerateError::BreakerOpen { .. } | GenerateError::Unreachable { .. }) =>
            {
                return Self::Paused { reason: error.to_string() };
            }
            GenerateErrorClass::Transient => FailureClass::Transient,
            GenerateErrorClass::Permanent => FailureClass::Permanent,
        };
        let code = match &error {
            GenerateError::Cancelled => "cancelled",
            GenerateError::TooLong { .. } => "prompt_too_long",
            GenerateError::Rejected(_) => "model_rejected",
            GenerateError::Unavailable { .. } => "model_unavailable",
            GenerateError::Unreachable { .. } => "model_unreachable",
            GenerateError::BreakerOpen { .. } => "model_breaker_open",
            GenerateError::Shape(_) => "model_shape",
            GenerateError::Engine(_) => "engine",
        };
        let retry_after_ms = error.retry_after_ms();
        let is_unanswered = matches!(error, GenerateError::Unavailable { .. });
        let failure = Failure { class, code: code.into(), message: error.to_string(), retry_after_ms };
        if is_unanswered { Self::Unanswered(failure) } else { Self::Failed(failure) }
    }
}

impl Worker {
    /// Records the outcome, trying again while the store is away. Returns its name for the metrics.
    pub(crate) async fn commit(&self, attempt: &Attempt, result: Result<Output, Stop>) -> &'static str {
        let started = std::time::Instant::now();
        let mut waits = RECORD_WAITS.iter();
        loop {
            match self.record(attempt, &result).await {
                Ok(outcome) => {
                    self.metrics.stage("commit", started.elapsed());
                    return outcome;
                }
                Err(e) if e.is_fenced() => {
                    warn!(attempt = attempt.attempt.0, "fenced off: another attempt has taken over");
                    return "fenced";
                }
                Err(e) if e.class() == StoreErrorClass::Transient => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => {
                        error!(error = %e, "the outcome could not be recorded; the job runs again when its lease is over");
                        return "unrecorded";
                    }
                },
                Err(e) => {
                    error!(error = %e, "the outcome could not be recorded");
                    return "unrecorded";
                }
            }
        }
    }

    async fn record(
        &self,
        attempt: &Attempt,
        result: &Result<Output, Stop>,
    ) -> Result<&'static str, StoreError> {
        let (id, no) = (attempt.id, attempt.attempt);
        match result {
            Ok(output) => {
                self.store.complete(id, no, output).await?;
                let total_ms = output.usage.total_ms.round() as u64;
                info!(attempt = no.0, tokens = output.usage.output_tokens, total_ms, "completed");
                let done = JobStatus {
                    state: State::Completed,
                    attempt: no,
                    due_at: None,
                    dead_reason: None,
                    message: None,
                };
                self.tell(attempt, done).await;
                Ok("completed")
            }
            Err(Stop::Failed(failure) | Stop::Unanswered(failure)) => {
                let status = self.store.fail(id, no, failure).await?;
                warn!(attempt = no.0, code = failure.code, error = failure.message, state = %status.state, "attempt failed");
                let outcome = if status.state == State::Dead { "dead" } else { "failed" };
                self.tell(attempt, status).await;
                Ok(outcome)
            }
            Err(Stop::Cancelled) => {
                let failure = Failure {
                    class: FailureClass::Cancelled,
                    code: "cancelled".into(),
                    message: "cancelled by the user".into(),
                    retry_after_ms: None,
                };
                let status = self.store.fail(id, no, &failure).await?;
                info!(attempt = no.0, "cancelled");
                self.tell(attempt, status).await;
                Ok("cancelled")
            }
            Err(Stop::Halting) => {
                let status = self.store.hand_back(id, no).await?;
                info!(attempt = no.0, "handed back unfinished: shutting down");
                self.tell(attempt, status).await;
                Ok("handed_back")
            }
            Err(Stop::Paused { reason }) => {
                let status = self.store.hand_back(id, no).await?;
                info!(attempt = no.0, reason, "handed back unfinished");
                self.tell(attempt, status).await;
                Ok("handed_back")
            }
            Err(Stop::Fenced) => Ok("fenced"),
        }
    }

    async fn tell(&self, attempt: &Attempt, status: JobStatus) {
        let kind =
            EventKind::State { state: status.state, attempt: status.attempt.0, message: status.message };
        self.event(attempt, kind).await;
    }
}
