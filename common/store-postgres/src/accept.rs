//! Accepting: rows, watches and counts, in one transaction for all calls that wait.
//!
//! Jobs that claim nothing (no idempotency key, no `dedup`) are inserted without looking for rivals,
//! which costs a third less; the rest, and batches in which an id turns out to be known, go the careful
//! way. Invariant: the count of a tenant is raised by what was inserted, in the same transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bul_job::{Action, DeadReason, Input, JobCore, JobId, Lane, Parked, State, TenantId, Timestamp};
use bul_store::{Accepted, NewJob, StoreError, Turns, UnreadableMessage};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgBindIterExt;
use sqlx::{Executor, PgConnection, Row};
use uuid::Uuid;

use crate::Shared;
use crate::batch::{Waiting, Work};
use crate::fault::{Fault, is_unique};
use crate::limits::turns;
use crate::rows::{Job, id, lane_column, narrow, state, text, to_json, uuid};
use crate::watches::Watches;

/// Jobs in one transaction; a call with more gets one of its own. Too low: a sync of the disk for few.
/// Too high: the first caller waits for the last.
pub(crate) const ACCEPT_JOBS_MAX: usize = 2000;
/// Rounds in which jobs look for their rivals: each settles at least one of those that meet in a batch.
const ROUNDS_MAX: usize = 64;

/// A job made ready for the batch: what costs time is done by the caller's task.
pub(crate) struct Prepared {
    id: JobId,
    uuid: Uuid,
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
    body: Arc<String>,
}

impl Prepared {
    pub(crate) fn new(new: &NewJob) -> Result<Self, StoreError> {
        let job = &new.job;
        let body = to_json(job)?;
        // Without a key and dedup only a repetition of this very call will ever be compared with it.
        let claims = job.idempotency_key.is_some() || job.dedup;
        let digest = if claims { job.digest() } else { *blake3::hash(body.as_bytes()).as_bytes() };
        Ok(Self {
            id: new.id,
            uuid: uuid(new.id),
            tenant: new.tenant.clone(),
            template: text(&job.template).into_owned(),
            business_area: text(job.business_area.as_deref().unwrap_or_default()).into_owned(),
            lane: job.lane,
            source: text(&new.source).into_owned(),
            key: job.idempotency_key.as_deref().map(|key| text(key).into_owned()),
            digest,
            dedup: job.dedup,
            run_at: job.run_at,
            deadline: job.deadline,
            max_attempts: job.max_attempts,
            body: Arc::new(body),
        })
    }

    fn open_digest(&self) -> Option<&[u8]> {
        self.dedup.then_some(self.digest.as_slice())
    }

    fn claims(&self) -> bool {
        self.dedup || self.key.is_some()
    }

    /// Whether it stands in line as soon as it is accepted. One that is too late already ends when it begins.
    fn is_ready(&self, now: Timestamp) -> bool {
        self.run_at.is_none_or(|at| at <= now) && self.deadline.is_none_or(|deadline| deadline > now)
    }
}

/// A job of a call, and when the call was sent before without an answer.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'j> {
    pub(crate) job: &'j Prepared,
    pub(crate) sent_at: &'j [Timestamp],
}

/// A job and how it starts.
struct Start<'j> {
    job: &'j Prepared,
    core: JobCore,
    action: Action,
}

impl<'j> Start<'j> {
    fn new(job: &'j Prepared, shared: &Shared, now: Timestamp) -> Self {
        let (core, action) = JobCore::accept(now, job.run_at, job.deadline, job.max_attempts, &shared.rules);
        Self { job, core, action }
    }

    /// Starts parked where it is not its turn.
    fn in_turn(job: &'j Prepared, shared: &Shared, turns: &mut Turns<'_>, now: Timestamp) -> Self {
        let mut start = Self::new(job, shared, now);
        if job.is_ready(now)
            && let Err(why) = turns.admit(&job.tenant, job.lane)
            && let Ok(applied) = shared.decide(&mut start.core, &Input::Park { why }, now)
        {
            start.action = applied.action;
        }
        start
    }

    fn answer(&self) -> Accepted {
        let job = self.job;
        Accepted::new(job.id, &job.tenant, job.lane, self.core.state, self.action)
    }
}

/// [`bul_store::Store::accept`]: an operation is a whole call.
pub(crate) struct AcceptWork;

impl Work for AcceptWork {
    type Op = Vec<Prepared>;
    type Answer = Vec<Accepted>;
    const NAME: &'static str = "accept";

    fn size(op: &Self::Op) -> usize {
        op.len()
    }

    fn bytes(op: &Self::Op) -> usize {
        op.iter().map(|job| job.body.len()).sum()
    }

    fn flush<'f>(
        shared: &'f Shared,
        conn: &'f mut PgConnection,
        batch: &'f mut [Waiting<Self>],
    ) -> BoxFuture<'f, Result<(), Fault>> {
        async move {
            let now = shared.time.now();
            // If the answer to this try is lost, the next one knows its own rows by the time.
            batch.iter_mut().for_each(|waiting| waiting.sent_at.push(now));
            let mut jobs: Vec<Asked<'_>> = Vec::new();
            for waiting in batch.iter() {
                let sent_at = &waiting.sent_at[..waiting.sent_at.len() - 1];
                jobs.extend(waiting.op.iter().map(|job| Asked { job, sent_at }));
            }
            let mut answers = accept_all(shared, conn, &jobs, now).await?.into_iter();
            for waiting in batch {
                waiting.result = Some(Ok(answers.by_ref().take(waiting.op.len()).collect()));
            }
            Ok(())
        }
        .boxed()
    }
}

async fn accept_all(
    shared: &Shared,
    conn: &mut PgConnection,
    jobs: &[Asked<'_>],
    now: Timestamp,
) -> Result<Vec<Accepted>, Fault> {
    if !jobs.iter().any(|asked| asked.job.claims()) {
        let mut turns = turns(shared, conn, lines(jobs, now), now).await?;
        let starts: Vec<Start> =
            jobs.iter().map(|asked| Start::in_turn(asked.job, shared, &mut turns, now)).collect();
        match insert_plain(shared, conn, &starts, now).await {
            Ok(()) => {
                remember(shared, &starts, now);
                return Ok(starts.iter().map(Start::answer).collect());
            }
            // An id is there already: a caller repeats a call whose answer it did not get.
            Err(Fault::Sql(error)) if is_unique(&error) => {}
            Err(other) => return Err(other),
        }
    }
    conn.execute("BEGIN").await?;
    let answers = accept_careful(shared, conn, jobs, now).await?;
    conn.execute("COMMIT").await?;
    Ok(answers)
}

/// Keeps what this process may soon begin itself.
fn remember(shared: &Shared, starts: &[Start<'_>], now: Timestamp) {
    if !shared.fresh.is_wanted() {
        return;
    }
    let queued = starts.iter().filter(|start| start.core.state == State::Queued);
    shared.fresh.put(queued.map(|Start { job, core, .. }| {
        let row = Job::accepted(job.uuid, job.tenant.clone(), job.lane, core.clone(), now);
        (row, Arc::clone(&job.body))
    }));
}

/// In which lines the jobs that are ready stand.
fn lines<'j>(jobs: &[Asked<'j>], now: Timestamp) -> impl Iterator<Item = (&'j TenantId, Lane)> {
    let ready = jobs.iter().map(|asked| asked.job).filter(move |job| job.is_ready(now));
    ready.map(|job| (&job.tenant, job.lane))
}

/// Accepts within the caller's transaction, whatever the jobs claim; the counts come last, since their
/// rows stay locked until the commit.
pub(crate) async fn accept_careful(
    shared: &Shared,
    conn: &mut PgConnection,
    jobs: &[Asked<'_>],
    now: Timestamp,
) -> Result<Vec<Accepted>, Fault> {
    let mut turns = turns(shared, conn, lines(jobs, now), now).await?;
    let mut answers: Vec<Option<Accepted>> = jobs.iter().map(|_| None).collect();
    let mut new: Vec<Start> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let open: Vec<usize> = (0..jobs.len()).filter(|place| answers[*place].is_none()).collect();
        if open.is_empty() {
            break;
        }
        let leaders = leaders(jobs, &open);
        let start = |place: &usize| Start::in_turn(jobs[*place].job, shared, &mut turns, now);
        let starts: Vec<Start> = leaders.iter().map(start).collect();
        let inserted = insert_careful(conn, &starts, now).await?;
        for (place, start) in leaders.into_iter().zip(starts) {
            if inserted.contains(&start.job.uuid) {
                answers[place] = Some(start.answer());
                new.push(start);
            }
        }
        let rest: Vec<usize> = open.into_iter().filter(|place| answers[*place].is_none()).collect();
        for (place, claim) in find_claims(shared, conn, jobs, &rest).await? {
            answers[place] = Some(claim);
        }
    }
    Watches::new(now, new.iter().filter_map(|start| Some((start.core.due_at?, start.job.uuid))))
        .add(conn)
        .await?;
    if !new.is_empty() {
        Counts::of(&new).add(shared, conn).await?;
    }
    let answers: Option<Vec<Accepted>> = answers.into_iter().collect();
    Ok(answers.ok_or_else(|| StoreError::Unavailable("its rivals keep changing".into()))?)
}

/// Jobs that meet no earlier one of the same call: inserted in this round. They lock what they claim in
/// one order, so that two batches with the same keys do not wait for each other.
fn leaders(jobs: &[Asked<'_>], open: &[usize]) -> Vec<usize> {
    let mut ids = HashSet::new();
    let mut keys = HashSet::new();
    let mut digests = HashSet::new();
    let mut leads = |job: &Prepared| {
        let new_id = ids.insert(job.uuid);
        let new_key = job.key.clone().is_none_or(|key| keys.insert((job.tenant.clone(), key)));
        let new_digest = !job.dedup || digests.insert((job.tenant.clone(), job.digest));
        new_id && new_key && new_digest
    };
    let mut leaders: Vec<usize> = open.iter().copied().filter(|place| leads(jobs[*place].job)).collect();
    leaders.sort_by_key(|place| {
        let job = jobs[*place].job;
        (job.tenant.clone(), job.key.clone(), job.dedup.then_some(job.digest), job.uuid)
    });
    leaders
}

/// New jobs per tenant, and queued ones per tenant and lane, in the order of their names, in which every
/// transaction locks their rows.
#[derive(Default)]
struct Counts<'j> {
    accepted: BTreeMap<&'j TenantId, i64>,
    queued: BTreeMap<(&'j TenantId, Lane), i64>,
}

/// Binds them as the last parameters of a statement.
macro_rules! bind_counts {
    ($query:expr, $counts:expr, $shard:expr) => {
        $query
            .bind($counts.queued.keys().map(|(tenant, _)| tenant.as_str()).bind_iter())
            .bind($counts.queued.keys().map(|(_, lane)| lane_column(*lane)).bind_iter())
            .bind($counts.queued.values().copied().bind_iter())
            .bind($counts.accepted.keys().map(|tenant| tenant.as_str()).bind_iter())
            .bind($counts.accepted.values().copied().bind_iter())
            .bind($shard)
    };
}

impl<'j> Counts<'j> {
    fn of(new: &[Start<'j>]) -> Self {
        let mut counts = Self::default();
        for start in new {
            *counts.accepted.entry(&start.job.tenant).or_default() += 1;
            if start.core.state == State::Queued {
                *counts.queued.entry((&start.job.tenant, start.job.lane)).or_default() += 1;
            }
        }
        counts
    }

    async fn add(&self, shared: &Shared, conn: &mut PgConnection) -> Result<(), Fault> {
        let query = sqlx::query(include_str!("../queries/count_accepted.sql"));
        bind_counts!(query, self, shared.next_shard()).execute(conn).await?;
        Ok(())
    }
}

/// Binds the columns that both ways of inserting share, $1 to $15.
macro_rules! bind_starts {
    ($query:expr, $starts:expr, $now:expr) => {{
        let jobs = || $starts.iter().map(|start| start.job);
        let cores = || $starts.iter().map(|start| &start.core);
        $query
            .bind(jobs().map(|job| job.uuid).bind_iter())
            .bind(jobs().map(|job| job.tenant.as_str()).bind_iter())
            .bind(jobs().map(|job| job.template.as_str()).bind_iter())
            .bind(jobs().map(|job| job.business_area.as_str()).bind_iter())
            .bind(jobs().map(|job| lane_column(job.lane)).bind_iter())
            .bind(jobs().map(|job| job.source.as_str()).bind_iter())
            .bind(jobs().map(|job| job.digest.as_slice()).bind_iter())
            .bind(cores().map(|core| core.state.as_str()).bind_iter())
            .bind(cores().map(|core| narrow(core.publish.0)).bind_iter())
            .bind(cores().map(|core| narrow(core.max_attempts)).bind_iter())
            .bind(cores().map(|core| core.due_at).bind_iter())
            .bind(cores().map(|core| core.deadline).bind_iter())
            .bind(jobs().map(|job| job.body.as_str()).bind_iter())
            .bind($now)
            .bind(cores().map(|core| core.parked.map(Parked::as_str)).bind_iter())
    }};
}

async fn insert_plain(
    shared: &Shared,
    conn: &mut PgConnection,
    starts: &[Start<'_>],
    now: Timestamp,
) -> Result<(), Fault> {
    if starts.is_empty() {
        return Ok(());
    }
    let due = starts.iter().filter_map(|start| Some((start.core.due_at?, start.job.uuid)));
    let watches = Watches::new(now, due);
    let counts = Counts::of(starts);
    let query = bind_starts!(sqlx::query(include_str!("../queries/accept.sql")), starts, now)
        .bind(&watches.look_at)
        .bind(&watches.first)
        .bind(&watches.last)
        .bind(&watches.ids);
    bind_counts!(query, counts, shared.next_shard()).execute(conn).await?;
    Ok(())
}

/// Ids of the jobs that were not there.
async fn insert_careful(
    conn: &mut PgConnection,
    starts: &[Start<'_>],
    now: Timestamp,
) -> Result<HashSet<Uuid>, Fault> {
    let query = sqlx::query_scalar(include_str!("../queries/accept_careful.sql"));
    let inserted: Vec<Uuid> = bind_starts!(query, starts, now)
        .bind(starts.iter().map(|start| start.job.key.as_deref()).bind_iter())
        .bind(starts.iter().map(|start| start.job.open_digest()).bind_iter())
        .fetch_all(conn)
        .await?;
    Ok(inserted.into_iter().collect())
}

/// The jobs that were there first. One that a call of ours inserted before its answer was lost is new.
async fn find_claims(
    shared: &Shared,
    conn: &mut PgConnection,
    jobs: &[Asked<'_>],
    rest: &[usize],
) -> Result<HashMap<usize, Accepted>, Fault> {
    if rest.is_empty() {
        return Ok(HashMap::new());
    }
    let seeking = || rest.iter().map(|place| jobs[*place].job);
    let found = sqlx::query(include_str!("../queries/find_claims.sql"))
        .bind(seeking().map(|job| job.uuid).bind_iter())
        .bind(seeking().map(|job| job.tenant.as_str()).bind_iter())
        .bind(seeking().map(|job| job.key.as_deref()).bind_iter())
        .bind(seeking().map(|job| job.open_digest()).bind_iter())
        .fetch_all(conn)
        .await?;
    let mut claims = HashMap::with_capacity(found.len());
    for row in &found {
        let ordinal: i64 = row.try_get(0)?;
        let Some(&place) = usize::try_from(ordinal - 1).ok().and_then(|n| rest.get(n)) else { continue };
        let Asked { job, sent_at } = jobs[place];
        let (uuid, accepted_at): (Uuid, Timestamp) = (row.try_get(1)?, row.try_get(5)?);
        let (tenant, digest): (&str, &[u8]) = (row.try_get(2)?, row.try_get(4)?);
        let same = digest == job.digest && tenant == job.tenant.as_str();
        let answer = if !same {
            Accepted::Conflict { id: id(uuid)? }
        } else if uuid == job.uuid && sent_at.contains(&accepted_at) {
            match (Start::new(job, shared, accepted_at).answer(), state(row.try_get(3)?)?) {
                // It was parked, or has moved on since: there is nothing to publish.
                (Accepted::New { id, publish: Some(_), .. }, state) if state != State::Queued => {
                    Accepted::New { id, state, publish: None }
                }
                (answer, _) => answer,
            }
        } else {
            Accepted::Existing { id: id(uuid)?, state: state(row.try_get(3)?)? }
        };
        claims.insert(place, answer);
    }
    Ok(claims)
}

pub(crate) async fn accept_unreadable(
    shared: &Shared,
    conn: &mut PgConnection,
    message: &UnreadableMessage,
) -> Result<JobId, Fault> {
    let (new, digest) = (JobId::new(), message.digest());
    let inserted = sqlx::query(include_str!("../queries/accept_unreadable.sql"))
        .bind(uuid(new))
        .bind(message.tenant.as_str())
        .bind(lane_column(Lane::default()))
        .bind(text(&message.source))
        .bind(digest.as_slice())
        .bind(shared.time.now())
        .bind(DeadReason::Unreadable.as_str())
        .bind(text(&message.reason))
        .bind(message.raw.as_slice())
        .execute(&mut *conn)
        .await?;
    if inserted.rows_affected() == 0 {
        return kept_before(conn, &digest).await;
    }
    Counts { accepted: BTreeMap::from([(&message.tenant, 1)]), queued: BTreeMap::new() }
        .add(shared, conn)
        .await?;
    Ok(new)
}

/// The letter of a message that came before.
async fn kept_before(conn: &mut PgConnection, digest: &[u8; 32]) -> Result<JobId, Fault> {
    let found: Option<Uuid> = sqlx::query_scalar(include_str!("../queries/find_unreadable.sql"))
        .bind(digest.as_slice())
        .fetch_optional(conn)
        .await?;
    // Purged or replayed between the two statements: the next try keeps it anew.
    id(found.ok_or_else(|| StoreError::Unavailable("its letter is being changed".into()))?)
}
