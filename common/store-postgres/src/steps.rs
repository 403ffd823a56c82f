//! Batches of transitions: read the rows, let the state machine decide, write what has changed.
//!
//! Calls for one job in one batch act one after the other, in the order they came. A row that another
//! process has changed in the meantime is read and decided on again. Invariant: an answer that says that
//! something has changed is given only for rows the database has confirmed.

use std::collections::{BTreeMap, HashMap, HashSet};

use bul_job::{JobId, Timestamp};
use bul_store::StoreError;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::Shared;
use crate::batch::{Sent, Waiting, Work};
use crate::fault::Fault;
use crate::rows::{Job, uuid};
use crate::transition::{Draft, load, record, save};

/// Times a row is read again because another process was faster.
const ROUNDS_MAX: usize = 8;

/// A kind of transition that a worker asks for.
pub(crate) trait Step: Send + Sync + 'static {
    type Op: Send + Sync + 'static;
    type Answer: Send + 'static;
    const NAME: &'static str;
    /// The query that reads the rows, and whether it brings the bodies.
    const LOAD: (&'static str, bool);

    fn id(op: &Self::Op) -> JobId;

    fn bytes(_op: &Self::Op) -> usize {
        0
    }

    /// Rows that need not be read, because this process wrote them last and the write will find out if
    /// somebody else has since. Each is given out once, so that the next round reads it.
    fn remembered<'i>(_shared: &Shared, _ids: impl Iterator<Item = &'i Uuid>) -> HashMap<Uuid, Draft> {
        HashMap::new()
    }

    /// The row as the database has it now.
    fn written(_shared: &Shared, _job: Job) {}

    /// Looks after what no row shows, before anything is decided. True when that has opened a transaction, in
    /// which the write then takes place.
    fn guard<'g>(
        _shared: &'g Shared,
        _conn: &'g mut PgConnection,
        _drafts: &'g mut HashMap<Uuid, Draft>,
        _now: Timestamp,
    ) -> BoxFuture<'g, Result<bool, Fault>> {
        std::future::ready(Ok(false)).boxed()
    }

    /// Applies the call to the row.
    fn decide(
        op: &Self::Op,
        draft: &mut Draft,
        shared: &Shared,
        now: Timestamp,
    ) -> Result<Self::Answer, StoreError>;

    /// The answer to a call whose transition the row already shows.
    fn answer(op: &Self::Op, draft: &mut Draft, shared: &Shared) -> Result<Self::Answer, StoreError>;

    /// Writes what was decided, in a transaction of its own or in one that is `open`; which rows were still as
    /// they had been read.
    fn write<'w>(
        shared: &'w Shared,
        conn: &'w mut PgConnection,
        batch: &'w [Waiting<Steps<Self>>],
        moves: &'w [Move<Self::Answer>],
        now: Timestamp,
        open: bool,
    ) -> BoxFuture<'w, Result<HashSet<Uuid>, Fault>>
    where
        Self: Sized;
}

/// A row that changes.
pub(crate) struct Move<A> {
    pub(crate) draft: Draft,
    /// Place in the batch of the call that changed it last.
    pub(crate) cause: usize,
    answers: Vec<(usize, Result<A, StoreError>)>,
}

/// The work of a [`Step`].
pub(crate) struct Steps<S>(std::marker::PhantomData<S>);

impl<S: Step> Work for Steps<S> {
    type Op = S::Op;
    type Answer = S::Answer;
    const NAME: &'static str = S::NAME;

    fn bytes(op: &S::Op) -> usize {
        S::bytes(op)
    }

    fn flush<'f>(
        shared: &'f Shared,
        conn: &'f mut PgConnection,
        batch: &'f mut [Waiting<Self>],
    ) -> BoxFuture<'f, Result<(), Fault>> {
        flush::<S>(shared, conn, batch).boxed()
    }
}

async fn flush<S: Step>(
    shared: &Shared,
    conn: &mut PgConnection,
    batch: &mut [Waiting<Steps<S>>],
) -> Result<(), Fault> {
    for _ in 0..ROUNDS_MAX {
        let groups = by_job(batch);
        if groups.is_empty() {
            return Ok(());
        }
        let mut drafts = S::remembered(shared, groups.keys());
        let ids: Vec<Uuid> = groups.keys().filter(|id| !drafts.contains_key(id)).copied().collect();
        if !ids.is_empty() {
            let (sql, with_body) = S::LOAD;
            drafts.extend(load(conn, sql, &ids, with_body).await?);
        }
        let now = shared.time.now();
        let open = S::guard(shared, conn, &mut drafts, now).await?;
        let mut moves = Vec::with_capacity(groups.len());
        for (id, places) in groups {
            match drafts.remove(&id) {
                Some(draft) => moves.extend(decide::<S>(shared, now, draft, batch, places)),
                None => places
                    .into_iter()
                    .for_each(|place| batch[place].result = Some(Err(StoreError::NotFound("job")))),
            }
        }
        if moves.is_empty() {
            if open {
                conn.execute("ROLLBACK").await?;
            }
            return Ok(());
        }
        let written = S::write(shared, conn, batch, &moves, now, open).await?;
        if open {
            conn.execute("COMMIT").await?;
        }
        for step in moves {
            let done = written.contains(&step.draft.job.id);
            for (place, answer) in step.answers {
                batch[place].sent = None;
                if done {
                    batch[place].result = Some(answer);
                }
            }
            if done {
                S::written(shared, step.draft.job);
            }
        }
    }
    let contended = || StoreError::Unavailable("other processes keep changing the job".into());
    batch.iter_mut().filter(|w| w.result.is_none()).for_each(|w| w.result = Some(Err(contended())));
    Ok(())
}

/// Calls without a result, by job and in the order they came.
fn by_job<S: Step>(batch: &[Waiting<Steps<S>>]) -> BTreeMap<Uuid, Vec<usize>> {
    let mut groups: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (place, waiting) in batch.iter().enumerate().filter(|(_, waiting)| waiting.result.is_none()) {
        groups.entry(uuid(S::id(&waiting.op))).or_default().push(place);
    }
    groups
}

/// Applies the calls for one job. Where nothing changes, their results are final.
fn decide<S: Step>(
    shared: &Shared,
    now: Timestamp,
    mut draft: Draft,
    batch: &mut [Waiting<Steps<S>>],
    places: Vec<usize>,
) -> Option<Move<S::Answer>> {
    let mut answers = Vec::with_capacity(places.len());
    let mut cause = None;
    for place in places {
        let waiting = &mut batch[place];
        let sent = waiting.sent.take();
        if !draft.changed && sent.is_some_and(|sent| sent == Sent::of(&draft.job)) {
            // The commit took place, only its answer was lost.
            waiting.result = Some(S::answer(&waiting.op, &mut draft, shared));
            continue;
        }
        let before = draft.job.core.clone();
        let answer = S::decide(&waiting.op, &mut draft, shared, now);
        // A call that met an earlier one of its batch has sent nothing of its own.
        if draft.job.core != before {
            cause = Some(place);
            waiting.sent = Some(Sent::of(&draft.job));
        }
        answers.push((place, answer));
    }
    if let Some(cause) = cause {
        return Some(Move { draft, cause, answers });
    }
    for (place, answer) in answers {
        batch[place].result = Some(answer);
    }
    None
}

/// Writes transitions of any kind: rows, ended attempts and watches in one transaction where there is
/// more than rows, unless one is `open`.
pub(crate) async fn write_any(
    shared: &Shared,
    conn: &mut PgConnection,
    drafts: &[&Draft],
    now: Timestamp,
    open: bool,
) -> Result<HashSet<Uuid>, Fault> {
    if drafts.iter().all(|draft| !draft.has_ended_attempt() && draft.watch().is_none()) {
        return save(shared, conn, drafts).await;
    }
    if !open {
        conn.execute("BEGIN").await?;
    }
    let written = save(shared, conn, drafts).await?;
    let kept: Vec<&Draft> = drafts.iter().copied().filter(|draft| written.contains(&draft.job.id)).collect();
    record(conn, now, &kept).await?;
    if !open {
        conn.execute("COMMIT").await?;
    }
    Ok(written)
}
