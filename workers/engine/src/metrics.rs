//! Metrics of the engine and of the remote backend, all named `bul_engine_…`.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::generate::{GenerateError, GenerateErrorClass};
use crate::kv::tier::remote::RemoteCounts;
use crate::prefetch::PrefetchCounts;

/// Handles to all metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// `bul_engine_tokens_total{kind="prompt|cached|generated"}`
    pub tokens: IntCounterVec,
    /// `bul_engine_requests_total{outcome="completed|cancelled|failed|rejected"}`
    pub requests: IntCounterVec,
    /// `bul_engine_step_seconds`
    pub step_seconds: Histogram,
    /// `bul_engine_running`
    pub running: IntGauge,
    /// `bul_engine_waiting`
    pub waiting: IntGauge,
    /// `bul_engine_kv_blocks{state="used|cached"}`
    pub kv_blocks: IntGaugeVec,
    /// `bul_engine_kv_blocks_evicted_total`
    pub kv_evicted: IntCounter,
    /// `bul_engine_preemptions_total`
    pub preemptions: IntCounter,
    /// `bul_engine_attached_total`
    pub attached: IntCounter,
    /// `bul_engine_tier_tokens_total{tier="host|disk|remote"}`
    pub tier_tokens: IntCounterVec,
    /// `bul_engine_shadow_hit_tokens_total{policy}`
    pub shadow_hits: IntCounterVec,
    /// `bul_engine_prefetch_blocks_total{outcome="brought|used|wasted"}`
    pub prefetch: IntCounterVec,
    /// `bul_engine_remote_blocks_total{outcome="fetched|missing|forged|written|skipped"}`
    pub remote: IntCounterVec,
    /// `bul_engine_breaker_state`: 0 closed, 1 half-open, 2 open
    pub breaker_state: IntGauge,
}

impl Metrics {
    /// Creates and registers all metrics.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let steps = HistogramOpts::new("bul_engine_step_seconds", "Time of one model step")
            .buckets(prometheus::exponential_buckets(0.0005, 2.0, 14)?);
        Ok(Self {
            tokens: add(
                registry,
                IntCounterVec::new(Opts::new("bul_engine_tokens_total", "Tokens by kind"), &["kind"])?,
            )?,
            requests: add(
                registry,
                IntCounterVec::new(
                    Opts::new("bul_engine_requests_total", "Requests by outcome"),
                    &["outcome"],
                )?,
            )?,
            step_seconds: add(registry, Histogram::with_opts(steps)?)?,
            running: add(registry, IntGauge::new("bul_engine_running", "Sequences being computed")?)?,
            waiting: add(registry, IntGauge::new("bul_engine_waiting", "Requests waiting for admission")?)?,
            kv_blocks: add(
                registry,
                IntGaugeVec::new(Opts::new("bul_engine_kv_blocks", "KV blocks by state"), &["state"])?,
            )?,
            kv_evicted: add(
                registry,
                IntCounter::new("bul_engine_kv_blocks_evicted_total", "KV blocks evicted from the cache")?,
            )?,
            preemptions: add(
                registry,
                IntCounter::new("bul_engine_preemptions_total", "Requests that gave their KV blocks back")?,
            )?,
            attached: add(
                registry,
                IntCounter::new(
                    "bul_engine_attached_total",
                    "Requests that shared the answer of the same request under way",
                )?,
            )?,
            tier_tokens: add(
                registry,
                IntCounterVec::new(
                    Opts::new("bul_engine_tier_tokens_total", "Prompt tokens restored, by tier"),
                    &["tier"],
                )?,
            )?,
            shadow_hits: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "bul_engine_shadow_hit_tokens_total",
                        "Prompt tokens that each eviction policy would have found in the cache",
                    ),
                    &["policy"],
                )?,
            )?,
            prefetch: add(
                registry,
                IntCounterVec::new(
                    Opts::new("bul_engine_prefetch_blocks_total", "KV blocks brought ahead of need"),
                    &["outcome"],
                )?,
            )?,
            remote: add(
                registry,
                IntCounterVec::new(
                    Opts::new("bul_engine_remote_blocks_total", "KV blocks at the store that engines share"),
                    &["outcome"],
                )?,
            )?,
            breaker_state: add(
                registry,
                IntGauge::new("bul_engine_breaker_state", "Circuit breaker: 0 closed, 1 half-open, 2 open")?,
            )?,
        })
    }

    /// Counts the end of a request.
    pub fn outcome<T>(&self, result: &Result<T, GenerateError>) {
        let outcome = match result.as_ref().map_err(GenerateError::class) {
            Ok(_) => "completed",
            Err(GenerateErrorClass::Cancelled) => "cancelled",
            Err(GenerateErrorClass::Transient) => "failed",
            Err(GenerateErrorClass::Permanent) => "rejected",
        };
        self.requests.with_label_values(&[outcome]).inc();
    }

    /// Brings the counts of looking ahead up to these.
    pub fn count_ahead(&self, prefetch: PrefetchCounts, remote: RemoteCounts) {
        let raise = |counter: &IntCounterVec, outcome: &str, to: u64| {
            let counter = counter.with_label_values(&[outcome]);
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        for (outcome, count) in
            [("brought", prefetch.brought), ("used", prefetch.used), ("wasted", prefetch.wasted)]
        {
            raise(&self.prefetch, outcome, count);
        }
        for (outcome, count) in [
            ("fetched", remote.fetched),
            ("missing", remote.missing),
            ("forged", remote.forged),
            ("written", remote.written),
            ("skipped", remote.skipped),
        ] {
            raise(&self.remote, outcome, count);
        }
    }

    /// Counts the tokens of a finished request.
    pub fn count_tokens(&self, receipt: &crate::job::Receipt) {
        self.tokens.with_label_values(&["prompt"]).inc_by(receipt.prompt_tokens);
        self.tokens.with_label_values(&["cached"]).inc_by(receipt.cached_tokens);
        self.tier_tokens.with_label_values(&["host"]).inc_by(receipt.host_tokens);
        self.tier_tokens.with_label_values(&["disk"]).inc_by(receipt.disk_tokens);
        self.tier_tokens.with_label_values(&["remote"]).inc_by(receipt.remote_tokens);
        if receipt.attached == 0 {
            self.tokens.with_label_values(&["generated"]).inc_by(receipt.output_tokens);
        }
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
