//! Schedules: when a cron expression fires in a time zone, and what becomes of missed fires.
//!
//! Daylight saving follows Vixie cron as `croner` implements it: a fixed time inside the skipped
//! hour fires once right behind it, a fixed time in the repeated hour fires once, at its first
//! occurrence. Uniqueness of a fire is the store's business: `(schedule, fire time)` is its key.

use chrono::{TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A fire counts as missed when it is looked at this much later than it was due.
pub const MISSED_AFTER: TimeDelta = TimeDelta::seconds(60);
/// Missed fires that `all` makes up for; older ones are dropped.
pub const MISSED_MAX: usize = 100;

/// What to do with fires that were missed while nothing was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedPolicy {
    /// Forget them.
    Skip,
    /// One fire for all of them, at the time of the latest.
    #[default]
    Once,
    /// Each of them, the latest 100 (`MISSED_MAX`) at most.
    All,
}

impl MissedPolicy {
    /// Name as in JSON and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }

    /// Parses a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Skip, Self::Once, Self::All].into_iter().find(|p| p.as_str() == name)
    }
}

/// A schedule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Bad expression.
    #[error("cron expression {expression:?}: {reason}")]
    Expression {
        /// What was given.
        expression: String,
        /// Why not.
        reason: String,
    },
    /// Unknown zone.
    #[error("unknown time zone {0:?}, expected an IANA name such as Europe/Berlin")]
    Zone(String),
    /// It will never fire.
    #[error("cron expression {0:?} never fires")]
    Never(String),
}

/// A parsed schedule.
#[derive(Debug, Clone)]
pub struct ScheduleSpec {
    cron: Cron,
    zone: Tz,
    expression: String,
}

/// Fires that are due, and the next one to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fires {
    /// Fire times to make jobs for, oldest first.
    pub due: Vec<Timestamp>,
    /// First fire after `now`; `None` when there is none in the calendar.
    pub next: Option<Timestamp>,
}

impl ScheduleSpec {
    /// Parses a five-field expression (or `@daily` and the like) and an IANA zone.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, CronError> {
        let bad = |reason: String| CronError::Expression {
            expression: expression.chars().take(100).collect(),
            reason,
        };
        if expression.len() > 100 {
            return Err(bad("longer than 100 characters".into()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(expression).map_err(|e| bad(e.to_string()))?;
        let zone: Tz = zone.parse().map_err(|_| CronError::Zone(zone.chars().take(64).collect()))?;
        Ok(Self { cron, zone, expression: expression.to_owned() })
    }

    /// The expression as given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// First fire strictly after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.with_timezone(&self.zone);
        self.cron.find_next_occurrence(&local, false).ok().map(|time| time.with_timezone(&Utc))
    }

    /// Like [`Self::next_after`], for a schedule that is being added: one that never fires is refused.
    pub fn first_after(&self, after: Timestamp) -> Result<Timestamp, CronError> {
        self.next_after(after).ok_or_else(|| CronError::Never(self.expression.clone()))
    }

    /// What is due at `now` when `next` was the fire that came next. A `next` that was reached less
    /// than a minute (`MISSED_AFTER`) ago is on time under every policy.
    pub fn fires(&self, next: Timestamp, now: Timestamp, policy: MissedPolicy) -> Fires {
        let mut due = std::collections::VecDeque::new();
        let mut cursor = Some(next);
        while let Some(fire) = cursor.filter(|fire| *fire <= now) {
            due.push_back(fire);
            if due.len() > MISSED_MAX {
                due.pop_front();
            }
            cursor = self.next_after(fire);
        }
        let on_time = |fire: &Timestamp| now - *fire <= MISSED_AFTER;
        let due: Vec<Timestamp> = match policy {
            MissedPolicy::Skip => due.into_iter().filter(on_time).collect(),
            MissedPolicy::Once => due.pop_back().into_iter().collect(),
            MissedPolicy::All => due.into(),
        };
        Fires { due, next: cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(expression: &str, zone: &str, after: &str) -> String {
        let spec = ScheduleSpec::parse(expression, zone).unwrap();
        spec.next_after(utc(after)).unwrap().format("%Y-%m-%dT%H:%MZ").to_string()
    }

    #[test]
    fn monday_at_nine_is_nine_on_the_wall_in_summer_and_winter() {
        let monday = |after| next("0 9 * * MON", "Europe/Berlin", after);
        assert_eq!(monday("2026-07-01T00:00:00Z"), "2026-07-06T07:00Z");
        assert_eq!(monday("2026-11-16T08:00:00Z"), "2026-11-23T08:00Z");
    }

    #[test]
    fn the_skipped_hour_fires_once_and_the_repeated_hour_once() {
        // Berlin, 29 March 2026: 02:00 → 03:00. Berlin, 25 October 2026: 03:00 → 02:00.
        let spec = ScheduleSpec::parse("30 2 * * *", "Europe/Berlin").unwrap();
        let mut fires = Vec::new();
        for (from, to) in [
            ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ] {
            let mut cursor = utc(from);
            let mut count = 0;
            while let Some(fire) = spec.next_after(cursor).filter(|fire| *fire < utc(to)) {
                fires.push(fire);
                cursor = fire;
                count += 1;
            }
            assert_eq!(count, 1, "between {from} and {to}: {fires:?}");
        }
    }

    #[test]
    fn missed_fires_by_policy() {
        let spec = ScheduleSpec::parse("0 * * * *", "UTC").unwrap();
        let fires = |now, policy| spec.fires(utc("2026-11-16T10:00:00Z"), utc(now), policy);
        let late = "2026-11-16T13:30:00Z";
        assert!(fires(late, MissedPolicy::Skip).due.is_empty());
        assert_eq!(fires(late, MissedPolicy::Once).due, [utc("2026-11-16T13:00:00Z")]);
        assert_eq!(fires(late, MissedPolicy::All).due.len(), 4);
        assert_eq!(fires(late, MissedPolicy::All).next, Some(utc("2026-11-16T14:00:00Z")));
        let on_time = "2026-11-16T10:00:03Z";
        for policy in [MissedPolicy::Skip, MissedPolicy::Once, MissedPolicy::All] {
            assert_eq!(fires(on_time, policy).due, [utc("2026-11-16T10:00:00Z")]);
        }
        assert_eq!(fires("2027-11-16T10:00:00Z", MissedPolicy::All).due.len(), MISSED_MAX);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert!(matches!(ScheduleSpec::parse("61 * * * *", "UTC"), Err(CronError::Expression { .. })));
        assert!(matches!(ScheduleSpec::parse("* * * * * *", "UTC"), Err(CronError::Expression { .. })));
        assert!(matches!(ScheduleSpec::parse("0 9 * * 1", "Berlin"), Err(CronError::Zone(_))));
        let never = ScheduleSpec::parse("0 0 30 2 *", "UTC").unwrap();
        assert!(matches!(never.first_after(utc("2026-01-01T00:00:00Z")), Err(CronError::Never(_))));
    }
}
