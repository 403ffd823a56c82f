//! Rows of attempts that this process has begun, so that their completion need not read them.
//!
//! Nothing is decided here: what is remembered is what the state machine works on, and the statement that
//! writes the result takes effect only if the attempt is still the one in charge. Losing this costs a
//! query.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::rows::Job;
use crate::transition::Draft;

/// Rows remembered, some 400 bytes each. Attempts that end elsewhere leave theirs behind; when it is
/// full, all are forgotten.
const ROWS_MAX: usize = 16_384;

/// See the module.
#[derive(Default)]
pub(crate) struct Running {
    rows: Mutex<HashMap<Uuid, Job>>,
}

impl Running {
    pub(crate) fn put(&self, job: Job) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= ROWS_MAX {
            rows.clear();
        }
        rows.insert(job.id, job);
    }

    /// Gives out those that are there; each once.
    pub(crate) fn take<'i>(&self, ids: impl Iterator<Item = &'i Uuid>) -> HashMap<Uuid, Draft> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        ids.filter_map(|id| Some((*id, Draft::new(rows.remove(id)?, None)))).collect()
    }
}
