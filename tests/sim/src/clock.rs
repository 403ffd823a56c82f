//! Time: simulated milliseconds, the store's clock that decides, and the clocks of the processes.
//!
//! The store's clock may be set forward or back by an operator; like the real stores it never goes
//! backwards, it stands still until the time is reached again. The clocks of processes may be off by
//! hours; no unmutated process asks its own.

use bul_job::Timestamp;
use chrono::{DateTime, TimeDelta};

/// Simulated milliseconds since the start of the run.
pub type Ms = u64;

/// Five minutes before the clocks of Berlin jump from 02:00 to 03:00.
const BASE_S: i64 = 1_774_745_700;

/// The instant of a simulated millisecond.
pub fn stamp(ms: Ms) -> Timestamp {
    let base = DateTime::from_timestamp(BASE_S, 0).unwrap_or(DateTime::UNIX_EPOCH);
    base + TimeDelta::milliseconds(ms as i64)
}

/// A clock that can be set, and that never goes back.
#[derive(Debug, Default)]
pub struct StoreClock {
    offset: i64,
    latest: Ms,
}

impl StoreClock {
    /// What it shows.
    pub fn read(&mut self, now: Ms) -> Timestamp {
        let shown = now.saturating_add_signed(self.offset).max(self.latest);
        self.latest = shown;
        stamp(shown)
    }

    /// Sets it forward or back.
    pub fn step(&mut self, by: i64) {
        self.offset += by;
    }
}

/// The clock on the wall of a process: off by hours, and it may step back.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnClock {
    /// How far it is ahead, milliseconds.
    pub offset: i64,
}

impl OwnClock {
    /// What it shows.
    pub fn read(self, now: Ms) -> Timestamp {
        stamp(0) + TimeDelta::milliseconds(now as i64 + self.offset)
    }
}
