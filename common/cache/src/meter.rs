//! Counters of the cache. They are also its statistics: there is no second set of numbers to disagree.
//!
//! One [`CacheMetrics`] per registry; each tier has a [`Meter`] of it. Names stand in `bul_telemetry::names`.

use bul_runtime::breaker::BreakerState;
use bul_telemetry::{counter, gauge, names};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::{Hit, Kept, TierStats};

/// The metrics of a cache and of the shared breakers.
#[derive(Clone)]
pub struct CacheMetrics {
    reads: IntCounterVec,
    writes: IntCounterVec,
    bytes_moved: IntCounterVec,
    bytes: IntGaugeVec,
    entries: IntGaugeVec,
    answers: IntCounterVec,
    breakers: IntGaugeVec,
}

impl CacheMetrics {
    /// Registers them; once per registry. `breakers` are shared with the other users of circuit breakers.
    pub fn new(registry: &Registry, breakers: IntGaugeVec) -> Self {
        Self {
            reads: counter(registry, names::CACHE_READS, &["tier", "outcome"]),
            writes: counter(registry, names::CACHE_WRITES, &["tier", "outcome"]),
            bytes_moved: counter(registry, names::CACHE_BYTES_MOVED, &["tier", "direction"]),
            bytes: gauge(registry, names::CACHE_BYTES, &["tier"]),
            entries: gauge(registry, names::CACHE_ENTRIES, &["tier"]),
            answers: counter(registry, names::CACHE_ANSWERS, &["source"]),
            breakers,
        }
    }

    /// Metrics nobody scrapes, for tests and tools.
    pub fn unregistered() -> Self {
        let registry = Registry::new();
        let breakers = bul_telemetry::breakers(&registry);
        Self::new(&registry, breakers)
    }

    pub(crate) fn tier(&self, tier: &str) -> Meter {
        let read = |outcome| self.reads.with_label_values(&[tier, outcome]);
        let write = |outcome| self.writes.with_label_values(&[tier, outcome]);
        Meter {
            hit: read("hit"),
            miss: read("miss"),
            corrupt: read("corrupt"),
            failed: read("failed"),
            skipped: read("skipped"),
            kept: write("kept"),
            too_large: write("too_large"),
            dropped: write("dropped"),
            bytes_read: self.bytes_moved.with_label_values(&[tier, "read"]),
            bytes_written: self.bytes_moved.with_label_values(&[tier, "written"]),
            bytes: self.bytes.with_label_values(&[tier]),
            entries: self.entries.with_label_values(&[tier]),
        }
    }

    pub(crate) fn answer(&self, source: &str) {
        self.answers.with_label_values(&[source]).inc();
    }

    pub(crate) fn breaker(&self, name: &str) -> BreakerGauge {
        BreakerGauge(self.breakers.with_label_values(&[name]))
    }
}

/// Counters of one tier.
#[derive(Clone)]
pub(crate) struct Meter {
    hit: IntCounter,
    miss: IntCounter,
    corrupt: IntCounter,
    failed: IntCounter,
    skipped: IntCounter,
    kept: IntCounter,
    too_large: IntCounter,
    dropped: IntCounter,
    bytes_read: IntCounter,
    bytes_written: IntCounter,
    bytes: IntGauge,
    entries: IntGauge,
}

/// Why a look-up found no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    Miss,
    Corrupt,
    Failed,
    Skipped,
}

impl Meter {
    /// Counts a look-up and gives the caller the part that concerns it.
    pub(crate) fn read(&self, found: Result<Hit, Nothing>) -> Option<Hit> {
        match found {
            Ok(hit) => {
                self.hit.inc();
                self.bytes_read.inc_by(hit.entry.body.len() as u64);
                return Some(hit);
            }
            Err(Nothing::Miss) => self.miss.inc(),
            Err(Nothing::Corrupt) => self.corrupt.inc(),
            Err(Nothing::Failed) => self.failed.inc(),
            Err(Nothing::Skipped) => self.skipped.inc(),
        }
        None
    }

    /// Counts a write of a text of `bytes`.
    pub(crate) fn wrote(&self, kept: Kept, bytes: usize) -> Kept {
        match kept {
            Kept::Yes => {
                self.kept.inc();
                self.bytes_written.inc_by(bytes as u64);
            }
            Kept::TooLarge => self.too_large.inc(),
            Kept::Dropped => self.dropped.inc(),
        }
        kept
    }

    pub(crate) fn holds(&self, bytes: u64, entries: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    pub(crate) fn stats(&self) -> TierStats {
        TierStats {
            hits: self.hit.get(),
            misses: self.miss.get(),
            corrupt: self.corrupt.get(),
            failed: self.failed.get(),
            skipped: self.skipped.get(),
            kept: self.kept.get(),
            too_large: self.too_large.get(),
            dropped: self.dropped.get(),
            bytes_read: self.bytes_read.get(),
            bytes_written: self.bytes_written.get(),
            bytes: self.bytes.get().max(0) as u64,
            entries: self.entries.get().max(0) as u64,
        }
    }
}

/// Shows the state of one breaker.
#[derive(Clone)]
pub(crate) struct BreakerGauge(IntGauge);

impl BreakerGauge {
    pub(crate) fn show(&self, state: BreakerState) {
        self.0.set(match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        });
    }
}
