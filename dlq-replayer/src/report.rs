//! What a replay or purge tells: its account while it goes on, and how it ended.
//!
//! [`Tally::record`] decides what an answer of the store means for the letters that are left.

use std::time::Duration;

use bul_job::JobId;
use bul_store::StoreError;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{EditError, EditReport};

/// Ids named in a report.
pub(crate) const REPORT_IDS_MAX: usize = 20;
/// Edits shown in a report; a patch does the same to each.
const EDITS_MAX: usize = 5;
/// Letters whose edit was refused that are named in a report.
const REFUSALS_MAX: usize = 20;

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Dead letters chosen at the start.
    pub matched: u64,
    /// Put back to work; in a dry run 0.
    pub replayed: u64,
    /// Not dead any more: replayed by an earlier or another call, or unknown.
    pub skipped: u64,
    /// The edit is not valid for its job, or the store refused for another reason.
    pub failed: u64,
    /// Why the call ended before all were done; call again for the rest.
    pub stopped: Option<String>,
    /// Which dependency is down: in the progress while the call halts for it, at the end if it stopped for it,
    /// in a dry run if it would halt now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// The first ids: of those replayed, in a dry run of those that would be.
    pub ids: Vec<JobId>,
    /// What the patch changed in the first ones, in a dry run: would change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditReport>,
    /// The first letters that the patch does not fit; they stay dead as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// Where and when to go on, if the call ended early and another one finds the rest.
    #[serde(skip)]
    pub rest: Option<Rest>,
}

/// A letter whose edit was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Dead letter.
    pub id: JobId,
    /// What is wrong with the job that the patch would make.
    pub message: String,
}

/// How to go on with what a call has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Begin behind this one; `None`: at the beginning.
    pub after: Option<JobId>,
    /// Not earlier than in this time.
    pub wait: Duration,
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PurgeReport {
    /// Dead letters chosen at the start.
    pub matched: u64,
    /// Erased.
    pub purged: u64,
    /// Not dead letters any more.
    pub skipped: u64,
    /// The store refused for another reason.
    pub failed: u64,
    /// Why the call ended before all were done.
    pub stopped: Option<String>,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// The first ids.
    pub ids: Vec<JobId>,
}

impl From<ReplayReport> for PurgeReport {
    fn from(report: ReplayReport) -> Self {
        let ReplayReport { matched, replayed, skipped, failed, stopped, dry_run, ids, .. } = report;
        Self { matched, purged: replayed, skipped, failed, stopped, dry_run, ids }
    }
}

/// The running account of a call.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) report: ReplayReport,
}

impl Tally {
    /// Takes in one answer. `false`: the store is in trouble, and going on would only add to it.
    pub(crate) fn record(&mut self, id: JobId, answer: Result<Option<EditReport>, EditError>) -> bool {
        let report = &mut self.report;
        match answer {
            Ok(edit) => {
                report.replayed += 1;
                if report.ids.len() < REPORT_IDS_MAX {
                    report.ids.push(id);
                }
                self.show(edit);
                true
            }
            Err(EditError::Store(StoreError::Refused(_) | StoreError::NotFound(_))) => {
                report.skipped += 1;
                true
            }
            Err(EditError::Store(error @ (StoreError::Unavailable(_) | StoreError::Failed(_)))) => {
                report.stopped = Some(error.to_string());
                false
            }
            Err(EditError::Store(error @ (StoreError::Conflict(_) | StoreError::Corrupt(_)))) => {
                warn!(job.id = %id, %error, "dead letter could not be changed");
                report.failed += 1;
                true
            }
            Err(error @ (EditError::Invalid(_) | EditError::NothingToPatch)) => {
                report.failed += 1;
                self.refuse(id, &error);
                true
            }
        }
    }

    /// Takes in what an edit would do.
    pub(crate) fn foresee(&mut self, id: JobId, answer: Result<EditReport, EditError>) {
        match answer {
            Ok(edit) => self.show(edit.changed.then_some(edit)),
            Err(error) => self.refuse(id, &error),
        }
    }

    fn show(&mut self, edit: Option<EditReport>) {
        let edits = &mut self.report.edits;
        edits.extend(edit.filter(|_| edits.len() < EDITS_MAX));
    }

    fn refuse(&mut self, id: JobId, error: &EditError) {
        if self.report.refusals.len() < REFUSALS_MAX {
            self.report.refusals.push(Refusal { id, message: error.to_string() });
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.report.replayed + self.report.skipped + self.report.failed
    }
}

#[cfg(test)]
mod tests {
    use bul_job::{Refused, State};

    use super::*;

    #[test]
    fn answers_of_the_store_decide_how_it_goes_on() {
        let mut tally = Tally::default();
        let id = JobId::new();
        assert!(tally.record(id, Ok(None)));
        assert!(tally.record(id, Err(StoreError::Refused(Refused::Final(State::Completed)).into())));
        assert!(tally.record(id, Err(StoreError::NotFound("job").into())));
        assert!(tally.record(id, Err(StoreError::Corrupt("x".into()).into())));
        assert!(tally.record(id, Err(EditError::NothingToPatch)));
        assert!(!tally.record(id, Err(StoreError::Unavailable("gone".into()).into())));
        let report = tally.report;
        assert_eq!((report.replayed, report.skipped, report.failed), (1, 2, 2));
        assert_eq!(report.refusals.iter().map(|r| r.id).collect::<Vec<_>>(), [id]);
        assert!(report.stopped.is_some_and(|why| why.contains("gone")));
    }
}
