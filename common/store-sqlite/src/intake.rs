//! Accepting: rows, payloads and counts, in one transaction for all calls that wait.
//!
//! Invariant: the count of a tenant is raised by what was inserted, in the same transaction.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bul_job::{Action, DeadReason, Input, JobCore, JobId, Lane, Parked, TenantId, Timestamp, ValidJob};
use bul_store::{Accepted, NewJob, StoreError, Turns, UnreadableMessage};
use sqlx::{Executor, Row};

use crate::fault::{Fault, corrupt};
use crate::limits::{Counts, loads_of_ready};
use crate::rows::{Job, blob, column, id, micros, state, whole};
use crate::set::{Set, Waiting};
use crate::transition::all;
use crate::wide::{Binds, Wide};
use crate::writer::Tx;

static ACCEPT: Wide = Wide::new(include_str!("../queries/accept.sql"));
static ACCEPT_CAREFUL: Wide = Wide::new(include_str!("../queries/accept_careful.sql"));
static ACCEPT_BODIES: Wide = Wide::new(include_str!("../queries/accept_bodies.sql"));
static FIND_CLAIMS: Wide = Wide::new(include_str!("../queries/find_claims.sql"));
static COUNT_ACCEPTED: Wide = Wide::new(include_str!("../queries/count_accepted.sql"));

/// A job made ready for the writer: what costs time is done by the caller's task.
pub(crate) struct Prepared {
    id: JobId,
    tenant: TenantId,
    template: String,
    business_area: String,
    lane: Lane,
    source: String,
    key: Option<String>,
    digest: [u8; 32],
    dedup: bool,
    run_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    max_attempts: u32,
    body: Arc<str>,
}

impl Prepared {
    pub(crate) fn new(new: &NewJob) -> Result<Self, StoreError> {
        let job = &new.job;
        let body = serde_json::to_string(job).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        // Without a key and dedup only a repetition of this very call will ever be compared with it.
        let claims = job.idempotency_key.is_some() || job.dedup;
        let digest = if claims { job.digest() } else { *blake3::hash(body.as_bytes()).as_bytes() };
        Ok(Self {
            id: new.id,
            tenant: new.tenant.clone(),
            template: job.template.clone(),
            business_area: job.business_area.clone().unwrap_or_default(),
            lane: job.lane,
            source: new.source.clone(),
            key: job.idempotency_key.clone(),
            digest,
            dedup: job.dedup,
            run_at: job.run_at.map(whole),
            deadline: job.deadline.map(whole),
            max_attempts: job.max_attempts,
            body: body.into(),
        })
    }

    fn dedup_digest(&self) -> Option<&[u8]> {
        self.dedup.then_some(self.digest.as_slice())
    }

    /// Whether it stands in line as soon as it is accepted. One that is too late already ends when it begins.
    fn is_ready(&self, now: Timestamp) -> bool {
        self.run_at.is_none_or(|at| at <= now) && self.deadline.is_none_or(|deadline| deadline > now)
    }

    /// Whether a row holds this content. Rows of version 1 always have the digest of the content itself.
    fn has_digest(&self, digest: &[u8]) -> bool {
        let of_content = || serde_json::from_str::<ValidJob>(&self.body).map(|job| job.digest());
        digest == self.digest || of_content().is_ok_and(|own| digest == own)
    }
}

/// A job and how it starts.
struct Start<'j> {
    job: &'j Prepared,
    core: JobCore,
    action: Action,
}

impl<'j> Start<'j> {
    fn new(job: &'j Prepared, tx: &mut Tx, turns: &mut Turns<'_>) -> Self {
        let (mut core, mut action) =
            JobCore::accept(tx.now, job.run_at, job.deadline, job.max_attempts, &tx.rules);
        if job.is_ready(tx.now)
            && let Err(why) = turns.admit(&job.tenant, job.lane)
            && let Ok(applied) = core.apply(&Input::Park { why }, tx.now, &tx.rules, &mut tx.rng)
        {
            action = applied.action;
        }
        core.due_at = core.due_at.map(whole);
        Self { job, core, action }
    }

    fn answer(&self) -> Accepted {
        let job = self.job;
        Accepted::new(job.id, &job.tenant, job.lane, self.core.state, self.action)
    }

    fn bind(&self, now: Timestamp, binds: &mut Binds) {
        let (job, core) = (self.job, &self.core);
        binds
            .put(blob(job.id))
            .put(job.tenant.as_str())
            .put(job.template.as_str())
            .put(job.business_area.as_str())
            .put(job.lane.index() as i64)
            .put(job.source.as_str())
            .put(job.key.as_deref())
            .put(job.digest.as_slice())
            .put(job.dedup_digest())
            .put(micros(now))
            .put(core.state.as_str())
            .put(core.publish.0)
            .put(core.max_attempts)
            .put(core.due_at.map(micros))
            .put(core.deadline.map(micros))
            .put(core.parked.map(Parked::as_str));
    }

    fn row(&self, now: Timestamp) -> Job {
        Job {
            id: self.job.id,
            tenant: self.job.tenant.clone(),
            lane: self.job.lane,
            core: self.core.clone(),
            accepted_at: now,
            started_at: None,
            ended_at: None,
            purged: false,
            dead_reason: None,
            code: None,
            message: None,
            worker: None,
        }
    }
}

/// The set of all calls that accept: an operation is a whole call.
pub(crate) struct Accepts;

impl Set for Accepts {
    type Op = Vec<Prepared>;
    type Answer = Vec<Accepted>;

    fn size(op: &Self::Op) -> usize {
        op.len().max(1)
    }

    fn bytes(op: &Self::Op) -> usize {
        op.iter().map(|job| job.body.len()).sum()
    }

    async fn run(tx: &mut Tx, set: &mut [Waiting<Self>]) -> Result<(), Fault> {
        let jobs: Vec<&Prepared> = set.iter().flat_map(|waiting| &waiting.op).collect();
        let (answers, new) = accept_all(tx, &jobs).await?;
        for start in new {
            tx.recent.put(start.row(tx.now), Some(Arc::clone(&start.job.body)));
        }
        let mut answers = answers.into_iter();
        for waiting in set {
            waiting.result = Some(Ok(answers.by_ref().take(waiting.op.len()).collect()));
        }
        Ok(())
    }
}

/// Accepts within a larger operation.
pub(crate) async fn accept(tx: &mut Tx, jobs: &[Prepared]) -> Result<Vec<Accepted>, Fault> {
    let jobs: Vec<&Prepared> = jobs.iter().collect();
    Ok(accept_all(tx, &jobs).await?.0)
}

async fn accept_all<'j>(
    tx: &mut Tx,
    jobs: &[&'j Prepared],
) -> Result<(Vec<Accepted>, Vec<Start<'j>>), Fault> {
    let now = tx.now;
    let in_line = jobs.iter().filter(|job| job.is_ready(now)).map(|job| (&job.tenant, job.lane));
    let loads = loads_of_ready(tx, &in_line.collect::<Vec<_>>()).await?;
    let limits = Arc::clone(&tx.limits);
    let mut turns = limits.turns(loads, now);
    let starts: Vec<Start> = jobs.iter().map(|job| Start::new(job, tx, &mut turns)).collect();
    tx.conn.execute("SAVEPOINT at_once").await?;
    let inserted = ACCEPT.execute(&mut tx.conn, &starts, |start, binds| start.bind(now, binds)).await?;
    let (answers, new) = if inserted == starts.len() as u64 {
        tx.conn.execute("RELEASE at_once").await?;
        (starts.iter().map(Start::answer).collect(), starts)
    } else {
        // Some were there before, and only their number is known.
        tx.conn.execute("ROLLBACK TO at_once; RELEASE at_once").await?;
        accept_careful(tx, starts).await?
    };
    let bind = |start: &Start, binds: &mut Binds| {
        binds.put(blob(start.job.id)).put(Arc::clone(&start.job.body));
    };
    all(new.len(), ACCEPT_BODIES.execute(&mut tx.conn, &new, bind).await?)?;
    let mut accepted: BTreeMap<&TenantId, u64> = BTreeMap::new();
    let mut counts = Counts::default();
    for start in &new {
        *accepted.entry(&start.job.tenant).or_default() += 1;
        counts.moved(&start.job.tenant, start.job.lane, None, start.core.state);
    }
    count_accepted(tx, &accepted.into_iter().collect::<Vec<_>>()).await?;
    counts.add(tx).await?;
    Ok((answers, new))
}

/// Accepts jobs of which some may be there. Earlier ones of the same call count as there.
async fn accept_careful<'j>(
    tx: &mut Tx,
    starts: Vec<Start<'j>>,
) -> Result<(Vec<Accepted>, Vec<Start<'j>>), Fault> {
    let now = tx.now;
    let rows = ACCEPT_CAREFUL.fetch(&mut tx.conn, &starts, |start, binds| start.bind(now, binds)).await?;
    let mut inserted = HashSet::with_capacity(rows.len());
    for row in rows {
        inserted.insert(id::<JobId>(row.try_get(0)?)?);
    }
    let mut answers: Vec<Option<Accepted>> = Vec::with_capacity(starts.len());
    let (mut new, mut rest) = (Vec::new(), Vec::new());
    for start in starts {
        // An id that is there twice was inserted at its first place.
        if inserted.remove(&start.job.id) {
            answers.push(Some(start.answer()));
            new.push(start);
        } else {
            rest.push((answers.len(), start.job));
            answers.push(None);
        }
    }
    find_claims(tx, &rest, &mut answers).await?;
    let answers: Option<Vec<Accepted>> = answers.into_iter().collect();
    Ok((answers.ok_or_else(|| corrupt("a job was neither accepted nor there before"))?, new))
}

/// The jobs that were there first.
async fn find_claims(
    tx: &mut Tx,
    rest: &[(usize, &Prepared)],
    answers: &mut [Option<Accepted>],
) -> Result<(), Fault> {
    let bind = |(place, job): &(usize, &Prepared), binds: &mut Binds| {
        binds
            .put(*place as i64)
            .put(blob(job.id))
            .put(job.tenant.as_str())
            .put(job.key.as_deref())
            .put(job.dedup_digest());
    };
    let rows = FIND_CLAIMS.fetch(&mut tx.conn, rest, bind).await?;
    let jobs: BTreeMap<usize, &Prepared> = rest.iter().copied().collect();
    for row in rows {
        let place = row.try_get::<i64, _>(0)? as usize;
        let (Some(job), Some(answer)) = (jobs.get(&place), answers.get_mut(place)) else { continue };
        let (found, tenant): (JobId, &str) = (id(row.try_get(1)?)?, row.try_get(2)?);
        let same = tenant == job.tenant.as_str() && job.has_digest(row.try_get(4)?);
        *answer = Some(if same {
            Accepted::Existing { id: found, state: state(row.try_get(3)?)? }
        } else {
            Accepted::Conflict { id: found }
        });
    }
    Ok(())
}

async fn count_accepted(tx: &mut Tx, counts: &[(&TenantId, u64)]) -> Result<(), Fault> {
    let bind = |(tenant, n): &(&TenantId, u64), binds: &mut Binds| {
        binds.put(tenant.as_str()).put(column(*n));
    };
    all(counts.len(), COUNT_ACCEPTED.execute(&mut tx.conn, counts, bind).await?)
}

pub(crate) async fn accept_unreadable(
    tx: &mut Tx,
    message: UnreadableMessage,
    digest: [u8; 32],
) -> Result<JobId, Fault> {
    let new = JobId::new();
    let inserted = sqlx::query(include_str!("../queries/accept_unreadable.sql"))
        .bind(blob(new))
        .bind(message.tenant.as_str())
        .bind(Lane::default().index() as i64)
        .bind(message.source)
        .bind(digest.as_slice())
        .bind(micros(tx.now))
        .bind(1i64)
        .bind(message.reason)
        .bind(DeadReason::Unreadable.as_str())
        .execute(&mut tx.conn)
        .await?;
    if inserted.rows_affected() == 0 {
        return kept_before(tx, &digest).await;
    }
    sqlx::query(include_str!("../queries/accept_raw.sql"))
        .bind(blob(new))
        .bind(message.raw)
        .execute(&mut tx.conn)
        .await?;
    count_accepted(tx, &[(&message.tenant, 1)]).await?;
    Ok(new)
}

/// The letter of a message that came before.
async fn kept_before(tx: &mut Tx, digest: &[u8; 32]) -> Result<JobId, Fault> {
    let found: Vec<u8> = sqlx::query_scalar(include_str!("../queries/find_unreadable.sql"))
        .bind(digest.as_slice())
        .fetch_one(&mut tx.conn)
        .await?;
    id(&found)
}
