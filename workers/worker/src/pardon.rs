//! Whether an attempt that failed because the model did is spent.
//!
//! A model that is away must cost no job an attempt, and a job that makes the model fail must run out of them. What tells
//! the two apart is whether the model answers others: a job that failed while the breaker was open is handed back, and is
//! charged when it does so again although others were answered in between. A job that is alone with its model has no such
//! witness; it is charged after many hand-backs. Called by `attempt`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bul_job::JobId;
use bul_store::{Attempt, Output};
use parking_lot::Mutex;
use tracing::debug;

use crate::Worker;
use crate::outcome::Stop;

/// Attempts begun per attempt spent. The breaker's pauses grow to two minutes, so that these last for two hours. Too low: a
/// long outage kills jobs. Too high: a job that breaks its model does so for a day.
const BEGUN_MAX: u32 = 60;
/// Jobs remembered. What is forgotten is handed back once more.
const REMEMBERED_MAX: usize = 4096;

/// What is known of the model and of those who failed with it.
#[derive(Debug, Default)]
pub(crate) struct Pardons {
    /// Texts the model has written for anybody in this process.
    answered: AtomicU64,
    /// How many these were when a job was handed back.
    given: Mutex<HashMap<JobId, u64>>,
}

impl Pardons {
    /// The model has answered this job.
    fn answered(&self, job: JobId) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.given.lock().remove(&job);
    }

    /// Whether the job is handed back unspent; it is remembered then.
    fn pardons(&self, job: JobId, begun: u32, failures: u32) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let mut given = self.given.lock();
        let is_its_own = given.remove(&job).is_some_and(|before| before < answered);
        if is_its_own || begun > BEGUN_MAX.saturating_mul(failures.saturating_add(1)) {
            return false;
        }
        if given.len() >= REMEMBERED_MAX {
            given.clear();
        }
        given.insert(job, answered);
        true
    }
}

impl Worker {
    /// Hands a job back that failed with a model that is down for all.
    pub(crate) fn pardon(&self, attempt: &Attempt, result: Result<Output, Stop>) -> Result<Output, Stop> {
        match result {
            Ok(output) => {
                if output.usage.output_tokens > 0 {
                    self.pardons.answered(attempt.id);
                }
                Ok(output)
            }
            Err(Stop::Unanswered(failure)) if self.model.closed_for().is_some() => {
                let is_pardoned = self.pardons.pardons(attempt.id, attempt.attempt.0, attempt.failures);
                debug!(is_pardoned, "the model failed");
                if is_pardoned {
                    Err(Stop::Paused { reason: failure.message })
                } else {
                    Err(Stop::Failed(failure))
                }
            }
            Err(stop) => Err(stop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_an_hour_costs_nothing() {
        let (pardons, job) = (Pardons::default(), JobId::new());
        pardons.answered(JobId::new());
        assert!((1..=33).all(|begun| pardons.pardons(job, begun, 0)));
    }

    #[test]
    fn a_job_that_fails_where_others_are_answered_is_charged() {
        let (pardons, job) = (Pardons::default(), JobId::new());
        assert!(pardons.pardons(job, 1, 0));
        pardons.answered(JobId::new());
        assert!(!pardons.pardons(job, 2, 0));
        // One of its attempts was spent; the next failure is looked at afresh.
        assert!(pardons.pardons(job, 3, 1));
        pardons.answered(job);
        assert!(pardons.pardons(job, 4, 1), "what was written for itself speaks for it");
    }

    #[test]
    fn a_job_alone_with_its_model_runs_out_of_attempts() {
        let (pardons, job) = (Pardons::default(), JobId::new());
        let mut failures = 0;
        for begun in 1..=4 * BEGUN_MAX {
            failures += u32::from(!pardons.pardons(job, begun, failures));
        }
        assert_eq!(failures, 3);
    }
}
