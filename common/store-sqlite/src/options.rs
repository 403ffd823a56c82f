//! Settings of the store and its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bul_job::{Rules, TenantLimits, Timestamp};

/// Source of time. The store makes it monotone, whatever it gives.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of a [`crate::SqliteStore`].
#[derive(Clone)]
pub struct Options {
    /// Time for leases, due times and fires; the system's by default.
    pub clock: Clock,
    /// Waiting times and limits of the state machine.
    pub rules: Rules,
    /// Limits of tenants that have none of their own.
    pub limits: TenantLimits,
    /// How long SQLite waits for another process's lock before a try counts as failed; a write tries
    /// three times. Too low: a backup beside it makes writes fail. Too high: callers hang.
    pub busy_timeout: Duration,
    /// How long a confirmed publication may wait before it is written, since most jobs begin before it
    /// is over and then need no write; zero to write it at once. At most a quarter of the grace period. A
    /// crash in between only means a second publication. Too high: more of those after a crash.
    pub confirm_delay: Duration,
    /// Seed of the jitter of retries; random when absent, so that two processes do not retry in step.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(chrono::Utc::now),
            rules: Rules::default(),
            limits: TenantLimits::default(),
            busy_timeout: Duration::from_secs(3),
            confirm_delay: Duration::from_secs(1),
            seed: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .field("busy_timeout", &self.busy_timeout)
            .field("confirm_delay", &self.confirm_delay)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A clock that never goes backwards within the process and counts whole microseconds, as the tables
/// do: a system clock that is set back must not make leases longer.
#[derive(Clone)]
pub(crate) struct Monotone {
    clock: Clock,
    latest: Arc<AtomicI64>,
}

impl Monotone {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, latest: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let read = (self.clock)().timestamp_micros();
        let latest = self.latest.fetch_max(read, Ordering::AcqRel).max(read);
        Timestamp::from_timestamp_micros(latest).unwrap_or(Timestamp::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_backwards() {
        let raw = Arc::new(AtomicI64::new(2_000_000));
        let source = Arc::clone(&raw);
        let at = move || Timestamp::from_timestamp_micros(source.load(Ordering::Relaxed)).unwrap();
        let clock = Monotone::new(Arc::new(at));
        let first = clock.now();
        raw.store(1_000_000, Ordering::Relaxed);
        assert_eq!(clock.now(), first);
        raw.store(3_000_000, Ordering::Relaxed);
        assert!(clock.now() > first);
    }
}
