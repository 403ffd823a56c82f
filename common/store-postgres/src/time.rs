//! The store's time: the database's clock, kept in step without asking it for every decision.
//!
//! The difference between the server's clock and this process's steady one is measured when the store
//! opens and regularly thereafter. Invariant: within a process time does not go backwards, and counts
//! whole microseconds, as the tables do. Leases of two processes are compared by one clock, the
//! server's, whatever their own clocks say.
//!
//! One exception: where the server's clock itself has been set back by more than a moment, every process
//! follows it. Standing still instead, no retry would come for as long as the step was, and processes that
//! were started before and after it would take each other's leases for ended.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bul_job::Timestamp;
use sqlx::PgConnection;

use crate::fault::Fault;
use crate::options::Clock;

/// Time between two measurements. Too long: two machines' clocks drift apart, and a suspended one wakes
/// with an old time. Too short: queries for nothing.
pub(crate) const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Questions per measurement; the one answered fastest counts.
const SAMPLES: usize = 3;

/// A measurement that lies this much behind is that of a clock that was set back, microseconds. Too small: the
/// noise of a busy network would make time jump.
const SET_BACK_MIN: i64 = 1_000_000;

pub(crate) struct Time {
    /// Given in tests.
    clock: Option<Clock>,
    /// The steady clock's zero.
    base: Instant,
    /// Microseconds since 1970 by the server at `base`.
    offset: AtomicI64,
    latest: AtomicI64,
}

impl Time {
    pub(crate) fn new(clock: Option<Clock>) -> Self {
        Self { clock, base: Instant::now(), offset: AtomicI64::new(0), latest: AtomicI64::new(i64::MIN) }
    }

    /// The store's time now.
    pub(crate) fn now(&self) -> Timestamp {
        let read = match &self.clock {
            Some(clock) => clock().timestamp_micros(),
            None => self.offset.load(Ordering::Acquire).saturating_add(self.steady()),
        };
        let latest = self.latest.fetch_max(read, Ordering::AcqRel).max(read);
        Timestamp::from_timestamp_micros(latest).unwrap_or(Timestamp::MAX_UTC)
    }

    fn steady(&self) -> i64 {
        i64::try_from(self.base.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Asks the server. An error leaves the old measurement in force.
    pub(crate) async fn measure(&self, conn: &mut PgConnection) -> Result<(), Fault> {
        let mut best: Option<(i64, i64)> = None;
        for _ in 0..SAMPLES {
            let asked = self.steady();
            let server: Timestamp =
                sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *conn).await?;
            let answered = self.steady();
            let width = answered - asked;
            if best.is_none_or(|(narrowest, _)| width < narrowest) {
                best = Some((width, server.timestamp_micros() - (asked + width / 2)));
            }
        }
        if let Some((_, offset)) = best {
            self.set(offset);
        }
        Ok(())
    }

    /// Takes over a measurement.
    fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Release);
        let read = offset.saturating_add(self.steady());
        let behind = self.latest.load(Ordering::Acquire).saturating_sub(read);
        if behind >= SET_BACK_MIN {
            tracing::warn!(seconds = behind / 1_000_000, "the database's clock was set back");
            self.latest.store(read, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn time_never_goes_backwards() {
        let raw = Arc::new(AtomicI64::new(2_000_000));
        let source = Arc::clone(&raw);
        let at = move || Timestamp::from_timestamp_micros(source.load(Ordering::Relaxed)).unwrap();
        let time = Time::new(Some(Arc::new(at)));
        let first = time.now();
        raw.store(1_000_000, Ordering::Relaxed);
        assert_eq!(time.now(), first);
        raw.store(3_000_000, Ordering::Relaxed);
        assert!(time.now() > first);
    }

    #[test]
    fn a_measurement_a_little_behind_makes_time_stand_still_and_a_clock_set_back_is_followed() {
        let time = Time::new(None);
        time.set(1_800_000_000_000_000);
        let first = time.now();
        time.set(1_800_000_000_000_000 - SET_BACK_MIN / 2);
        assert_eq!(time.now(), first);
        let hours_3 = 3 * 3600 * 1_000_000;
        time.set(1_800_000_000_000_000 - hours_3);
        let back = first.timestamp_micros() - time.now().timestamp_micros();
        assert!((hours_3 - 60_000_000..=hours_3).contains(&back), "{back}");
    }
}
