//! Metrics of the engine and of the remote backend, all named `bul_engine_…`.
//!
//! Each stands in [`ALL`] with its labels and its meaning and is registered from there alone: `docs/metrics.md` is
//! written from the same lines.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::generate::{GenerateError, outcome_name};
use crate::kv::tier::disk::DiskCounts;
use crate::kv::tier::remote::RemoteCounts;
use crate::prefetch::PrefetchCounts;

/// A metric of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Name; counters end in `_total`, times are seconds.
    pub name: &'static str,
    /// Label, if it has one, and the label's values.
    pub label: Option<(&'static str, &'static str)>,
    /// Meaning.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $name:literal $({ $label:literal: $values:literal })?, $help:literal;)*) => {
        $(pub(crate) const $id: MetricInfo = MetricInfo { name: $name, label: metrics!(@ $($label, $values)?), help: $help };)*
        /// All of them.
        pub const ALL: &[MetricInfo] = &[$($id),*];
    };
    (@ $label:literal, $values:literal) => { Some(($label, $values)) };
    (@) => { None };
}

metrics! {
    TOKENS = "bul_engine_tokens_total" {"kind": "prompt, cached, generated"},
        "Tokens of answered requests; cached ones are also prompt tokens.";
    REQUESTS = "bul_engine_requests_total" {"outcome": "completed, cancelled, failed, rejected"},
        "Requests that ended. Failed: another try may help; rejected: none will.";
    QUEUE_SECONDS = "bul_engine_queue_seconds", "Time an answered request waited for admission.";
    FIRST_TOKEN_SECONDS = "bul_engine_first_token_seconds",
        "Time from the admission of an answered request to the first token of its answer.";
    STEP_SECONDS = "bul_engine_step_seconds", "Time of one step of the model.";
    RUNNING = "bul_engine_running", "Sequences being computed.";
    WAITING = "bul_engine_waiting", "Requests waiting for admission.";
    KV_BLOCKS = "bul_engine_kv_blocks" {"state": "used, cached"},
        "KV blocks that running sequences hold, and blocks kept for later ones.";
    KV_EVICTED = "bul_engine_kv_blocks_evicted_total", "KV blocks evicted from the cache by the policy in force.";
    PREEMPTIONS = "bul_engine_preemptions_total", "Requests that gave their KV blocks back and start again later.";
    RECOMPUTED = "bul_engine_recomputed_tokens_total", "Tokens computed again because of preemptions.";
    ATTACHED = "bul_engine_attached_total", "Requests that shared the answer of the same request under way.";
    TIER_TOKENS = "bul_engine_tier_tokens_total" {"tier": "host, disk, remote"},
        "Prompt tokens restored from a slower tier; they are also cached tokens.";
    SHADOW_HITS = "bul_engine_shadow_hit_tokens_total" {"policy": "planned, lru, lfu, adaptive, segmented, ttl"},
        "Prompt tokens that each eviction policy would have found in the cache, where policies are compared.";
    FORECAST_PREFIXES = "bul_engine_forecast_prefixes", "Beginnings of prompts that the latest forecast names.";
    PREFETCH = "bul_engine_prefetch_blocks_total" {"outcome": "brought, used, wasted"},
        "KV blocks brought from slower tiers ahead of need.";
    DISK = "bul_engine_disk_blocks_total" {"outcome": "written, failed, unreadable, damaged"},
        "KV blocks at the files. Failed: not written, the disk may be full; unreadable, damaged: lost, and computed again.";
    DISK_FAILING = "bul_engine_disk_failing",
        "1 from a failed write of a KV block to a file until one succeeds; tried again every few seconds. Reads go on.";
    REMOTE = "bul_engine_remote_blocks_total" {"outcome": "fetched, missing, forged, written, skipped"},
        "KV blocks at the store that engines share. Forged: its digest was wrong, it was not believed.";
    BREAKER_STATE = "bul_engine_breaker_state", "Circuit breaker of a remote model: 0 closed, 1 half-open, 2 open.";
    TRIAL = "bul_engine_trial" {"measure": "jobs_a, jobs_b, hit_rate_a, hit_rate_b, hit_rate_chance, text_ms_a, text_ms_b, text_ms_chance, tokens_per_second_a, tokens_per_second_b, tokens_per_second_chance"},
        "How a trial of two configurations stands (model.trial), over the last 4000 jobs. Chance: how likely such a difference is without a cause.";
}

/// Handles to all metrics; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub tokens: IntCounterVec,
    pub requests: IntCounterVec,
    pub queue_seconds: Histogram,
    pub first_token_seconds: Histogram,
    pub step_seconds: Histogram,
    pub running: IntGauge,
    pub waiting: IntGauge,
    pub kv_blocks: IntGaugeVec,
    pub kv_evicted: IntCounter,
    pub preemptions: IntCounter,
    pub recomputed: IntCounter,
    pub attached: IntCounter,
    pub tier_tokens: IntCounterVec,
    pub shadow_hits: IntCounterVec,
    pub forecast_prefixes: IntGauge,
    pub prefetch: IntCounterVec,
    pub disk: IntCounterVec,
    pub disk_failing: IntGauge,
    pub remote: IntCounterVec,
    pub breaker_state: IntGauge,
}

impl Metrics {
    /// Creates and registers all metrics; of one of several engines with its number as the label `engine`.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry, engine: Option<usize>) -> prometheus::Result<Self> {
        let opts = |metric: MetricInfo| {
            let opts = Opts::new(metric.name, metric.help);
            engine.into_iter().fold(opts, |opts, number| opts.const_label("engine", number.to_string()))
        };
        let counters = |metric| add(registry, IntCounterVec::new(opts(metric), &labels(metric))?);
        let gauges = |metric| add(registry, IntGaugeVec::new(opts(metric), &labels(metric))?);
        let counter = |metric| add(registry, IntCounter::with_opts(opts(metric))?);
        let gauge = |metric| add(registry, IntGauge::with_opts(opts(metric))?);
        let times = |metric, from, count| {
            let buckets = prometheus::exponential_buckets(from, 2.0, count)?;
            add(registry, Histogram::with_opts(HistogramOpts::from(opts(metric)).buckets(buckets))?)
        };
        Ok(Self {
            tokens: counters(TOKENS)?,
            requests: counters(REQUESTS)?,
            queue_seconds: times(QUEUE_SECONDS, 0.001, 18)?,
            first_token_seconds: times(FIRST_TOKEN_SECONDS, 0.001, 18)?,
            step_seconds: times(STEP_SECONDS, 0.0005, 14)?,
            running: gauge(RUNNING)?,
            waiting: gauge(WAITING)?,
            kv_blocks: gauges(KV_BLOCKS)?,
            kv_evicted: counter(KV_EVICTED)?,
            preemptions: counter(PREEMPTIONS)?,
            recomputed: counter(RECOMPUTED)?,
            attached: counter(ATTACHED)?,
            tier_tokens: counters(TIER_TOKENS)?,
            shadow_hits: counters(SHADOW_HITS)?,
            forecast_prefixes: gauge(FORECAST_PREFIXES)?,
            prefetch: counters(PREFETCH)?,
            disk: counters(DISK)?,
            disk_failing: gauge(DISK_FAILING)?,
            remote: counters(REMOTE)?,
            breaker_state: gauge(BREAKER_STATE)?,
        })
    }

    /// Counts the end of a request.
    pub fn outcome<T>(&self, result: &Result<T, GenerateError>) {
        self.requests.with_label_values(&[outcome_name(result)]).inc();
    }

    /// Shows what is forecast now.
    pub fn expect(&self, prefixes: usize) {
        self.forecast_prefixes.set(prefixes as i64);
    }

    /// Brings the counts of looking ahead up to these.
    pub fn count_ahead(&self, prefetch: PrefetchCounts, remote: RemoteCounts) {
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

    /// Brings the counts of files up to these.
    pub fn count_disk(&self, disk: DiskCounts) {
        self.disk_failing.set(i64::from(disk.is_failing));
        for (outcome, count) in [
            ("written", disk.written),
            ("failed", disk.failed),
            ("unreadable", disk.unreadable),
            ("damaged", disk.damaged),
        ] {
            raise(&self.disk, outcome, count);
        }
    }

    /// Counts the tokens of a finished request, and the time it waited for them.
    pub fn count(&self, receipt: &crate::job::Receipt) {
        self.tokens.with_label_values(&["prompt"]).inc_by(receipt.prompt_tokens);
        self.tokens.with_label_values(&["cached"]).inc_by(receipt.cached_tokens);
        self.tier_tokens.with_label_values(&["host"]).inc_by(receipt.host_tokens);
        self.tier_tokens.with_label_values(&["disk"]).inc_by(receipt.disk_tokens);
        self.tier_tokens.with_label_values(&["remote"]).inc_by(receipt.remote_tokens);
        self.queue_seconds.observe(receipt.queue_ms / 1e3);
        self.first_token_seconds.observe(receipt.first_token_ms / 1e3);
        if receipt.attached == 0 {
            self.tokens.with_label_values(&["generated"]).inc_by(receipt.output_tokens);
        }
    }
}

/// Brings a counter that follows another one up to its value.
fn raise(counter: &IntCounterVec, outcome: &str, to: u64) {
    let counter = counter.with_label_values(&[outcome]);
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn labels(metric: MetricInfo) -> Vec<&'static str> {
    metric.label.map(|(name, _)| name).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::policy::Eviction;

    #[test]
    fn what_is_registered_is_what_is_listed() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, None).unwrap();
        let described: Vec<prometheus::core::Desc> = [
            metrics.tokens.desc(),
            metrics.requests.desc(),
            metrics.queue_seconds.desc(),
            metrics.first_token_seconds.desc(),
            metrics.step_seconds.desc(),
            metrics.running.desc(),
            metrics.waiting.desc(),
            metrics.kv_blocks.desc(),
            metrics.kv_evicted.desc(),
            metrics.preemptions.desc(),
            metrics.recomputed.desc(),
            metrics.attached.desc(),
            metrics.tier_tokens.desc(),
            metrics.shadow_hits.desc(),
            metrics.forecast_prefixes.desc(),
            metrics.prefetch.desc(),
            metrics.disk.desc(),
            metrics.disk_failing.desc(),
            metrics.remote.desc(),
            metrics.breaker_state.desc(),
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
        // A trial registers its own, and only where there is one.
        let listed: Vec<(&str, Vec<&str>)> =
            ALL.iter().filter(|m| m.name != TRIAL.name).map(|m| (m.name, labels(*m))).collect();
        let registered: Vec<(&str, Vec<&str>)> = described
            .iter()
            .map(|d| (d.fq_name.as_str(), d.variable_labels.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(registered, listed);
        assert!(ALL.iter().all(|m| m.name.starts_with("bul_engine_") && m.help.ends_with('.')));
    }

    #[test]
    fn every_policy_and_tier_is_named() {
        let values = |metric: MetricInfo| metric.label.map(|(_, values)| values).unwrap_or_default();
        let policies: Vec<&str> = Eviction::ALL.iter().map(|policy| policy.name()).collect();
        let mut listed: Vec<&str> = values(SHADOW_HITS).split(", ").collect();
        listed.sort_by_key(|name| policies.iter().position(|policy| policy == name));
        assert_eq!(listed, policies);
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, None).unwrap();
        metrics.count(&crate::job::Receipt { output_tokens: 1, ..Default::default() });
        metrics.count_ahead(PrefetchCounts::default(), RemoteCounts::default());
        metrics.count_disk(DiskCounts::default());
        for family in registry.gather() {
            let Some(metric) = ALL.iter().find(|m| m.name == family.name()) else {
                panic!("{}", family.name())
            };
            for sample in family.get_metric() {
                let used = sample.get_label().iter().map(|label| label.value());
                assert!(
                    used.into_iter().all(|value| values(*metric).split(", ").any(|v| v == value)),
                    "{family:?}"
                );
            }
        }
    }
}
