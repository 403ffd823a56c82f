//! Rows that this process has accepted, so that it need not read those that it begins as well.
//!
//! Nothing is decided here: what is remembered is what the state machine works on, and the statement that begins an
//! attempt takes effect only if the row is still queued under the same publication, which no two stays in the queue
//! share. Losing this costs a query. Invariant: a process that begins no jobs remembers none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::rows::Job;
use crate::transition::Draft;

/// Rows and bytes of one of two generations; with the second full the first is forgotten. Too low: with a queue that is
/// longer, every row is read. Too high: memory for jobs that other processes have long begun.
const ROWS_MAX: usize = 4_096;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Fresh {
    wanted: AtomicBool,
    rows: Mutex<Generations>,
}

/// A job and what it asks for.
type Row = (Job, Arc<String>);

#[derive(Default)]
struct Generations {
    young: HashMap<Uuid, Box<Row>>,
    old: HashMap<Uuid, Box<Row>>,
    /// Of the young ones' bodies, those included that have been taken since.
    bytes: usize,
}

impl Fresh {
    /// Whether rows are worth being put.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Keeps rows that were inserted, with what they ask for.
    pub(crate) fn put(&self, rows: impl Iterator<Item = Row>) {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (job, body) in rows {
            if known.young.len() >= ROWS_MAX || known.bytes >= BYTES_MAX {
                known.old = std::mem::take(&mut known.young);
                known.bytes = 0;
            }
            known.bytes += body.len();
            known.young.insert(job.id, Box::new((job, body)));
        }
    }

    /// Gives out those that are there; each once.
    pub(crate) fn take<'i>(&self, ids: impl Iterator<Item = &'i Uuid>) -> HashMap<Uuid, Draft> {
        if !self.wanted.swap(true, Ordering::Relaxed) {
            return HashMap::new();
        }
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ids.filter_map(|id| {
            let (job, body) = *known.old.remove(id).or_else(|| known.young.remove(id))?;
            Some((*id, Draft::new(job, Some(body))))
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use bul_job::{AttemptNo, JobCore, Lane, PublishNo, Rules, State, Timestamp};

    use super::*;

    fn row(n: usize, bytes: usize) -> Row {
        let now = Timestamp::from_timestamp_micros(1_800_000_000_000_000).unwrap();
        let (core, _) = JobCore::accept(now, None, None, 3, &Rules::default());
        assert_eq!((core.state, core.attempt, core.publish), (State::Queued, AttemptNo(0), PublishNo(1)));
        let job = Job::accepted(Uuid::from_u128(n as u128), "acme".parse().unwrap(), Lane::High, core, now);
        (job, Arc::new("x".repeat(bytes)))
    }

    fn taken(fresh: &Fresh, n: usize) -> bool {
        !fresh.take([Uuid::from_u128(n as u128)].iter()).is_empty()
    }

    #[test]
    fn a_row_is_given_out_once_and_only_where_jobs_are_begun() {
        let fresh = Fresh::default();
        assert!(!fresh.is_wanted());
        assert!(!taken(&fresh, 1), "nothing was put");
        assert!(fresh.is_wanted());
        fresh.put([row(1, 10)].into_iter());
        assert!(taken(&fresh, 1) && !taken(&fresh, 1));
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_are_kept() {
        let fresh = Fresh::default();
        taken(&fresh, 0);
        fresh.put((0..3 * ROWS_MAX).map(|n| row(n, 1)));
        assert!(!taken(&fresh, 0) && taken(&fresh, ROWS_MAX) && taken(&fresh, 3 * ROWS_MAX - 1));
        let large = BYTES_MAX / 4;
        fresh.put((0..12).map(|n| row(n, large)));
        let known = fresh.rows.lock().unwrap();
        let bytes: usize = known.old.values().chain(known.young.values()).map(|row| row.1.len()).sum();
        assert!(bytes <= 2 * BYTES_MAX, "{bytes}");
        assert!(known.young.contains_key(&Uuid::from_u128(11)));
    }
}
