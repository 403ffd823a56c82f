//! The store knows *when*: every job's state, its future and its result.
//!
//! [`Store`] has one method per business transaction. Each is atomic; when it returns `Ok` its effect
//! is durable as far as the store promises ([`StoreInfo::durability`]). Decisions are those of
//! [`bul_job::JobCore`], applied inside the transaction. Tested by `conformance` (a feature), which every
//! implementation must pass.
//!
//! Invariant: SQL stands only in the implementing crates.

mod backlog;
mod breakers;
mod error;
mod kept;
mod limits;
mod newer;
mod receipt;
mod retention;
mod texts;
mod turns;
mod types;
mod unreadable;
mod words;
mod workers;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bul_job::{
    AttemptNo, Failure, JobId, Ledger, OwnLimits, PublishNo, ScheduleId, TenantId, Timestamp, ValidJob,
};

pub use backlog::{BACKLOG_MAX, BacklogFilter, Waiting, WaitingJob, count_waiting};
pub use breakers::{BREAKER_FRESH, BreakerReport, OpenBreaker, REDIS};
pub use error::{StoreError, StoreErrorClass};
pub use kept::*;
pub use limits::{KnownLimits, Place, TenantAccount, Turns};
pub use newer::{Unread, unread};
pub use receipt::Receipt;
pub use retention::{Fate, Pruned, Retention};
pub use texts::{KeptText, TEXT_BYTES_MAX, TEXTS_MAX};
pub use turns::{SessionTurn, TURN_BYTES_MAX, TURNS_MAX};
pub use types::*;
pub use unreadable::UnreadableMessage;
pub use words::Words;
pub use workers::{Presence, WORKER_FRESH};

#[cfg(feature = "conformance")]
pub mod conformance;

/// Durable home of jobs, documents, schedules and keys.
#[async_trait]
pub trait Store: Send + Sync {
    /// What this store is and what it promises.
    fn info(&self) -> StoreInfo;

    /// The store's clock. Leases, due times and fires are decided by it alone.
    fn now(&self) -> Timestamp;

    // --- intake ---------------------------------------------------------------------------------

    /// Accepts jobs, all or none of the batch in one transaction. Each gets its own answer in the
    /// order given: new, already there (idempotency key or `dedup`), or in conflict with another
    /// body under the same key. Jobs of one batch see each other.
    async fn accept(&self, jobs: &[NewJob]) -> Result<Vec<Accepted>, StoreError>;

    /// Keeps a message that cannot be read as a dead letter with its raw bytes, counted as accepted. The
    /// same message (see [`UnreadableMessage::digest`]) again gives the letter that is there, for as long
    /// as it is one and is not purged: a worker that dies before it acknowledges makes no second one.
    async fn accept_unreadable(&self, message: &UnreadableMessage) -> Result<JobId, StoreError>;

    // --- dispatch -------------------------------------------------------------------------------

    /// Moves rows whose `due_at` has passed: waiting ones and lost publications become queued and are
    /// returned for publishing; expired leases and passed deadlines change state only. At most `limit`
    /// rows, those due longest first.
    async fn take_due(&self, limit: usize) -> Result<Due, StoreError>;

    /// Publishes parked jobs for which there is a place now: those of the most urgent lanes and of these the
    /// oldest first. At most `limit` rows; `seen` tells how many were moved.
    async fn release(&self, limit: usize) -> Result<Due, StoreError>;

    /// The broker confirmed these publications. Outdated ones are ignored; the others are due again after
    /// [`bul_job::Rules::look_again_after`], since a broker may lose what it has confirmed.
    async fn published(&self, confirmed: &[(JobId, PublishNo)]) -> Result<(), StoreError>;

    /// When the next row becomes due, if any.
    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError>;

    /// For a broker that forgets: makes every queued row due at once, so that it is published again, and
    /// void every confirmation that is still under way. Returns how many.
    async fn republish_queued(&self) -> Result<u64, StoreError>;

    /// For a process that knows it is alone: every running attempt belongs to a process that is gone.
    /// Returns how many leases were ended.
    async fn end_orphaned(&self) -> Result<u64, StoreError>;

    // --- attempts -------------------------------------------------------------------------------

    /// A worker received a job and asks for its lease. Where its tenant may have no more jobs at work it is
    /// parked, and [`Begin::Skip`] says that it waits.
    async fn begin(&self, id: JobId, worker: &str, lease: Duration) -> Result<Begin, StoreError>;

    /// Extends the lease; tells whether the user asked the job to end. [`StoreError::Refused`] when
    /// another attempt has taken over.
    async fn extend(&self, id: JobId, attempt: AttemptNo, lease: Duration) -> Result<Extended, StoreError>;

    /// Keeps a finished text of the attempt for the next one, should this one be lost, fenced by the attempt. The answer to a
    /// request that is kept already is left as it is, and beyond [`TEXTS_MAX`] nothing is kept. Texts go when the job is
    /// completed (see [`Output::kept_texts`]) or cancelled; a dead letter has its own until it is purged or removed, so that
    /// its replay goes on where it was.
    async fn keep_text(&self, id: JobId, attempt: AttemptNo, text: &KeptText) -> Result<(), StoreError>;

    /// What earlier attempts of a job have kept; nothing for a job that is unknown.
    async fn kept_texts(&self, id: JobId) -> Result<Vec<KeptText>, StoreError>;

    /// What jobs of a session of the tenant have said that were completed until then: the latest `limit` of them (at most
    /// [`TURNS_MAX`]), the newest last. With `until` the time at which a job was accepted, every attempt of it is told the same.
    async fn session_turns(
        &self,
        tenant: &TenantId,
        session: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionTurn>, StoreError>;

    /// Stores the documents and ends the job, in one transaction, fenced by the attempt.
    async fn complete(&self, id: JobId, attempt: AttemptNo, output: &Output) -> Result<(), StoreError>;

    /// Records a failed attempt. Returns where the job is now.
    async fn fail(&self, id: JobId, attempt: AttemptNo, failure: &Failure) -> Result<JobStatus, StoreError>;

    /// Gives a job back unfinished without spending an attempt. Returns where the job is now.
    async fn hand_back(&self, id: JobId, attempt: AttemptNo) -> Result<JobStatus, StoreError>;

    // --- queries and user commands --------------------------------------------------------------

    /// One job of the tenant, with its attempts and the formats stored.
    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<JobDetail, StoreError>;

    /// Jobs of the tenant, newest first, after the cursor.
    async fn jobs(&self, tenant: &TenantId, filter: &JobFilter) -> Result<Vec<JobSummary>, StoreError>;

    /// Bytes of a document of the tenant.
    async fn document(
        &self,
        tenant: &TenantId,
        id: JobId,
        format: bul_job::Format,
    ) -> Result<Vec<u8>, StoreError>;

    /// Ends a job, or asks its attempt to end. A finished job gives [`StoreError::Refused`].
    async fn cancel(&self, tenant: &TenantId, id: JobId) -> Result<JobStatus, StoreError>;

    /// What stands before a job that is queued or parked: for the sentence that says why it waits.
    async fn place(&self, id: JobId) -> Result<Place, StoreError>;

    /// How many of the jobs that come next there are of each kind: those that are queued, and behind them those that fall due
    /// soon. Parked ones are left out, since nobody knows when they get a place. For forecasts: what it says is about right, and
    /// it costs the same however long the queue is.
    async fn backlog(&self, filter: &BacklogFilter) -> Result<Vec<Waiting>, StoreError>;

    // --- dead letters ---------------------------------------------------------------------------

    /// Dead letters of the tenant, oldest first, after the cursor. Purged ones are not listed.
    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// How many dead letters match, without the page limit.
    async fn count_dead_letters(&self, tenant: &TenantId, filter: &DeadFilter) -> Result<u64, StoreError>;

    /// Replaces the job of a dead letter; audited.
    async fn edit_dead_letter(
        &self,
        tenant: &TenantId,
        id: JobId,
        job: &ValidJob,
        actor: &str,
    ) -> Result<(), StoreError>;

    /// Makes a dead letter wait for its next run under the same id; audited. Replaying one that is not
    /// dead any more gives [`StoreError::Refused`]: a replay never runs twice. With `edited` it is first given that job, as
    /// by [`Store::edit_dead_letter`], in the same transaction: no other edit comes between the two, and of two operators
    /// who repair the same letter one is refused.
    async fn replay(
        &self,
        tenant: &TenantId,
        id: JobId,
        edited: Option<&ValidJob>,
        how: ReplayAs,
        actor: &str,
    ) -> Result<(), StoreError>;

    /// Erases payload, raw bytes and failure texts of a dead letter for good; the row stays dead in the
    /// ledger. Audited.
    async fn purge(&self, tenant: &TenantId, id: JobId, actor: &str) -> Result<(), StoreError>;

    /// Audit lines of the tenant, newest first.
    async fn audit(&self, tenant: &TenantId, limit: usize) -> Result<Vec<AuditLine>, StoreError>;

    // --- retention ------------------------------------------------------------------------------

    /// Looks at `limit` jobs from `after` on, in the order of their ids, and removes what `keep` no longer keeps:
    /// jobs with all that belongs to them, or their documents alone; and as many events. Jobs that go are counted,
    /// so that the ledger keeps its totals. [`Pruned::next`] is where the next call goes on. One transaction,
    /// small enough not to hold up the others; calls of several processes do no harm to each other.
    async fn prune(&self, keep: &Retention, after: Option<JobId>, limit: usize)
    -> Result<Pruned, StoreError>;

    // --- schedules ------------------------------------------------------------------------------

    /// Adds a schedule. A name that exists gives [`StoreError::Conflict`].
    async fn add_schedule(&self, schedule: &Schedule) -> Result<(), StoreError>;

    /// All schedules of the tenant by name.
    async fn schedules(&self, tenant: &TenantId) -> Result<Vec<Schedule>, StoreError>;

    /// Removes a schedule; jobs it has made stay.
    async fn remove_schedule(&self, tenant: &TenantId, id: ScheduleId) -> Result<(), StoreError>;

    /// Pauses or resumes; `next_at` is the next fire from now on resume.
    async fn set_schedule(
        &self,
        tenant: &TenantId,
        id: ScheduleId,
        change: ScheduleChange,
    ) -> Result<(), StoreError>;

    /// Schedules of all tenants that are not paused and whose `next_at` has passed.
    async fn due_schedules(&self, limit: usize) -> Result<Vec<Schedule>, StoreError>;

    /// Accepts the jobs of these fires and moves the schedule on, in one transaction. A fire
    /// `(schedule, time)` that was made before is skipped, whoever made it, and so is one before the
    /// schedule's present `next_at`: a leader that was frozen must not make up for what its successor
    /// has decided about. Returns the jobs made.
    async fn fire(
        &self,
        schedule: ScheduleId,
        fires: &[(Timestamp, NewJob)],
        next_at: Option<Timestamp>,
    ) -> Result<Vec<Accepted>, StoreError>;

    // --- circuit breakers -----------------------------------------------------------------------

    /// A process tells whether its circuit breaker towards a dependency is open: on every change, and
    /// while it is open at least three times within [`BREAKER_FRESH`].
    async fn report_breaker(&self, report: &BreakerReport) -> Result<(), StoreError>;

    /// Breakers reported open and confirmed within [`BREAKER_FRESH`], by dependency and process; a process
    /// that has died is silent and counts no more.
    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, StoreError>;

    // --- workers --------------------------------------------------------------------------------

    /// A process with workers says that it is there, or leaves: at least three times within [`WORKER_FRESH`] while it lives. Names
    /// those that are there, this one included unless it leaves; one that has died counts for [`WORKER_FRESH`].
    async fn attend(&self, process: &str, presence: Presence) -> Result<BTreeSet<String>, StoreError>;

    // --- leadership, keys, accounts -------------------------------------------------------------

    /// Takes or renews the lease of a role. At most one holder at a time has it.
    async fn lead(&self, role: &str, holder: &str, lease: Duration) -> Result<bool, StoreError>;

    /// Gives the lease up, if held.
    async fn resign(&self, role: &str, holder: &str) -> Result<(), StoreError>;

    /// Stores the hash of a key.
    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError>;

    /// Keys by name, revoked ones included.
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// The key of this hash, unless it is revoked.
    async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError>;

    /// Revokes by id.
    async fn revoke_key(&self, id: &str) -> Result<(), StoreError>;

    /// The conservation equation from one consistent view.
    async fn ledger(&self) -> Result<Ledger, StoreError>;

    /// Tokens and times by template and area since `since`.
    async fn usage(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<UsageLine>, StoreError>;

    /// Tenants that have limits of their own or ever had a job queued, by name.
    async fn tenant_limits(&self) -> Result<Vec<TenantAccount>, StoreError>;

    /// Gives a tenant limits of its own, in place of those it had. Other processes know within seconds; what
    /// runs already goes on.
    async fn set_tenant_limits(&self, tenant: &TenantId, own: &OwnLimits) -> Result<(), StoreError>;

    /// Whether reads and writes work; for `/readyz` and `bul doctor`.
    async fn check(&self) -> Result<(), StoreError>;

    /// Finishes pending writes and closes files. Later calls fail.
    async fn close(&self);
}
