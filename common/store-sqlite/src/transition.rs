//! The one way a job changes: [`JobCore::apply`] on its row inside the transaction, then the rows that
//! follow from it, for many jobs at once.
//!
//! Invariant: no other code of this crate changes the state of a job that exists, but for `published.sql`
//! and `republish_queued.sql`, which move due times, and the dead letters' own columns.
//!
//! [`JobCore::apply`]: bul_job::JobCore::apply

use std::collections::HashMap;
use std::sync::Arc;

use bul_job::{
    Action, Applied, DeadReason, Failure, Input, JobCore, JobId, Parked, Refused, State, TenantId,
};
use bul_store::{StoreError, Words};
use sqlx::{FromRow, Row};

use crate::fault::{Fault, corrupt};
use crate::limits::Counts;
use crate::rows::{Job, JobRow, blob, class_name, column, id, micros, whole};
use crate::texts;
use crate::wide::{Binds, Wide};
use crate::writer::Tx;

static LOAD_JOBS: Wide = Wide::new(include_str!("../queries/load_jobs.sql"));
static LOAD_BODIES: Wide = Wide::new(include_str!("../queries/load_bodies.sql"));
static BEGIN: Wide = Wide::new(include_str!("../queries/begin.sql"));
static SAVE: Wide = Wide::new(include_str!("../queries/save.sql"));
static END_ATTEMPTS: Wide = Wide::new(include_str!("../queries/end_attempts.sql"));

/// A job as it was read, and what became of it.
pub(crate) struct Draft {
    pub(crate) job: Job,
    /// Set where the job may not begin, because its tenant may have no more at work.
    pub(crate) park: Option<Parked>,
    /// State in which it was read.
    was: State,
    /// What stands in the table, or will once the attempt in `begun` is written.
    base: JobCore,
    /// Set when an attempt has begun.
    begun: Option<JobCore>,
    /// Anything else has changed.
    moved: bool,
    /// The attempt that has ended without a result.
    ended: Option<EndedAttempt>,
}

struct EndedAttempt {
    outcome: &'static str,
    failure: Option<Failure>,
}

impl Draft {
    pub(crate) fn new(job: Job) -> Self {
        let (base, was) = (job.core.clone(), job.core.state);
        Self { base, was, job, park: None, begun: None, moved: false, ended: None }
    }

    pub(crate) fn has_changed(&self) -> bool {
        self.moved || self.begun.is_some()
    }

    /// Counts what has become of it.
    pub(crate) fn count<'d>(&'d self, counts: &mut Counts<'d>) {
        counts.moved(&self.job.tenant, self.job.lane, Some(self.was), self.job.core.state);
    }

    /// Applies an input. On `Err` nothing has changed.
    pub(crate) fn apply(&mut self, tx: &mut Tx, input: &Input) -> Result<Applied, Refused> {
        let before = self.job.core.clone();
        let applied = self.job.core.apply(input, tx.now, &tx.rules, &mut tx.rng)?;
        // The tables count in whole microseconds, and what is remembered must be what is written.
        self.job.core.due_at = self.job.core.due_at.map(whole);
        self.note(tx, input, &before, &applied);
        if before.state == State::Running && self.job.core.state != State::Running {
            self.end_attempt(input);
        }
        if matches!(applied.action, Action::Run(_)) && !self.moved {
            self.base = self.job.core.clone();
            self.begun = Some(self.job.core.clone());
        } else {
            self.moved = true;
        }
        Ok(applied)
    }

    /// What stands beside the machine's part: end, reason and words of the last failure.
    fn note(&mut self, tx: &Tx, input: &Input, before: &JobCore, applied: &Applied) {
        let job = &mut self.job;
        match Words::after(input, before, applied) {
            Words::Kept => {}
            Words::Cleared => (job.code, job.message) = (None, None),
            Words::Said { code, message } => {
                (job.code, job.message) = (Some(code), Some(message));
            }
        }
        job.dead_reason = applied.dead;
        job.ended_at = job.core.state.is_final().then_some(tx.now);
    }

    fn end_attempt(&mut self, input: &Input) {
        let (outcome, failure) = match input {
            // Its record is the row of the job itself.
            Input::Complete { .. } => return,
            Input::Fail { failure, .. } => ("failed", Some(failure.clone())),
            Input::HandBack { .. } => ("handed_back", None),
            Input::Due
            | Input::Orphaned
            | Input::Published(_)
            | Input::Park { .. }
            | Input::Release
            | Input::Begin { .. }
            | Input::Extend { .. }
            | Input::Cancel
            | Input::Replay { .. } => ("crashed", None),
        };
        self.ended = Some(EndedAttempt { outcome, failure });
    }
}

/// Loads a job whatever its tenant, to change it.
pub(crate) async fn load(tx: &mut Tx, id: JobId) -> Result<Job, Fault> {
    tx.recent.take(id);
    sqlx::query_as::<_, JobRow>(include_str!("../queries/load_job.sql"))
        .bind(blob(id))
        .fetch_optional(&mut tx.conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?
        .try_into()
}

/// Loads a job of a tenant: for users. A foreign job does not exist.
pub(crate) async fn load_of(tx: &mut Tx, tenant: &TenantId, id: JobId) -> Result<Job, Fault> {
    let job = load(tx, id).await?;
    if job.tenant == *tenant { Ok(job) } else { Err(StoreError::NotFound("job").into()) }
}

/// Loads many. A row that cannot be read is the fault of its job alone.
pub(crate) async fn load_all(
    tx: &mut Tx,
    ids: &[JobId],
) -> Result<HashMap<JobId, Result<Job, Fault>>, Fault> {
    let rows = LOAD_JOBS.fetch(&mut tx.conn, ids, put_id).await?;
    let mut jobs = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key: JobId = id(row.try_get("id")?)?;
        let job = JobRow::from_row(row).map_err(Fault::from).and_then(Job::try_from);
        jobs.insert(key, job);
    }
    Ok(jobs)
}

fn put_id(id: &JobId, binds: &mut Binds) {
    binds.put(blob(*id));
}

/// What jobs ask for.
pub(crate) async fn load_bodies(tx: &mut Tx, ids: &[JobId]) -> Result<HashMap<JobId, Arc<str>>, Fault> {
    let rows = LOAD_BODIES.fetch(&mut tx.conn, ids, put_id).await?;
    let mut bodies = HashMap::with_capacity(rows.len());
    for row in &rows {
        if let Some(body) = row.try_get::<Option<&str>, _>("body")? {
            bodies.insert(id(row.try_get("job")?)?, body.into());
        }
    }
    Ok(bodies)
}

/// Applies an input to one job and writes it.
pub(crate) async fn apply(tx: &mut Tx, job: Job, input: &Input) -> Result<Job, Fault> {
    let mut draft = Draft::new(job);
    draft.apply(tx, input)?;
    write(tx, std::slice::from_ref(&draft)).await?;
    Ok(draft.job)
}

/// Writes what has changed. Whoever calls it has taken the jobs out of the writer's memory.
pub(crate) async fn write(tx: &mut Tx, drafts: &[Draft]) -> Result<(), Fault> {
    let mut counts = Counts::default();
    drafts.iter().for_each(|draft| draft.count(&mut counts));
    let drafts: Vec<&Draft> = drafts.iter().collect();
    write_begun(tx, &drafts).await?;
    write_moved(tx, &drafts).await?;
    counts.add(tx).await
}

/// Writes the attempts that have begun.
pub(crate) async fn write_begun(tx: &mut Tx, drafts: &[&Draft]) -> Result<(), Fault> {
    let begun: Vec<(&Job, &JobCore)> =
        drafts.iter().filter_map(|draft| Some((&draft.job, draft.begun.as_ref()?))).collect();
    let bind = |(job, core): &(&Job, &JobCore), binds: &mut Binds| {
        binds
            .put(blob(job.id))
            .put(core.attempt.0)
            .put(core.due_at.map(micros))
            .put(job.worker.as_deref())
            .put(job.started_at.map(micros));
    };
    all(begun.len(), BEGIN.execute(&mut tx.conn, &begun, bind).await?)
}

/// Writes every other change but completions, and the records of ended attempts.
pub(crate) async fn write_moved(tx: &mut Tx, drafts: &[&Draft]) -> Result<(), Fault> {
    let is_moved = |draft: &&Draft| draft.moved && draft.job.core.state != State::Completed;
    let moved: Vec<&Draft> = drafts.iter().copied().filter(is_moved).collect();
    let bind = |draft: &&Draft, binds: &mut Binds| {
        let (job, core, base) = (&draft.job, &draft.job.core, &draft.base);
        binds
            .put(blob(job.id))
            .put(core.state.as_str())
            .put(core.attempt.0)
            .put(core.publish.0)
            .put(core.failures)
            .put(core.crashes)
            .put(core.due_at.map(micros))
            .put(core.cancel_requested)
            .put(core.deadline.map(micros))
            .put(job.dead_reason.map(DeadReason::as_str))
            .put(job.code.as_deref())
            .put(job.message.as_deref())
            .put(job.ended_at.map(micros))
            .put(job.worker.as_deref())
            .put(job.started_at.map(micros))
            .put(base.state.as_str())
            .put(base.attempt.0)
            .put(base.publish.0)
            .put(core.parked.map(Parked::as_str));
    };
    all(moved.len(), SAVE.execute(&mut tx.conn, &moved, bind).await?)?;
    write_ended(tx, &moved).await?;
    // Without an attempt there was nobody to keep a text.
    let cancelled = moved.iter().filter(|d| d.job.core.state == State::Cancelled && d.job.core.attempt.0 > 0);
    let cancelled: Vec<JobId> = cancelled.map(|draft| draft.job.id).collect();
    texts::forget(tx, &cancelled).await
}

async fn write_ended(tx: &mut Tx, drafts: &[&Draft]) -> Result<(), Fault> {
    let ended: Vec<(&Job, &JobCore, &EndedAttempt)> =
        drafts.iter().filter_map(|draft| Some((&draft.job, &draft.base, draft.ended.as_ref()?))).collect();
    let now = tx.now;
    let bind = |(job, base, end): &(&Job, &JobCore, &EndedAttempt), binds: &mut Binds| {
        let failure = end.failure.as_ref();
        binds
            .put(blob(job.id))
            .put(base.attempt.0)
            .put(job.worker.as_deref())
            .put(job.started_at.map(micros))
            .put(micros(now))
            .put(end.outcome)
            .put(failure.map(|f| class_name(f.class)))
            .put(failure.map(|f| f.code.as_str()))
            .put(failure.map(|f| f.message.as_str()))
            .put(failure.and_then(|f| f.retry_after_ms).map(column));
    };
    all(ended.len(), END_ATTEMPTS.execute(&mut tx.conn, &ended, bind).await?)
}

/// Every row that was decided on must have been written.
pub(crate) fn all(expected: usize, written: u64) -> Result<(), Fault> {
    if written == expected as u64 { Ok(()) } else { Err(corrupt("a job changed under the write lock")) }
}
