//! What client commands ask for and get, the same from a server and from the store.

use bul_dlq_replayer::{EditReport, Refusal};
use bul_job::{FieldError, JobId, MissedPolicy, RawJob, State};
use bul_store::{JobDetail, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer to one submitted job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It is accepted.
    Accepted {
        /// The job.
        id: JobId,
        /// Where it is.
        state: State,
        /// It was there before, under the same key and with the same content.
        existing: bool,
    },
    /// Its idempotency key belongs to a job of other content.
    Conflict {
        /// The job that holds the key.
        id: JobId,
    },
}

/// A submission of which nothing was accepted, or not all.
#[derive(Debug)]
pub enum SubmitFailure {
    /// Jobs are wrong; pointers begin with the position of the job.
    Fields(Vec<FieldError>),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for SubmitFailure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// A job and the sentence on why it is where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobView {
    /// All the store knows.
    #[serde(flatten)]
    pub detail: JobDetail,
    /// Why it is where it is.
    #[serde(default)]
    pub explanation: String,
}

impl JobView {
    /// State in short.
    pub fn status(&self) -> &JobStatus {
        &self.detail.summary.status
    }
}

/// A schedule to add.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    /// Name.
    pub name: String,
    /// Cron expression.
    pub cron: String,
    /// IANA zone.
    pub zone: String,
    /// Missed fires.
    pub missed: MissedPolicy,
    /// The job to make.
    pub job: RawJob,
}

/// Which dead letters a command is about.
#[derive(Debug, Clone)]
pub enum Selected {
    /// These.
    Ids(Vec<JobId>),
    /// A filter expression; `all` for all.
    Filter(String),
}

/// How to replay.
#[derive(Debug, Clone, Default)]
pub struct ReplayHow {
    /// `10/s` and the like.
    pub rate: Option<String>,
    /// Only count.
    pub dry_run: bool,
    /// Go on although a dependency of the jobs is down.
    pub ignore_breakers: bool,
    /// Merge patch of each job, made with its replay.
    pub patch: Option<Value>,
}

/// What a replay or purge did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkReport {
    /// Chosen at the start.
    pub matched: u64,
    /// Put back to work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<u64>,
    /// Erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged: Option<u64>,
    /// Not dead any more.
    pub skipped: u64,
    /// Refused for another reason.
    pub failed: u64,
    /// Why it ended before all were done.
    pub stopped: Option<String>,
    /// Which dependency is down, if it ended for it; in a dry run, if it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Nothing was changed on purpose.
    pub dry_run: bool,
    /// The first ids.
    pub ids: Vec<JobId>,
    /// What the patch changed in the first ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditReport>,
    /// The first ones that the patch does not fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// From a server: where the next request goes on.
    #[serde(skip_serializing)]
    pub next_cursor: Option<String>,
    /// From a server: when the next request goes on; absent when there is nothing to go on with.
    #[serde(skip_serializing)]
    pub again_after_ms: Option<u64>,
}
