//! What is kept for how long, and what became of the rest.
//!
//! The same decision for every store: facts of a row in, its fate out. A job leaves only once it has ended, and is counted
//! when it leaves, so that the ledger keeps its totals. With it goes its idempotency key, which is promised for as long as
//! the job is kept.

use std::time::Duration;

use bul_job::{JobId, State, Timestamp};

/// How long things are kept after their end; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Completed jobs, with their documents.
    pub completed: Option<Duration>,
    /// Cancelled jobs.
    pub cancelled: Option<Duration>,
    /// Dead letters, purged ones included.
    pub dead: Option<Duration>,
    /// Documents, where they shall go before their jobs.
    pub documents: Option<Duration>,
    /// Lines of the audit, and which fires of schedules were made.
    pub events: Option<Duration>,
}

/// What is to become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Kept,
    /// It stays without its documents.
    WithoutDocuments,
    /// It goes.
    Gone,
}

/// What one call has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Completed jobs.
    pub completed: u64,
    /// Cancelled jobs.
    pub cancelled: u64,
    /// Dead letters.
    pub dead: u64,
    /// Documents of jobs that stay.
    pub documents: u64,
    /// Lines of the audit and fires.
    pub events: u64,
    /// Where the next call goes on; `None` when everything was looked at.
    pub next: Option<JobId>,
}

impl Retention {
    /// Whether everything is kept for ever.
    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }

    /// Until when a job in this state is kept; `None` for ever, or while it is open.
    fn of_state(&self, state: State) -> Option<Duration> {
        match state {
            State::Completed => self.completed,
            State::Cancelled => self.cancelled,
            State::Dead => self.dead,
            State::Waiting | State::Queued | State::Running => None,
        }
    }

    /// What is to become of a job that is in `state` since `ended_at`.
    pub fn fate(&self, state: State, ended_at: Option<Timestamp>, now: Timestamp) -> Fate {
        let is_over = |kept: Option<Duration>| {
            let over = kept.and_then(|kept| before(now, kept));
            matches!((over, ended_at), (Some(over), Some(ended_at)) if ended_at <= over)
        };
        if is_over(self.of_state(state)) {
            return Fate::Gone;
        }
        let has_documents = state == State::Completed;
        if has_documents && is_over(self.documents) { Fate::WithoutDocuments } else { Fate::Kept }
    }

    /// No job that was accepted after this has anything to lose; `None` where none has.
    pub fn horizon(&self, now: Timestamp) -> Option<Timestamp> {
        let shortest =
            [self.completed, self.cancelled, self.dead, self.documents].into_iter().flatten().min()?;
        before(now, shortest)
    }

    /// Events until then go.
    pub fn events_until(&self, now: Timestamp) -> Option<Timestamp> {
        before(now, self.events?)
    }
}

/// `None` where that lies before all time.
fn before(now: Timestamp, kept: Duration) -> Option<Timestamp> {
    now.checked_sub_signed(chrono::TimeDelta::from_std(kept).ok()?)
}

impl Pruned {
    /// Counts jobs that have left.
    pub fn count(&mut self, state: State, jobs: u64) {
        match state {
            State::Completed => self.completed += jobs,
            State::Cancelled => self.cancelled += jobs,
            State::Dead => self.dead += jobs,
            State::Waiting | State::Queued | State::Running => {}
        }
    }

    /// Adds what another call has removed; where it went on is that call's.
    pub fn add(&mut self, other: &Self) {
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.dead += other.dead;
        self.documents += other.documents;
        self.events += other.events;
        self.next = other.next;
    }

    /// Rows removed.
    pub fn total(&self) -> u64 {
        self.completed + self.cancelled + self.dead + self.documents + self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(days: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + days * 86_400, 0).unwrap()
    }

    #[test]
    fn each_state_has_its_own_time_and_open_jobs_have_none() {
        let keep = Retention {
            completed: Some(30 * DAY),
            cancelled: Some(DAY),
            documents: Some(7 * DAY),
            ..Retention::default()
        };
        for (state, ended, expected) in [
            (State::Completed, Some(31), Fate::Gone),
            (State::Completed, Some(30), Fate::Gone),
            (State::Completed, Some(29), Fate::WithoutDocuments),
            (State::Completed, Some(6), Fate::Kept),
            (State::Cancelled, Some(2), Fate::Gone),
            (State::Dead, Some(1_000), Fate::Kept),
            (State::Queued, None, Fate::Kept),
            (State::Running, None, Fate::Kept),
        ] {
            let ended_at = ended.map(|days: i64| at(-days));
            assert_eq!(keep.fate(state, ended_at, at(0)), expected, "{state} {ended:?}");
        }
        assert_eq!((keep.horizon(at(0)), keep.events_until(at(0))), (Some(at(-1)), None));
        assert!(Retention::default().keeps_all() && Retention::default().horizon(at(0)).is_none());
    }

    #[test]
    fn an_absurd_time_is_for_ever() {
        let keep = Retention { completed: Some(Duration::MAX), ..Retention::default() };
        assert_eq!(keep.fate(State::Completed, Some(at(-1)), at(0)), Fate::Kept);
        assert_eq!(keep.horizon(at(0)), None);
    }
}
