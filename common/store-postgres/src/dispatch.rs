//! What is due, and what a dead process left behind.
//!
//! The dispatcher takes watches whose time has come, reads their jobs, and writes new watches for those
//! that are due later. Two dispatchers share the watches and never see the same one. Invariant: a watch
//! is deleted only by a transaction that has dealt with each of its jobs.

use std::collections::HashSet;

use bul_job::{Action, Input, State, Timestamp};
use bul_store::{Due, Ready};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Shared;
use crate::fault::{Fault, corrupt};
use crate::limits::turns;
use crate::rows::{Job, count, id};
use crate::transition::{Draft, load, record, save};
use crate::watches::{WATCH_JOBS_MAX, Watches};

/// Watches read at once.
const WATCHES_AT_ONCE: i64 = 8;
/// Jobs looked at in one call, about: most of them have moved on, and a call must end some time.
const LOOK_MAX: usize = 20_000;
/// The earliest watches that are looked into for the time of the next due row.
const NEXT_WATCHES: i64 = 16;
/// Jobs of a watch that are looked at for it.
const NEXT_JOBS_MAX: i32 = 64;
/// Orphans ended in one transaction.
const ORPHANS_PAGE: i64 = 500;

pub(crate) async fn take_due(shared: &Shared, conn: &mut PgConnection, limit: usize) -> Result<Due, Fault> {
    let now = shared.time.now();
    let mut found = look(conn, now, limit).await?;
    found.due.sort_by_key(|draft| (draft.job.core.due_at, draft.job.id));
    let rest = found.due.split_off(limit.min(found.due.len()));
    let mut later = found.later;
    later.extend(rest.iter().filter_map(|draft| Some((draft.job.core.due_at?, draft.job.id))));

    let comes_up = |draft: &&Draft| draft.job.core.state == State::Waiting && draft.job.core.parked.is_none();
    let coming = found.due.iter().filter(comes_up).map(|draft| (&draft.job.tenant, draft.job.lane));
    let mut turns = turns(shared, conn, coming, now).await?;
    let mut taken = Vec::with_capacity(found.due.len());
    for mut draft in found.due {
        let mut action = draft.apply(shared, now, &Input::Due)?.action;
        // A delayed job stands in line like a new one; a lost publication had its turn.
        if matches!(action, Action::Publish(_))
            && draft.before.state == State::Waiting
            && let Err(why) = turns.admit(&draft.job.tenant, draft.job.lane)
        {
            action = draft.apply(shared, now, &Input::Park { why })?.action;
        }
        taken.push((draft, action));
    }
    taken.sort_by_key(|(draft, _)| draft.job.id);
    let drafts: Vec<&Draft> = taken.iter().map(|(draft, _)| draft).collect();
    let written = save(shared, conn, &drafts).await?;
    let kept: Vec<&Draft> = drafts.into_iter().filter(|draft| written.contains(&draft.job.id)).collect();
    record(conn, now, &kept).await?;

    let seen = if found.may_hold_more { limit } else { taken.len() };
    taken.sort_by_key(|(draft, _)| (draft.before.due_at, draft.job.id));
    let mut due = Due { seen, ..Due::default() };
    for (draft, action) in taken {
        if !written.contains(&draft.job.id) {
            // Somebody was faster; what became of it is looked at next time. Not from now on: with a due time after the one
            // that was read, and before now, they have counted on the watch that is gone.
            later.push((draft.before.due_at.unwrap_or(now), draft.job.id));
            continue;
        }
        // `record` announces only earlier due times, counting on a watch that is gone now.
        if let (None, Some(due_at)) = (draft.watch(), draft.job.core.due_at) {
            later.push((due_at, draft.job.id));
        }
        match action {
            Action::Publish(publish) => due.ready.push(ready(draft.job, publish)?),
            Action::None | Action::Run(_) => {
                let status = draft.job.status();
                due.changed.push((draft.job.tenant, id(draft.job.id)?, status));
            }
        }
    }
    Watches::new(now, later).add(conn).await?;
    Ok(due)
}

pub(crate) fn ready(job: Job, publish: bul_job::PublishNo) -> Result<Ready, Fault> {
    Ok(Ready { id: id(job.id)?, tenant: job.tenant, lane: job.lane, publish })
}

struct Found {
    due: Vec<Draft>,
    /// Jobs of the same watches that are due later.
    later: Vec<(Timestamp, Uuid)>,
    may_hold_more: bool,
}

/// Takes watches until enough jobs are due.
async fn look(conn: &mut PgConnection, now: Timestamp, limit: usize) -> Result<Found, Fault> {
    let mut found = Found { due: Vec::new(), later: Vec::new(), may_hold_more: false };
    let mut seen = HashSet::new();
    while found.due.len() < limit {
        if seen.len() >= LOOK_MAX {
            found.may_hold_more = true;
            break;
        }
        let watches: Vec<Vec<Uuid>> = sqlx::query_scalar(include_str!("../queries/take_watches.sql"))
            .bind(now)
            .bind(WATCHES_AT_ONCE)
            .fetch_all(&mut *conn)
            .await?;
        if watches.is_empty() {
            break;
        }
        let ids: Vec<Uuid> = watches.into_iter().flatten().filter(|id| seen.insert(*id)).collect();
        for draft in load(conn, include_str!("../queries/due_jobs.sql"), &ids, false).await?.into_values() {
            match draft.job.core.due_at {
                Some(at) if at <= now => found.due.push(draft),
                Some(at) => found.later.push((at, draft.job.id)),
                // Ended: whoever gives it a due time again announces it.
                None => {}
            }
        }
    }
    Ok(found)
}

/// Exact while there are few watches; with many it may be early, never late.
pub(crate) async fn next_due_at(conn: &mut PgConnection) -> Result<Option<Timestamp>, Fault> {
    let rows: Vec<(Timestamp, Option<Timestamp>, bool)> =
        sqlx::query_as(include_str!("../queries/next_watches.sql"))
            .bind(NEXT_WATCHES)
            .bind(NEXT_JOBS_MAX)
            .fetch_all(conn)
            .await?;
    let mut next: Option<Timestamp> = None;
    let (many, last) = (rows.len() as i64 == NEXT_WATCHES, rows.last().map(|(look_at, ..)| *look_at));
    for (look_at, due_at, exact) in rows {
        if next.is_some_and(|next| next <= look_at) {
            return Ok(next);
        }
        let candidate = if exact { due_at } else { Some(look_at) };
        next = next.into_iter().chain(candidate).min();
    }
    // Behind the last one that was looked at there may be earlier ones.
    Ok(if many { next.into_iter().chain(last).min() } else { next })
}

pub(crate) async fn republish_queued(shared: &Shared, conn: &mut PgConnection) -> Result<u64, Fault> {
    let queued: i64 = sqlx::query_scalar(include_str!("../queries/republish_queued.sql"))
        .bind(shared.time.now())
        .bind(WATCH_JOBS_MAX as i64)
        .fetch_one(conn)
        .await?;
    count(queued)
}

/// One page of orphans: how many there were, and how many leases were ended.
pub(crate) async fn end_orphans(shared: &Shared, conn: &mut PgConnection) -> Result<(usize, u64), Fault> {
    let now = shared.time.now();
    let rows = sqlx::query(include_str!("../queries/running_jobs.sql"))
        .bind(ORPHANS_PAGE)
        .fetch_all(&mut *conn)
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut draft = Draft::new(Job::try_from(row)?, None);
        draft.apply(shared, now, &Input::Orphaned)?;
        if draft.job.core.state == State::Running {
            return Err(corrupt("an orphan goes on running"));
        }
        drafts.push(draft);
    }
    drafts.sort_by_key(|draft| draft.job.id);
    let drafts: Vec<&Draft> = drafts.iter().collect();
    let written = save(shared, conn, &drafts).await?;
    let kept: Vec<&Draft> = drafts.into_iter().filter(|draft| written.contains(&draft.job.id)).collect();
    record(conn, now, &kept).await?;
    Ok((rows.len(), kept.len() as u64))
}
