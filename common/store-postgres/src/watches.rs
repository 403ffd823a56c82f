//! Watches: which jobs the dispatcher must look at, and when.
//!
//! A transaction that gives jobs a due time writes one row with their ids, instead of an index entry for
//! each. Invariant: a job with a `due_at` stands in a watch whose time is not later; whoever moves a due
//! time to an earlier one, or sets one where there was none, writes a watch in the same transaction, and
//! whoever relies on the watch that is there writes only if the due time is still the one it has read.

use std::collections::BTreeMap;

use bul_job::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fault::Fault;

/// Jobs in one watch. Too many: looking at one of them reads them all.
pub(crate) const WATCH_JOBS_MAX: usize = 512;
/// Due times within this of each other are always looked at together, microseconds.
const BUCKET_MIN: i64 = 250_000;

/// Watches as the arrays that the statements take.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Watches {
    pub(crate) look_at: Vec<Timestamp>,
    /// Positions of a watch's ids, from 1, both inclusive.
    pub(crate) first: Vec<i32>,
    pub(crate) last: Vec<i32>,
    pub(crate) ids: Vec<Uuid>,
}

impl Watches {
    /// Groups jobs by their due times: fine for what is near, coarse for what is far. A job looked at too
    /// early is grouped anew, which happens a few times even for one that waits for a year.
    pub(crate) fn new(now: Timestamp, due: impl IntoIterator<Item = (Timestamp, Uuid)>) -> Self {
        let mut groups: BTreeMap<(i64, i64), (Timestamp, Vec<Uuid>)> = BTreeMap::new();
        for (at, id) in due {
            let ahead = at.timestamp_micros().saturating_sub(now.timestamp_micros()).max(0);
            let width = (ahead / 8).max(BUCKET_MIN).ilog2();
            let group = (i64::from(width), at.timestamp_micros() >> width);
            let (look_at, ids) = groups.entry(group).or_insert((at, Vec::new()));
            *look_at = at.min(*look_at);
            ids.push(id);
        }
        let mut watches = Self::default();
        for (look_at, ids) in groups.into_values() {
            for chunk in ids.chunks(WATCH_JOBS_MAX) {
                watches.look_at.push(look_at);
                watches.first.push(watches.ids.len() as i32 + 1);
                watches.ids.extend_from_slice(chunk);
                watches.last.push(watches.ids.len() as i32);
            }
        }
        watches
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Writes them in the caller's transaction.
    pub(crate) async fn add(&self, conn: &mut PgConnection) -> Result<(), Fault> {
        if !self.is_empty() {
            sqlx::query(include_str!("../queries/add_watches.sql"))
                .bind(&self.look_at)
                .bind(&self.first)
                .bind(&self.last)
                .bind(&self.ids)
                .execute(conn)
                .await?;
        }
        Ok(())
    }
}

/// Whether a job that changes its due time needs a watch of its own.
pub(crate) fn needs_watch(before: Option<Timestamp>, after: Option<Timestamp>) -> bool {
    match (before, after) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_timestamp_micros(1_800_000_000_000_000 + micros).unwrap()
    }

    #[test]
    fn no_job_is_looked_at_late_and_none_is_left_out() {
        let due: Vec<(Timestamp, Uuid)> = (0..3000i64)
            .map(|n| (at(n * n * n * 40 - 5_000_000), Uuid::from_u128(n.unsigned_abs().into())))
            .collect();
        let watches = Watches::new(at(0), due.iter().copied());
        assert_eq!(watches.ids.len(), due.len());
        let of: std::collections::HashMap<Uuid, Timestamp> = due.iter().map(|(at, id)| (*id, *at)).collect();
        for n in 0..watches.look_at.len() {
            let ids = &watches.ids[watches.first[n] as usize - 1..watches.last[n] as usize];
            assert!(!ids.is_empty() && ids.len() <= WATCH_JOBS_MAX);
            assert_eq!(ids.iter().map(|id| of[id]).min(), Some(watches.look_at[n]));
        }
        assert!(watches.look_at.len() < 300, "{}", watches.look_at.len());
    }

    #[test]
    fn a_batch_of_one_due_time_is_one_watch() {
        let due = (0..WATCH_JOBS_MAX as u128).map(|n| (at(5_000_000), Uuid::from_u128(n)));
        assert_eq!(Watches::new(at(0), due).look_at, [at(5_000_000)]);
    }

    #[test]
    fn only_an_earlier_or_new_due_time_needs_a_watch() {
        assert!(needs_watch(None, Some(at(1))) && needs_watch(Some(at(2)), Some(at(1))));
        assert!(!needs_watch(Some(at(1)), Some(at(1))) && !needs_watch(Some(at(1)), Some(at(2))));
        assert!(!needs_watch(Some(at(1)), None) && !needs_watch(None, None));
    }
}
