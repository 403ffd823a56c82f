//! Settings of the store and its clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// How far the system's clock may lie behind without being believed to have been set back, microseconds.
const BEHIND_MAX: i64 = 100_000;
/// Of the time that passes while the system's clock lies behind, this part is counted. More: schedules run ahead of the
/// wall for longer. Less: waits take longer meanwhile.
const SLOWED_BY: i64 = 2;

/// A clock that never goes backwards within the process and counts whole microseconds, as the tables
/// do: a system clock that is set back must not make leases longer.
///
/// Nor does it stand still until the system's clock has caught up: after a step of three hours no retry would come and
/// no lease would end for so long. It goes on at half its pace instead, by the steady clock, and the two meet.
#[derive(Clone)]
pub(crate) struct Monotone {
    clock: Clock,
    latest: Arc<Mutex<Latest>>,
}

/// What was told last, and when by the steady clock.
struct Latest {
    micros: i64,
    at: Instant,
}

impl Monotone {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, latest: Arc::new(Mutex::new(Latest { micros: i64::MIN, at: Instant::now() })) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (read, at) = ((self.clock)().timestamp_micros(), Instant::now());
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let micros = after(&latest, read, at);
        // Moments too short to count are left to the next call.
        if micros != latest.micros || read >= latest.micros {
            *latest = Latest { micros, at };
        }
        Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::MAX_UTC)
    }
}

/// The time after `latest` when the system's clock says `read` and the steady one `at`.
fn after(latest: &Latest, read: i64, at: Instant) -> i64 {
    if read >= latest.micros {
        return read;
    }
    if latest.micros - read < BEHIND_MAX {
        return latest.micros;
    }
    let passed = i64::try_from(at.saturating_duration_since(latest.at).as_micros()).unwrap_or(i64::MAX);
    latest.micros.saturating_add(passed / SLOWED_BY)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_at_half_its_pace() {
        let (start, second) = (Instant::now(), 1_000_000);
        let latest = Latest { micros: 10_000 * second, at: start };
        let later = |seconds: u64| start + Duration::from_secs(seconds);
        for (read, seconds, expected) in [
            // Set back by an hour: what was to come in ten seconds comes in twenty.
            (6_400, 20, 10_010),
            // It has caught up after twice the step.
            (6_400 + 7_200, 7_200, 13_600),
            // A hair behind is what two threads see.
            (10_000, 5, 10_000),
            (10_003, 3, 10_003),
        ] {
            assert_eq!(after(&latest, read * second, later(seconds)), expected * second, "{read} {seconds}");
        }
        assert_eq!(after(&latest, 10_000 * second - 5, later(9)), 10_000 * second);
    }

    #[test]
    fn time_never_goes_backwards() {
        let raw = Arc::new(AtomicI64::new(2_000_000));
        let source = Arc::clone(&raw);
        let at = move || Timestamp::from_timestamp_micros(source.load(Ordering::Relaxed)).unwrap();
        let clock = Monotone::new(Arc::new(at));
        let first = clock.now();
        raw.store(1_000_000, Ordering::Relaxed);
        let second = clock.now();
        assert!(second >= first);
        raw.store(1_950_000, Ordering::Relaxed);
        assert!(clock.now() >= second);
        raw.store(60_000_000, Ordering::Relaxed);
        assert!(clock.now() > second);
    }
}
