//! What the writer still knows of jobs that are queued or running, so that beginning and completing
//! one need not read it again.
//!
//! Invariants: a job is here only as it stands in the file (but for the due time of a queued one, at which
//! no worker's call looks): any other change of it takes it out, a failed transaction takes everything
//! out, and so does a commit of another process, which SQLite tells by `PRAGMA data_version`. Memory is
//! bounded by [`JOBS_MAX`] and [`BYTES_MAX`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_job::{JobId, State};

use crate::rows::Job;

/// Jobs remembered. Beyond it new ones are not, since those remembered first are needed first.
const JOBS_MAX: usize = 16_384;
/// Bytes of what they ask for, about.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long jobs nobody asks for may keep others out.
const FULL_MAX: Duration = Duration::from_secs(10);

/// A job and, until it has begun, what it asks for.
pub(crate) struct Known {
    pub(crate) job: Job,
    pub(crate) body: Option<Arc<str>>,
}

/// The memory of the writer.
#[derive(Default)]
pub(crate) struct Recent {
    version: i64,
    jobs: HashMap<JobId, Known>,
    bytes: usize,
    full_since: Option<Instant>,
}

impl Recent {
    /// At the start of a transaction; `version` is SQLite's number for what others have committed.
    pub(crate) fn at(&mut self, version: i64) {
        if self.version != version {
            self.clear();
            self.version = version;
        }
    }

    pub(crate) fn take(&mut self, id: JobId) -> Option<Known> {
        let known = self.jobs.remove(&id)?;
        self.bytes -= known.body.as_ref().map_or(0, |body| body.len());
        Some(known)
    }

    /// Remembers a job as it was written in this transaction, if a worker will need it.
    pub(crate) fn put(&mut self, job: Job, body: Option<Arc<str>>) {
        if !matches!(job.core.state, State::Queued | State::Running) {
            return;
        }
        let bytes = body.as_ref().map_or(0, |body| body.len());
        if self.jobs.len() >= JOBS_MAX || self.bytes + bytes > BYTES_MAX {
            if self.full_since.get_or_insert_with(Instant::now).elapsed() < FULL_MAX {
                return;
            }
            self.clear();
        }
        self.bytes += bytes;
        if let Some(old) = self.jobs.insert(job.id, Known { job, body }) {
            self.bytes -= old.body.map_or(0, |body| body.len());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.jobs.clear();
        self.bytes = 0;
        self.full_since = None;
    }
}
