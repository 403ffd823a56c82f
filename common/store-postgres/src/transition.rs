//! The one way a job changes: [`JobCore::apply`] on a row that was read, then a write that takes effect
//! only if the row is still the same.
//!
//! Nothing is locked in between: most jobs have one writer, and a lock would cost as much as the write.
//! Invariant: no other code of this crate changes the state of a job that exists, but for the two
//! statements that write one kind of transition for many jobs, `begin.sql` and `complete.sql`, and for
//! `published.sql` and `republish_queued.sql`, which move a due time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bul_job::{Applied, DeadReason, Failure, Input, JobCore, Parked, Refused, State, Timestamp};
use bul_store::Words;
use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;
use uuid::Uuid;

use crate::Shared;
use crate::fault::{Fault, corrupt};
use crate::rows::{BODY, Job, class_name, column, id_millis, narrow, text};
use crate::texts;
use crate::watches::{Watches, needs_watch};

/// A job that ended this long after the time in its id is found by `jobs_late`, milliseconds.
const LATE_AFTER_MS: i64 = 24 * 3600 * 1000;

/// A job as it was read, and what became of it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) job: Job,
    /// What it asks for, where that was loaded.
    pub(crate) body: Option<Arc<String>>,
    pub(crate) before: JobCore,
    pub(crate) changed: bool,
    /// Set where the job may not begin, because its tenant may have no more at work.
    pub(crate) park: Option<Parked>,
    /// The attempt that a transition has ended without a result.
    ended: Option<EndedAttempt>,
}

#[derive(Debug)]
struct EndedAttempt {
    attempt: i32,
    outcome: &'static str,
    failure: Option<Failure>,
}

impl Draft {
    pub(crate) fn new(job: Job, body: Option<Arc<String>>) -> Self {
        Self { before: job.core.clone(), job, body, changed: false, park: None, ended: None }
    }

    /// Applies an input. On `Err` nothing has changed.
    pub(crate) fn apply(
        &mut self,
        shared: &Shared,
        now: Timestamp,
        input: &Input,
    ) -> Result<Applied, Refused> {
        let before = self.job.core.clone();
        let applied = shared.decide(&mut self.job.core, input, now)?;
        self.note(now, input, &before, &applied);
        if before.state == State::Running && self.job.core.state != State::Running {
            self.end_attempt(input, &before);
        }
        self.changed = true;
        Ok(applied)
    }

    /// What stands beside the machine's part: end, reason and words of the last failure.
    fn note(&mut self, now: Timestamp, input: &Input, before: &JobCore, applied: &Applied) {
        let job = &mut self.job;
        match Words::after(input, before, applied) {
            Words::Kept => {}
            Words::Cleared => (job.code, job.message) = (None, None),
            Words::Said { code, message } => {
                (job.code, job.message) = (Some(text(&code).into_owned()), Some(text(&message).into_owned()));
            }
        }
        job.dead_reason = applied.dead;
        job.ended_at = job.core.state.is_final().then_some(now);
    }

    fn end_attempt(&mut self, input: &Input, before: &JobCore) {
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
        self.ended = Some(EndedAttempt { attempt: narrow(before.attempt.0), outcome, failure });
    }

    /// Whether its due time must be announced to the dispatcher.
    pub(crate) fn watch(&self) -> Option<(Timestamp, Uuid)> {
        let due_at = self.job.core.due_at?;
        needs_watch(self.before.due_at, Some(due_at)).then_some((due_at, self.job.id))
    }

    /// The end of a job that ended long after it came.
    pub(crate) fn ended_late(&self) -> Option<Timestamp> {
        let late =
            |end: &Timestamp| end.timestamp_millis().saturating_sub(id_millis(self.job.id)) > LATE_AFTER_MS;
        self.job.ended_at.filter(late)
    }

    pub(crate) fn has_ended_attempt(&self) -> bool {
        self.ended.is_some()
    }
}

/// Reads jobs by `load_jobs.sql` or its like.
pub(crate) async fn load(
    conn: &mut PgConnection,
    sql: &'static str,
    ids: &[Uuid],
    with_body: bool,
) -> Result<HashMap<Uuid, Draft>, Fault> {
    let rows = sqlx::query(sql).bind(ids).fetch_all(conn).await?;
    let draft = |row: &sqlx::postgres::PgRow| {
        let body: Option<String> = if with_body { sqlx::Row::try_get(row, BODY)? } else { None };
        let job = Job::try_from(row)?;
        Ok((job.id, Draft::new(job, body.map(Arc::new))))
    };
    rows.iter().map(draft).collect()
}

/// Writes transitions; those in the order of their ids. Returns which rows were still as they had been
/// read; the others are unchanged.
pub(crate) async fn save(
    shared: &Shared,
    conn: &mut PgConnection,
    drafts: &[&Draft],
) -> Result<HashSet<Uuid>, Fault> {
    if drafts.is_empty() {
        return Ok(HashSet::new());
    }
    let jobs = || drafts.iter().map(|draft| &draft.job);
    let cores = || jobs().map(|job| &job.core);
    let before = || drafts.iter().map(|draft| &draft.before);
    let saved: Vec<Uuid> = sqlx::query_scalar(include_str!("../queries/save.sql"))
        .bind(jobs().map(|job| job.id).bind_iter())
        .bind(cores().map(|core| core.state.as_str()).bind_iter())
        .bind(cores().map(|core| narrow(core.attempt.0)).bind_iter())
        .bind(cores().map(|core| narrow(core.publish.0)).bind_iter())
        .bind(cores().map(|core| narrow(core.failures)).bind_iter())
        .bind(cores().map(|core| narrow(core.crashes)).bind_iter())
        .bind(cores().map(|core| core.due_at).bind_iter())
        .bind(cores().map(|core| core.cancel_requested).bind_iter())
        .bind(cores().map(|core| core.deadline).bind_iter())
        .bind(jobs().map(|job| job.dead_reason.map(DeadReason::as_str)).bind_iter())
        .bind(jobs().map(|job| job.code.as_deref()).bind_iter())
        .bind(jobs().map(|job| job.message.as_deref()).bind_iter())
        .bind(jobs().map(|job| job.ended_at).bind_iter())
        .bind(drafts.iter().map(|draft| draft.ended_late()).bind_iter())
        .bind(before().map(|core| core.state.as_str()).bind_iter())
        .bind(before().map(|core| narrow(core.attempt.0)).bind_iter())
        .bind(before().map(|core| narrow(core.publish.0)).bind_iter())
        .bind(before().map(|core| core.due_at).bind_iter())
        .bind(before().map(|core| core.cancel_requested).bind_iter())
        .bind(cores().map(|core| core.parked.map(Parked::as_str)).bind_iter())
        .bind(shared.next_shard())
        .fetch_all(conn)
        .await?;
    Ok(saved.into_iter().collect())
}

/// Records attempts that these transitions have ended, removes texts of cancelled jobs, and announces new due times, in the
/// transaction of [`save`].
pub(crate) async fn record(conn: &mut PgConnection, now: Timestamp, written: &[&Draft]) -> Result<(), Fault> {
    let ended: Vec<(&Job, &EndedAttempt)> =
        written.iter().filter_map(|draft| Some((&draft.job, draft.ended.as_ref()?))).collect();
    if !ended.is_empty() {
        let failures = || ended.iter().map(|(_, end)| end.failure.as_ref());
        let started = ended.iter().map(|(job, _)| job.started_at).collect::<Option<Vec<_>>>();
        let started = started.ok_or_else(|| corrupt("an attempt has no start"))?;
        sqlx::query(include_str!("../queries/end_attempts.sql"))
            .bind(ended.iter().map(|(job, _)| job.id).bind_iter())
            .bind(ended.iter().map(|(_, end)| end.attempt).bind_iter())
            .bind(ended.iter().map(|(job, _)| job.tenant.as_str()).bind_iter())
            .bind(ended.iter().map(|(job, _)| job.worker.as_deref().unwrap_or_default()).bind_iter())
            .bind(started)
            .bind(now)
            .bind(ended.iter().map(|(_, end)| end.outcome).bind_iter())
            .bind(failures().map(|f| f.map(|f| class_name(f.class))).bind_iter())
            .bind(failures().map(|f| f.map(|f| text(&f.code))).bind_iter())
            .bind(failures().map(|f| f.map(|f| text(&f.message))).bind_iter())
            .bind(failures().map(|f| f.and_then(|f| f.retry_after_ms).map(column)).bind_iter())
            .execute(&mut *conn)
            .await?;
    }
    // Without an attempt there was nobody to keep a text.
    let cancelled = written.iter().map(|draft| &draft.job).filter(|job| job.core.state == State::Cancelled);
    let cancelled: Vec<Uuid> = cancelled.filter(|job| job.core.attempt.0 > 0).map(|job| job.id).collect();
    texts::forget(conn, &cancelled).await?;
    Watches::new(now, written.iter().filter_map(|draft| draft.watch())).add(conn).await
}
