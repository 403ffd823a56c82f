//! Metrics of the scheduler, under the names of `bul-telemetry`.

use bul_telemetry::names;
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

/// Counters of a scheduler.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) dispatched: IntCounterVec,
    pub(crate) fires: IntCounterVec,
    pub(crate) pruned: IntCounterVec,
    pub(crate) leader: IntGaugeVec,
    pub(crate) depth: IntGaugeVec,
    pub(crate) jobs: IntGaugeVec,
}

impl Metrics {
    /// Registers them; once per registry.
    pub fn new(registry: &Registry) -> Self {
        Self {
            dispatched: bul_telemetry::counter(registry, names::DISPATCHED, &["what"]),
            fires: bul_telemetry::counter(registry, names::SCHEDULE_FIRES, &["outcome"]),
            pruned: bul_telemetry::counter(registry, names::PRUNED, &["what"]),
            leader: bul_telemetry::gauge(registry, names::LEADER, &[]),
            depth: bul_telemetry::gauge(registry, names::LANE_DEPTH, &["lane", "kind"]),
            jobs: bul_telemetry::gauge(registry, names::JOBS, &["state"]),
        }
    }
}
