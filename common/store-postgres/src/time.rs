//! The store's time: the database's clock, kept in step without asking it for every decision.
//!
//! The difference between the server's clock and this process's steady one is measured when the store
//! opens and regularly thereafter. Invariant: within a process time never goes backwards, and counts
//! whole microseconds, as the tables do. Leases of two processes are compared by one clock, the
//! server's, whatever their own clocks say.

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
            self.offset.store(offset, Ordering::Release);
        }
        Ok(())
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
    fn a_measurement_that_goes_back_makes_time_stand_still() {
        let time = Time::new(None);
        time.offset.store(1_800_000_000_000_000, Ordering::Release);
        let first = time.now();
        time.offset.store(1_700_000_000_000_000, Ordering::Release);
        assert_eq!(time.now(), first);
    }
}
