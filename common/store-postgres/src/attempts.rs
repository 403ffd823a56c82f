//! The life of an attempt: begin, extend, and one of complete, fail and hand back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bul_job::{
    Action, AttemptNo, Failure, Format, Input, JobId, Refused, State, TenantId, Timestamp, day_of, minute_of,
};
use bul_store::{Attempt, Begin, Extended, JobStatus, Output, SessionTurn, StoreError, Usage};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgBindIterExt;
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::Shared;
use crate::batch::Waiting;
use crate::fault::{Fault, corrupt, unique};
use crate::limits;
use crate::rows::{Job, column, finite, json, narrow, text, to_json};
use crate::steps::{Move, Step, Steps, write_any};
use crate::texts;
use crate::transition::Draft;
use crate::turns::{self, Said};
use crate::watches::Watches;

/// Longest lease: a worker that asks for more would hide its own death for longer.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Tokens of a job that count: a wrong number must neither overflow a sum nor cost a finished document.
const TOKENS_MAX: i64 = 1 << 40;
const LOAD_JOBS: (&str, bool) = (include_str!("../queries/load_jobs.sql"), false);
const LOAD_BODIES: (&str, bool) = (include_str!("../queries/load_bodies.sql"), true);

/// A lease as the tables can hold it: in whole microseconds.
fn bounded(lease: Duration) -> Duration {
    Duration::from_micros(lease.min(LEASE_MAX).as_micros() as u64)
}

/// [`bul_store::Store::begin`].
pub(crate) struct BeginStep;

pub(crate) struct BeginOp {
    pub(crate) id: JobId,
    pub(crate) worker: String,
    pub(crate) lease: Duration,
}

pub(crate) enum Begun {
    /// What it asks for is parsed by the caller's task, of which there are many.
    Run(Box<Lease>),
    Skip(State),
}

pub(crate) struct Lease {
    id: JobId,
    tenant: TenantId,
    attempt: AttemptNo,
    failures: u32,
    alone: bool,
    accepted_at: Timestamp,
    body: Arc<String>,
}

impl Begun {
    /// The attempt that was given out.
    pub(crate) fn attempt(&self) -> Option<AttemptNo> {
        match self {
            Self::Run(lease) => Some(lease.attempt),
            Self::Skip(_) => None,
        }
    }

    pub(crate) fn parse(self) -> Result<Begin, Fault> {
        match self {
            Self::Skip(state) => Ok(Begin::Skip(state)),
            Self::Run(lease) => Ok(Begin::Run(Box::new(Attempt {
                id: lease.id,
                tenant: lease.tenant,
                attempt: lease.attempt,
                failures: lease.failures,
                alone: lease.alone,
                accepted_at: lease.accepted_at,
                job: json(&lease.body, "a job")?,
            }))),
        }
    }
}

impl Step for BeginStep {
    type Op = BeginOp;
    type Answer = Begun;
    const NAME: &'static str = "begin";
    const LOAD: (&'static str, bool) = LOAD_BODIES;

    fn id(op: &BeginOp) -> JobId {
        op.id
    }

    fn remembered<'i>(shared: &Shared, ids: impl Iterator<Item = &'i Uuid>) -> HashMap<Uuid, Draft> {
        shared.fresh.take(ids)
    }

    fn guard<'g>(
        shared: &'g Shared,
        conn: &'g mut PgConnection,
        drafts: &'g mut HashMap<Uuid, Draft>,
        now: Timestamp,
    ) -> BoxFuture<'g, Result<bool, Fault>> {
        limits::guard_begin(shared, conn, drafts, now).boxed()
    }

    fn decide(op: &BeginOp, draft: &mut Draft, shared: &Shared, now: Timestamp) -> Result<Begun, StoreError> {
        let input = match draft.park.take() {
            Some(why) => Input::Park { why },
            None => Input::Begin { lease: bounded(op.lease) },
        };
        match draft.apply(shared, now, &input) {
            Ok(applied) if matches!(applied.action, Action::Run(_)) => {
                draft.job.worker = Some(text(&op.worker).into_owned());
                draft.job.started_at = Some(now);
                Self::answer(op, draft, shared)
            }
            Ok(_) => Ok(Begun::Skip(draft.job.core.state)),
            Err(Refused::NotNow(state) | Refused::Final(state)) => Ok(Begun::Skip(state)),
            Err(refused) => Err(refused.into()),
        }
    }

    fn answer(op: &BeginOp, draft: &mut Draft, shared: &Shared) -> Result<Begun, StoreError> {
        if draft.job.core.state != State::Running {
            return Ok(Begun::Skip(draft.job.core.state));
        }
        let body = draft.body.take().ok_or_else(|| corrupt("an open job has no body"))?;
        Ok(Begun::Run(Box::new(Lease {
            id: op.id,
            tenant: draft.job.tenant.clone(),
            attempt: draft.job.core.attempt,
            failures: draft.job.core.failures,
            alone: draft.job.core.runs_alone(&shared.rules),
            accepted_at: draft.job.accepted_at,
            body,
        })))
    }

    fn written(shared: &Shared, job: Job) {
        if job.core.state == State::Running {
            shared.fronts.begun(&job);
            shared.running.put(job);
        }
    }

    fn write<'w>(
        shared: &'w Shared,
        conn: &'w mut PgConnection,
        _batch: &'w [Waiting<Steps<Self>>],
        moves: &'w [Move<Begun>],
        now: Timestamp,
        open: bool,
    ) -> BoxFuture<'w, Result<HashSet<Uuid>, Fault>> {
        async move {
            let (runs, others): (Vec<&Draft>, Vec<&Draft>) = moves
                .iter()
                .map(|step| &step.draft)
                .partition(|draft| draft.job.core.state == State::Running);
            let mut written = write_any(shared, conn, &others, now, open).await?;
            written.extend(write_begun(shared, conn, &runs, now).await?);
            Ok(written)
        }
        .boxed()
    }
}

async fn write_begun(
    shared: &Shared,
    conn: &mut PgConnection,
    runs: &[&Draft],
    now: Timestamp,
) -> Result<Vec<Uuid>, Fault> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let watches = Watches::new(now, runs.iter().filter_map(|draft| draft.watch()));
    let jobs = || runs.iter().map(|draft| &draft.job);
    Ok(sqlx::query_scalar(include_str!("../queries/begin.sql"))
        .bind(jobs().map(|job| job.id).bind_iter())
        .bind(jobs().map(|job| narrow(job.core.attempt.0)).bind_iter())
        .bind(jobs().map(|job| narrow(job.core.publish.0)).bind_iter())
        .bind(runs.iter().map(|draft| draft.before.due_at).bind_iter())
        .bind(jobs().map(|job| job.core.due_at).bind_iter())
        .bind(jobs().map(|job| job.worker.as_deref()).bind_iter())
        .bind(now)
        .bind(&watches.look_at)
        .bind(&watches.first)
        .bind(&watches.last)
        .bind(&watches.ids)
        .bind(shared.next_shard())
        .fetch_one(conn)
        .await?)
}

/// [`bul_store::Store::complete`].
pub(crate) struct CompleteStep;

pub(crate) struct CompleteOp {
    id: JobId,
    attempt: AttemptNo,
    documents: Vec<(Format, Vec<u8>)>,
    title: String,
    usage: Usage,
    findings: Option<String>,
    receipt: Option<String>,
    may_have_texts: bool,
    turn: Option<(String, SessionTurn)>,
}

impl CompleteOp {
    pub(crate) fn new(id: JobId, attempt: AttemptNo, output: &Output) -> Result<Self, StoreError> {
        let findings = (!output.findings.is_empty()).then(|| to_json(&output.findings)).transpose()?;
        let usage = Usage { model: text(&output.usage.model).into_owned(), ..output.usage.clone() };
        Ok(Self {
            id,
            attempt,
            documents: output.documents.clone(),
            title: text(&output.title).into_owned(),
            usage,
            findings,
            receipt: output.usage.receipt.to_text(),
            may_have_texts: output.kept_texts || attempt.0 > 1,
            turn: output.turn.clone(),
        })
    }
}

impl CompleteOp {
    fn said<'s>(&'s self, job: &'s Job) -> Option<Said<'s>> {
        self.turn.as_ref().map(|(session, turn)| (job, session.as_str(), turn))
    }
}

impl Step for CompleteStep {
    type Op = CompleteOp;
    type Answer = ();
    const NAME: &'static str = "complete";
    const LOAD: (&'static str, bool) = LOAD_JOBS;

    fn id(op: &CompleteOp) -> JobId {
        op.id
    }

    fn bytes(op: &CompleteOp) -> usize {
        op.documents.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn remembered<'i>(shared: &Shared, ids: impl Iterator<Item = &'i Uuid>) -> HashMap<Uuid, Draft> {
        shared.running.take(ids)
    }

    fn decide(op: &CompleteOp, draft: &mut Draft, shared: &Shared, now: Timestamp) -> Result<(), StoreError> {
        draft.apply(shared, now, &Input::Complete { attempt: op.attempt })?;
        Ok(())
    }

    fn answer(_op: &CompleteOp, _draft: &mut Draft, _shared: &Shared) -> Result<(), StoreError> {
        Ok(())
    }

    fn write<'w>(
        shared: &'w Shared,
        conn: &'w mut PgConnection,
        batch: &'w [Waiting<Steps<Self>>],
        moves: &'w [Move<()>],
        now: Timestamp,
        _open: bool,
    ) -> BoxFuture<'w, Result<HashSet<Uuid>, Fault>> {
        let results: Vec<(&Draft, &CompleteOp)> =
            moves.iter().map(|step| (&step.draft, &batch[step.cause].op)).collect();
        async move {
            let is_plain = |op: &CompleteOp| !op.may_have_texts && op.turn.is_none();
            if results.iter().all(|(_, op)| is_plain(op)) {
                return write_completed(shared, conn, &results, now).await;
            }
            conn.execute("BEGIN").await?;
            let written = write_completed(shared, conn, &results, now).await?;
            let done = || results.iter().filter(|(draft, _)| written.contains(&draft.job.id));
            let texts: Vec<Uuid> =
                done().filter(|(_, op)| op.may_have_texts).map(|(draft, _)| draft.job.id).collect();
            texts::forget(conn, &texts).await?;
            let said: Vec<Said<'_>> = done().filter_map(|(draft, op)| op.said(&draft.job)).collect();
            turns::add(conn, now, &said).await?;
            conn.execute("COMMIT").await?;
            Ok(written)
        }
        .boxed()
    }
}

async fn write_completed(
    shared: &Shared,
    conn: &mut PgConnection,
    results: &[(&Draft, &CompleteOp)],
    now: Timestamp,
) -> Result<HashSet<Uuid>, Fault> {
    let drafts = || results.iter().map(|(draft, _)| draft);
    let ops = || results.iter().map(|(_, op)| op);
    let usages = || ops().map(|op| &op.usage);
    let documents = || results.iter().flat_map(|(draft, op)| op.documents.iter().map(|d| (&draft.job, d)));
    let written: Vec<Uuid> = sqlx::query_scalar(include_str!("../queries/complete.sql"))
        .bind(drafts().map(|draft| draft.job.id).bind_iter())
        .bind(now)
        .bind(ops().map(|op| narrow(op.attempt.0)).bind_iter())
        .bind(drafts().map(|draft| draft.ended_late()).bind_iter())
        .bind(ops().map(|op| op.title.as_str()).bind_iter())
        .bind(ops().map(|op| op.findings.as_deref()).bind_iter())
        .bind(usages().map(|usage| usage.model.as_str()).bind_iter())
        .bind(usages().map(|usage| column(usage.prompt_tokens)).bind_iter())
        .bind(usages().map(|usage| column(usage.cached_tokens)).bind_iter())
        .bind(usages().map(|usage| column(usage.output_tokens)).bind_iter())
        .bind(usages().map(|usage| finite(usage.generate_ms)).bind_iter())
        .bind(usages().map(|usage| finite(usage.write_ms)).bind_iter())
        .bind(usages().map(|usage| finite(usage.total_ms)).bind_iter())
        .bind(usages().map(|usage| column(usage.budget_tokens()).min(TOKENS_MAX)).bind_iter())
        .bind(shared.next_shard())
        .bind(minute_of(now))
        .bind(day_of(now))
        .bind(documents().map(|(job, _)| job.id).bind_iter())
        .bind(documents().map(|(job, _)| job.tenant.as_str()).bind_iter())
        .bind(documents().map(|(_, (format, _))| format.as_str()).bind_iter())
        .bind(documents().map(|(_, (_, bytes))| bytes.as_slice()).bind_iter())
        .bind(ops().map(|op| op.receipt.as_deref()).bind_iter())
        .fetch_one(conn)
        .await
        .map_err(unique("document"))?;
    Ok(written.into_iter().collect())
}

/// [`bul_store::Store::extend`], `fail` and `hand_back`.
pub(crate) struct OtherStep;

pub(crate) struct OtherOp {
    pub(crate) id: JobId,
    pub(crate) what: Other,
}

pub(crate) enum Other {
    Extend { attempt: AttemptNo, lease: Duration },
    Fail { attempt: AttemptNo, failure: Failure },
    HandBack { attempt: AttemptNo, wait: Duration },
}

/// Where the job is now, and whether the user wants it to end.
pub(crate) struct Now {
    pub(crate) status: JobStatus,
    pub(crate) extended: Extended,
}

impl Step for OtherStep {
    type Op = OtherOp;
    type Answer = Now;
    const NAME: &'static str = "attempt";
    const LOAD: (&'static str, bool) = LOAD_JOBS;

    fn id(op: &OtherOp) -> JobId {
        op.id
    }

    fn written(shared: &Shared, job: Job) {
        if job.core.state != State::Running {
            shared.running.take([job.id].iter());
        }
    }

    fn decide(op: &OtherOp, draft: &mut Draft, shared: &Shared, now: Timestamp) -> Result<Now, StoreError> {
        let input = match &op.what {
            Other::Extend { attempt, lease } => Input::Extend { attempt: *attempt, lease: bounded(*lease) },
            Other::Fail { attempt, failure } => Input::Fail { attempt: *attempt, failure: failure.clone() },
            Other::HandBack { attempt, wait } => Input::HandBack { attempt: *attempt, wait: *wait },
        };
        draft.apply(shared, now, &input)?;
        Self::answer(op, draft, shared)
    }

    fn answer(_op: &OtherOp, draft: &mut Draft, _shared: &Shared) -> Result<Now, StoreError> {
        let extended = Extended { cancel_requested: draft.job.core.cancel_requested };
        Ok(Now { status: draft.job.status(), extended })
    }

    fn write<'w>(
        shared: &'w Shared,
        conn: &'w mut PgConnection,
        _batch: &'w [Waiting<Steps<Self>>],
        moves: &'w [Move<Now>],
        now: Timestamp,
        open: bool,
    ) -> BoxFuture<'w, Result<HashSet<Uuid>, Fault>> {
        let drafts: Vec<&Draft> = moves.iter().map(|step| &step.draft).collect();
        async move { write_any(shared, conn, &drafts, now, open).await }.boxed()
    }
}
