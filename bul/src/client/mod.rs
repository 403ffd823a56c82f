//! What client commands talk to: a server over HTTP, or with `--direct` store and broker themselves.
//!
//! Invariant: one method per operation, with the same result either way, so that no command knows
//! which of the two it has.

pub mod call;
mod direct;
mod direct_ops;
pub mod files;
mod http;
pub mod ids;
pub mod input;
pub mod print;
mod problem;
mod replay;
pub mod set;
mod slots;
mod sse;
pub mod types;
pub mod watch;

use bul_dlq_replayer::EditReport;
use bul_job::{Event, Format, JobId, RawJob, Timestamp};
use bul_store::{
    AuditLine, DeadFilter, DeadLetter, JobFilter, JobStatus, JobSummary, Schedule, StoreError, UsageLine,
};
use futures::stream::BoxStream;

pub use slots::Slots;

use crate::context::Context;
use crate::exit::Fault;
use direct::DirectClient;
use http::HttpClient;
use types::{BulkReport, JobView, NewSchedule, Receipt, ReplayHow, Selected, SubmitFailure};

/// Jobs sent in one request or transaction.
pub const BATCH_JOBS_MAX: usize = 1_000;

/// Where the operations go.
pub enum Backend {
    /// A server.
    Http(HttpClient),
    /// Store and broker.
    Direct(DirectClient),
}

macro_rules! ask {
    ($backend:expr, $client:ident => $call:expr) => {
        match $backend {
            Backend::Http($client) => $call.await,
            Backend::Direct($client) => $call.await,
        }
    };
}

impl Backend {
    /// As the flags and the configuration say.
    pub async fn open(context: &Context) -> anyhow::Result<Self> {
        context.init_logs(false)?;
        if context.direct {
            Ok(Self::Direct(DirectClient::open(context).await?))
        } else {
            Ok(Self::Http(HttpClient::new(context)?))
        }
    }

    /// Gives files and connections back.
    pub async fn close(&self) {
        match self {
            Self::Http(_) => {}
            Self::Direct(client) => client.close().await,
        }
    }

    /// Submits at most [`BATCH_JOBS_MAX`] jobs, all or none. Every job carries an idempotency key.
    pub async fn submit(&self, jobs: &[RawJob]) -> Result<Vec<Receipt>, SubmitFailure> {
        ask!(self, client => client.submit(jobs))
    }

    /// Jobs, newest first.
    pub async fn jobs(&self, filter: &JobFilter) -> anyhow::Result<Vec<JobSummary>> {
        ask!(self, client => client.jobs(filter))
    }

    /// One job with everything about it.
    pub async fn job(&self, id: JobId) -> anyhow::Result<JobView> {
        ask!(self, client => client.job(id))
    }

    /// Ends a job, or asks it to end.
    pub async fn cancel(&self, id: JobId) -> anyhow::Result<JobStatus> {
        ask!(self, client => client.cancel(id))
    }

    /// Bytes of a document.
    pub async fn document(&self, id: JobId, format: Format) -> anyhow::Result<Vec<u8>> {
        ask!(self, client => client.document(id, format))
    }

    /// What happens to a job from now on. May end or fail at any time; the job itself is the truth.
    pub async fn events(&self, id: JobId) -> anyhow::Result<BoxStream<'static, anyhow::Result<Event>>> {
        ask!(self, client => client.events(id))
    }

    /// All schedules.
    pub async fn schedules(&self) -> anyhow::Result<Vec<Schedule>> {
        ask!(self, client => client.schedules())
    }

    /// Adds a schedule.
    pub async fn add_schedule(&self, new: &NewSchedule) -> anyhow::Result<Schedule> {
        ask!(self, client => client.add_schedule(new))
    }

    /// Removes a schedule.
    pub async fn remove_schedule(&self, schedule: &Schedule) -> anyhow::Result<()> {
        ask!(self, client => client.remove_schedule(schedule))
    }

    /// Pauses or resumes a schedule.
    pub async fn pause_schedule(&self, schedule: &Schedule, paused: bool) -> anyhow::Result<()> {
        ask!(self, client => client.pause_schedule(schedule, paused))
    }

    /// Makes the schedule's job now, beside its calendar.
    pub async fn run_schedule(&self, schedule: &Schedule) -> anyhow::Result<Receipt> {
        ask!(self, client => client.run_schedule(schedule))
    }

    /// Dead letters, oldest first.
    pub async fn dead_letters(&self, filter: &DeadFilter) -> anyhow::Result<Vec<DeadLetter>> {
        ask!(self, client => client.dead_letters(filter))
    }

    /// One dead letter.
    pub async fn dead_letter(&self, id: JobId) -> anyhow::Result<DeadLetter> {
        ask!(self, client => client.dead_letter(id))
    }

    /// What replacing the job of a dead letter would change.
    pub async fn preview_edit(&self, id: JobId, job: RawJob) -> anyhow::Result<EditReport> {
        ask!(self, client => client.preview_edit(id, job))
    }

    /// Replaces the job of a dead letter.
    pub async fn edit_dead_letter(&self, id: JobId, job: RawJob) -> anyhow::Result<()> {
        ask!(self, client => client.edit_dead_letter(id, job))
    }

    /// Puts dead letters back to work; says on stderr while it halts.
    pub async fn replay(&self, which: &Selected, how: &ReplayHow) -> anyhow::Result<BulkReport> {
        ask!(self, client => client.replay(which, how))
    }

    /// Erases dead letters.
    pub async fn purge(&self, which: &Selected, dry_run: bool) -> anyhow::Result<BulkReport> {
        ask!(self, client => client.purge(which, dry_run))
    }

    /// Who did what to dead letters, newest first.
    pub async fn audit(&self, limit: usize) -> anyhow::Result<Vec<AuditLine>> {
        ask!(self, client => client.audit(limit))
    }

    /// Tokens and times.
    pub async fn usage(&self, since: Timestamp) -> anyhow::Result<Vec<UsageLine>> {
        ask!(self, client => client.usage(since))
    }
}

/// What a failed store operation means for the user.
pub fn store_fault(error: StoreError) -> anyhow::Error {
    let message = error.to_string();
    match error {
        StoreError::NotFound(_) => Fault::not_found(message),
        StoreError::Refused(_) | StoreError::Conflict(_) | StoreError::Corrupt(_) => Fault::failed(message),
        StoreError::Unavailable(_) | StoreError::Failed(_) => {
            Fault::unavailable(message).hint("check BUL_STORE and the free space with: bul doctor")
        }
    }
    .into()
}
