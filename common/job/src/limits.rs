//! What a tenant may have at once, and who has to wait for a turn: counts in, room out.
//!
//! With one queue per lane whoever submits a hundred thousand jobs stands before all others. Therefore a
//! tenant has only so many jobs published at a time; the rest are *parked*: rows that wait without a time of
//! their own and are published, oldest first, as places get free.

use serde::{Deserialize, Serialize};

use crate::{Lane, Timestamp};

/// Jobs that a tenant with a budget has published at a time: when its budget is spent, these come to a
/// worker and go back. Too high: that many in vain. Too low: its workers wait for the dispatcher.
pub const BUDGETED_QUEUED_MAX: u32 = 64;

/// Why a job is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parked {
    /// As many jobs of its tenant run as may.
    RunningMax,
    /// Jobs of its tenant are before it, and others have a turn, too.
    Turn,
    /// Its tenant has used up its tokens of this minute or day.
    Budget,
}

impl Parked {
    /// All reasons.
    pub const ALL: [Parked; 3] = [Self::RunningMax, Self::Turn, Self::Budget];

    /// Name as used in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunningMax => "running_max",
            Self::Turn => "turn",
            Self::Budget => "budget",
        }
    }

    /// Parses a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Limits in force for a tenant; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLimits {
    /// Jobs with workers at the same time, over all processes. Exact.
    pub running_max: u32,
    /// Jobs published and not yet begun, per lane: what others may have to wait behind. About: several
    /// processes that accept at once may each exceed it by a batch.
    pub queued_max: u32,
    /// Tokens per minute: prompt not from the cache, and output, of completed jobs. About: jobs that run
    /// when it is spent go on to their end.
    pub tokens_per_minute: u64,
    /// Tokens per day (UTC), counted likewise.
    pub tokens_per_day: u64,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self { running_max: 0, queued_max: 10_000, tokens_per_minute: 0, tokens_per_day: 0 }
    }
}

/// Limits set for one tenant; those absent are as for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnLimits {
    /// See [`TenantLimits::running_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
    /// See [`TenantLimits::queued_max`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_max: Option<u32>,
    /// See [`TenantLimits::tokens_per_minute`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// See [`TenantLimits::tokens_per_day`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

impl OwnLimits {
    /// What is in force where `usual` holds for everybody.
    pub fn over(self, usual: TenantLimits) -> TenantLimits {
        TenantLimits {
            running_max: self.running_max.unwrap_or(usual.running_max),
            queued_max: self.queued_max.unwrap_or(usual.queued_max),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(usual.tokens_per_minute),
            tokens_per_day: self.tokens_per_day.unwrap_or(usual.tokens_per_day),
        }
    }
}

/// What a tenant has at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Jobs with workers.
    pub running: u64,
    /// Jobs queued, by lane.
    pub queued: [u64; Lane::ALL.len()],
    /// Whether jobs are parked, by lane.
    pub parked: [bool; Lane::ALL.len()],
    /// Tokens used in the running minute.
    pub minute_tokens: u64,
    /// Tokens used in the running day.
    pub day_tokens: u64,
}

/// How many jobs may be published, and what sets the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Jobs.
    pub jobs: u64,
    /// The reason for those that have to wait.
    pub bound: Parked,
}

/// Number of the minute, for counting tokens.
pub fn minute_of(at: Timestamp) -> i64 {
    at.timestamp().div_euclid(60)
}

/// Number of the day, for counting tokens.
pub fn day_of(at: Timestamp) -> i64 {
    at.timestamp().div_euclid(86_400)
}

impl TenantLimits {
    /// Whether a worker that begins a job must look at the tenant's load.
    pub fn guard_begin(&self) -> bool {
        self.running_max > 0 || self.has_budget()
    }

    fn has_budget(&self) -> bool {
        self.tokens_per_minute > 0 || self.tokens_per_day > 0
    }

    /// When the tenant's next tokens come, while its budget is spent.
    pub fn spent_until(&self, load: &Load, now: Timestamp) -> Option<Timestamp> {
        let end = |number: i64, seconds: i64| Timestamp::from_timestamp((number + 1) * seconds, 0);
        if self.tokens_per_day > 0 && load.day_tokens >= self.tokens_per_day {
            end(day_of(now), 86_400)
        } else if self.tokens_per_minute > 0 && load.minute_tokens >= self.tokens_per_minute {
            end(minute_of(now), 60)
        } else {
            None
        }
    }

    /// How many more of the tenant's jobs may begin.
    pub fn room_to_run(&self, load: &Load, now: Timestamp) -> Room {
        if self.spent_until(load, now).is_some() {
            return Room { jobs: 0, bound: Parked::Budget };
        }
        let jobs = match self.running_max {
            0 => u64::MAX,
            max => u64::from(max).saturating_sub(load.running),
        };
        Room { jobs, bound: Parked::RunningMax }
    }

    /// Jobs that may be published in a lane at a time.
    pub fn share(&self) -> u32 {
        match (self.queued_max, self.has_budget()) {
            (0, false) => u32::MAX,
            (0, true) => BUDGETED_QUEUED_MAX,
            (max, false) => max,
            (max, true) => max.min(BUDGETED_QUEUED_MAX),
        }
    }

    /// How many more of the tenant's jobs may be published in a lane. Those that may run are never more
    /// than those that are published, or they would come to workers in vain.
    pub fn room_to_queue(&self, load: &Load, lane: Lane, now: Timestamp) -> Room {
        let to_run = self.room_to_run(load, now);
        let to_run = Room { jobs: to_run.jobs.saturating_sub(load.queued.iter().sum()), ..to_run };
        let turn = u64::from(self.share()).saturating_sub(load.queued[lane.index()]);
        if to_run.jobs <= turn { to_run } else { Room { jobs: turn, bound: Parked::Turn } }
    }

    /// Whether a job that is ready now may be published. Where older ones are parked it stands behind them.
    pub fn admit(&self, load: &Load, lane: Lane, now: Timestamp) -> Result<(), Parked> {
        let room = self.room_to_queue(load, lane, now);
        if room.jobs == 0 {
            Err(room.bound)
        } else if load.parked[lane.index()] {
            Err(Parked::Turn)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Normal;

    fn at(seconds: i64) -> Timestamp {
        // The start of a day.
        Timestamp::from_timestamp(1_800_057_600 + seconds, 0).unwrap()
    }

    fn load(running: u64, queued: u64) -> Load {
        let mut load = Load { running, ..Load::default() };
        load.queued[LANE.index()] = queued;
        load
    }

    #[test]
    fn without_limits_only_the_share_counts() {
        let limits = TenantLimits { queued_max: 10, ..TenantLimits::default() };
        assert!(!limits.guard_begin());
        assert_eq!(limits.room_to_queue(&load(500, 3), LANE, at(0)), Room { jobs: 7, bound: Parked::Turn });
        assert_eq!(limits.admit(&load(500, 10), LANE, at(0)), Err(Parked::Turn));
        assert_eq!(limits.admit(&load(500, 10), Lane::High, at(0)), Ok(()), "each lane has its own");
        let none = TenantLimits { queued_max: 0, ..limits };
        assert_eq!(none.admit(&load(500, 1 << 30), LANE, at(0)), Ok(()));
    }

    #[test]
    fn published_jobs_take_the_places_of_those_that_may_run() {
        let limits = TenantLimits { running_max: 5, queued_max: 10, ..TenantLimits::default() };
        assert!(limits.guard_begin());
        assert_eq!(limits.room_to_run(&load(3, 2), at(0)), Room { jobs: 2, bound: Parked::RunningMax });
        let full = Room { jobs: 0, bound: Parked::RunningMax };
        assert_eq!(limits.room_to_queue(&load(3, 2), LANE, at(0)), full);
        assert_eq!(limits.room_to_queue(&load(3, 2), Lane::Low, at(0)), full, "all lanes together");
        assert_eq!(limits.room_to_queue(&load(9, 9), LANE, at(0)), full, "a limit that was lowered");
    }

    #[test]
    fn a_job_stands_behind_those_that_are_parked() {
        let mut load = load(0, 0);
        load.parked[LANE.index()] = true;
        assert_eq!(TenantLimits::default().admit(&load, LANE, at(0)), Err(Parked::Turn));
    }

    #[test]
    fn a_spent_budget_comes_back_with_its_window() {
        let limits =
            TenantLimits { tokens_per_minute: 100, tokens_per_day: 1_000, ..TenantLimits::default() };
        let used = |minute, day| Load { minute_tokens: minute, day_tokens: day, ..Load::default() };
        assert_eq!(limits.spent_until(&used(99, 999), at(30)), None);
        assert_eq!(limits.spent_until(&used(100, 100), at(30)), Some(at(60)));
        assert_eq!(limits.spent_until(&used(100, 1_000), at(30)), Some(at(86_400)));
        assert_eq!(limits.admit(&used(100, 100), LANE, at(30)), Err(Parked::Budget));
        let room = limits.room_to_queue(&used(0, 0), LANE, at(0));
        assert_eq!(room, Room { jobs: BUDGETED_QUEUED_MAX.into(), bound: Parked::Turn });
        assert_eq!((minute_of(at(59)), day_of(at(86_399))), (minute_of(at(0)), day_of(at(0))));
    }

    #[test]
    fn own_limits_go_before_the_usual_ones() {
        let usual = TenantLimits { running_max: 4, ..TenantLimits::default() };
        let own = OwnLimits { running_max: Some(0), tokens_per_day: Some(7), ..OwnLimits::default() };
        assert_eq!(own.over(usual), TenantLimits { running_max: 0, tokens_per_day: 7, ..usual });
        assert!(Parked::ALL.iter().all(|reason| Parked::parse(reason.as_str()) == Some(*reason)));
    }
}
