//! Rows and answers of the store that concern jobs.

use std::collections::BTreeMap;

use bul_job::{
    Action, AttemptNo, DeadReason, Failure, Format, JobCore, JobId, Lane, PublishNo, State, TenantId,
    Timestamp, ValidJob,
};
use serde::{Deserialize, Serialize};

use crate::receipt::Receipt;
use crate::turns::SessionTurn;

/// Page of a list whose filter names no size.
pub const PAGE_DEFAULT: usize = 100;
/// Largest page: a list must not hold a whole store in memory. Who wants more follows the cursor.
pub const PAGE_MAX: usize = 1_000;

/// Rows of a page: what was asked for within [`PAGE_MAX`], [`PAGE_DEFAULT`] for 0.
pub fn page_size(limit: usize) -> usize {
    match limit {
        0 => PAGE_DEFAULT,
        asked => asked.min(PAGE_MAX),
    }
}

/// What a store is and promises.
#[derive(Debug, Clone, Serialize)]
pub struct StoreInfo {
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    /// Version of the library or server.
    pub version: String,
    /// Where it is, without credentials.
    pub location: String,
    /// What a returned `Ok` survives, in a sentence.
    pub durability: String,
    /// What an operator should know about this version and its settings; empty as a rule.
    pub notes: Vec<String>,
}

/// A job to accept.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, made by the caller, so that accepting twice is harmless.
    pub id: JobId,
    /// Tenant, from the credential.
    pub tenant: TenantId,
    /// What to do.
    pub job: ValidJob,
    /// `http`, `cli`, `schedule:NAME` …; for the record.
    pub source: String,
}

/// Answer to one accepted job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A new row. `publish` is set when it is ready now and must be published.
    New {
        /// Id.
        id: JobId,
        /// State: waiting, or queued.
        state: State,
        /// Publication to send.
        publish: Option<Ready>,
    },
    /// The job exists: same idempotency key and content, or `dedup`.
    Existing {
        /// Its id.
        id: JobId,
        /// Where it is.
        state: State,
    },
    /// The idempotency key belongs to a job of other content.
    Conflict {
        /// The job that holds the key.
        id: JobId,
    },
}

impl Accepted {
    /// The answer to a new row, by what the state machine says is to be done with it.
    pub fn new(id: JobId, tenant: &TenantId, lane: Lane, state: State, action: Action) -> Self {
        let publish = match action {
            Action::Publish(publish) => Some(Ready { id, tenant: tenant.clone(), lane, publish }),
            Action::None | Action::Run(_) => None,
        };
        Self::New { id, state, publish }
    }
}

/// A job that is ready for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Job.
    pub id: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Lane.
    pub lane: Lane,
    /// Publication number.
    pub publish: PublishNo,
}

/// Result of looking after due rows.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// To publish.
    pub ready: Vec<Ready>,
    /// Jobs whose state changed without a publication: expired leases, passed deadlines.
    pub changed: Vec<(TenantId, JobId, JobStatus)>,
    /// Rows looked at; equal to the limit when there may be more.
    pub seen: usize,
}

/// Answer to [`crate::Store::begin`].
#[derive(Debug, Clone)]
pub enum Begin {
    /// Run it.
    Run(Box<Attempt>),
    /// Nothing to do (finished, cancelled, taken by another, waiting): acknowledge the message.
    Skip(State),
}

/// An attempt that holds the lease.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Job.
    pub id: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Number; the fence.
    pub attempt: AttemptNo,
    /// Failures so far.
    pub failures: u32,
    /// Whether it must have the worker's process to itself, see [`JobCore::runs_alone`].
    pub alone: bool,
    /// When the job was accepted.
    pub accepted_at: Timestamp,
    /// What to do.
    pub job: ValidJob,
}

/// Answer to [`crate::Store::extend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// The user wants the job to end.
    pub cancel_requested: bool,
}

/// State of a job in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// State.
    pub state: State,
    /// Latest attempt.
    pub attempt: AttemptNo,
    /// When the dispatcher looks at it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Why it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_reason: Option<DeadReason>,
    /// Message of the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What an attempt produced.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// One per format.
    pub documents: Vec<(Format, Vec<u8>)>,
    /// Title of the document.
    pub title: String,
    /// Cost.
    pub usage: Usage,
    /// Results of the checks: a JSON array of findings.
    pub findings: Vec<serde_json::Value>,
    /// Whether this attempt has kept texts, which go now. Those of earlier attempts go by themselves: a job that was
    /// completed at once and kept nothing costs no look at them.
    pub kept_texts: bool,
    /// The name of the job's session, and what the job has said in it, where later jobs shall be told. It goes with the
    /// documents.
    pub turn: Option<(String, SessionTurn)>,
}

/// Cost of a job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Model that wrote the prose; empty when none was needed.
    pub model: String,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Of these, from the cache.
    pub cached_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Generation, milliseconds.
    pub generate_ms: f64,
    /// Writing the formats, milliseconds.
    pub write_ms: f64,
    /// Whole attempt, milliseconds.
    pub total_ms: f64,
    /// The finer part, absent from the answers of older servers.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl Usage {
    /// What counts against the tenant's budget: prompt that was not in the cache, and output.
    pub fn budget_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_sub(self.cached_tokens).saturating_add(self.output_tokens)
    }
}

/// One line of a job list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSummary {
    /// Id.
    pub id: JobId,
    /// Template.
    pub template: String,
    /// Business area, empty when none was given.
    pub business_area: String,
    /// Lane.
    pub lane: Lane,
    /// State.
    #[serde(flatten)]
    pub status: JobStatus,
    /// Title, once it is known.
    #[serde(default)]
    pub title: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// Everything about a job but its documents' bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobDetail {
    /// The short form.
    #[serde(flatten)]
    pub summary: JobSummary,
    /// What was asked for; absent once purged, or when it was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ValidJob>,
    /// The machine's part.
    pub core: JobCore,
    /// Where it came from.
    pub source: String,
    /// Formats and sizes in bytes.
    pub documents: BTreeMap<Format, u64>,
    /// Cost, once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Findings of the checks.
    #[serde(default)]
    pub findings: Vec<serde_json::Value>,
    /// Attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// One attempt in the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Number.
    pub attempt: AttemptNo,
    /// Who ran it.
    pub worker: String,
    /// Start.
    pub started_at: Timestamp,
    /// End; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// `completed`, `failed`, `handed_back`, `crashed`; empty while it runs.
    pub outcome: String,
    /// Failure, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only these states; empty for all.
    pub states: Vec<State>,
    /// Only this template.
    pub template: Option<String>,
    /// Only jobs before this id (they are listed newest first).
    pub before: Option<JobId>,
    /// Page size, see [`page_size`].
    pub limit: usize,
}
