//! Metrics of the worker, under the names of `bul-telemetry`.

use std::time::Duration;

use bul_engine::Receipt;
use bul_telemetry::names;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};

/// Counters of a worker.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) running: IntGaugeVec,
    attempts: IntCounterVec,
    seconds: HistogramVec,
    tokens: IntCounterVec,
    taken: IntCounterVec,
    forecast: IntGaugeVec,
    pub(crate) breaker: IntGaugeVec,
}

impl Metrics {
    /// Registers them; once per registry. `breaker` is shared with the other users of circuit breakers.
    pub fn new(registry: &Registry, breaker: IntGaugeVec) -> Self {
        Self {
            running: bul_telemetry::gauge(registry, names::RUNNING, &["lane"]),
            attempts: bul_telemetry::counter(registry, names::ATTEMPTS, &["template", "outcome"]),
            seconds: bul_telemetry::seconds(registry, names::ATTEMPT_SECONDS, &["stage"]),
            tokens: bul_telemetry::counter(registry, names::TOKENS, &["kind"]),
            taken: bul_telemetry::counter(registry, names::AFFINITY, &["how"]),
            forecast: bul_telemetry::gauge(registry, names::FORECAST, &["of"]),
            breaker,
        }
    }

    pub(crate) fn stage(&self, stage: &str, took: Duration) {
        self.seconds.with_label_values(&[stage]).observe(took.as_secs_f64());
    }

    pub(crate) fn attempt_ended(&self, template: &str, outcome: &str, took: Duration) {
        self.attempts.with_label_values(&[template, outcome]).inc();
        self.stage("all", took);
    }

    /// Messages that were taken, by whose partition they lay in.
    pub(crate) fn taken(&self, how: &str, messages: usize) {
        self.taken.with_label_values(&[how]).inc_by(messages as u64);
    }

    #[cfg(test)]
    pub(crate) fn taken_so_far(&self, how: &str) -> u64 {
        self.taken.with_label_values(&[how]).get()
    }

    /// Requests that the model is told of.
    pub(crate) fn forecast(&self, in_hand: u64, backlog: u64) {
        for (of, requests) in [("in_hand", in_hand), ("backlog", backlog)] {
            self.forecast.with_label_values(&[of]).set(i64::try_from(requests).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn tokens(&self, receipt: &Receipt) {
        self.tokens.with_label_values(&["prompt"]).inc_by(receipt.prompt_tokens);
        self.tokens.with_label_values(&["cached"]).inc_by(receipt.cached_tokens);
        self.tokens.with_label_values(&["output"]).inc_by(receipt.output_tokens);
    }
}
