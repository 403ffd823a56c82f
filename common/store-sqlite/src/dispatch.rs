//! What is due, and what a dead process or a forgetful broker left behind.

use std::sync::Arc;

use bul_job::{Action, Input, State, Timestamp};
use bul_store::{Due, Ready};

use crate::fault::Fault;
use crate::limits::loads_of_ready;
use crate::rows::{Job, JobRow, micros, time_or_none};
use crate::transition::{Draft, write};
use crate::writer::Tx;

/// Orphans ended per read; all of them in one transaction.
const ORPHANS_PAGE: i64 = 500;

pub(crate) async fn take_due(tx: &mut Tx, limit: usize) -> Result<Due, Fault> {
    let rows: Vec<JobRow> = sqlx::query_as(include_str!("../queries/due_jobs.sql"))
        .bind(micros(tx.now))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut tx.conn)
        .await?;
    let mut due = Due { seen: rows.len(), ..Due::default() };
    let mut drafts = rows.into_iter().map(|row| draft(tx, row)).collect::<Result<Vec<_>, Fault>>()?;
    let comes_up = |draft: &&Draft| draft.job.core.state == State::Waiting && draft.job.core.parked.is_none();
    let coming: Vec<_> = drafts.iter().filter(comes_up).map(|d| (&d.job.tenant, d.job.lane)).collect();
    let loads = loads_of_ready(tx, &coming).await?;
    let limits = Arc::clone(&tx.limits);
    let mut turns = limits.turns(loads, tx.now);
    for draft in &mut drafts {
        let waited = draft.job.core.state == State::Waiting;
        let mut applied = draft.apply(tx, &Input::Due)?;
        // A delayed job stands in line like a new one; a lost publication had its turn.
        if waited
            && matches!(applied.action, Action::Publish(_))
            && let Err(why) = turns.admit(&draft.job.tenant, draft.job.lane)
        {
            applied = draft.apply(tx, &Input::Park { why })?;
        }
        let (id, tenant) = (draft.job.id, draft.job.tenant.clone());
        match applied.action {
            Action::Publish(publish) => due.ready.push(Ready { id, tenant, lane: draft.job.lane, publish }),
            Action::None | Action::Run(_) => due.changed.push((tenant, id, draft.job.status())),
        }
    }
    write(tx, &drafts).await?;
    Ok(due)
}

fn draft(tx: &mut Tx, row: JobRow) -> Result<Draft, Fault> {
    let job = Job::try_from(row)?;
    tx.recent.take(job.id);
    Ok(Draft::new(job))
}

pub(crate) async fn next_due_at(conn: &mut sqlx::SqliteConnection) -> Result<Option<Timestamp>, Fault> {
    let at: Option<i64> =
        sqlx::query_scalar(include_str!("../queries/next_due_at.sql")).fetch_one(conn).await?;
    time_or_none(at)
}

pub(crate) async fn republish_queued(tx: &mut Tx) -> Result<u64, Fault> {
    // What was confirmed before the broker forgot would silence jobs that nobody has any more.
    drop(tx.confirmations.take_all());
    tx.recent.clear();
    let queued = sqlx::query(include_str!("../queries/republish_queued.sql"))
        .bind(micros(tx.now))
        .execute(&mut tx.conn)
        .await?;
    Ok(queued.rows_affected())
}

pub(crate) async fn end_orphaned(tx: &mut Tx) -> Result<u64, Fault> {
    let mut ended = 0;
    loop {
        let rows: Vec<JobRow> = sqlx::query_as(include_str!("../queries/running_jobs.sql"))
            .bind(ORPHANS_PAGE)
            .fetch_all(&mut tx.conn)
            .await?;
        if rows.is_empty() {
            return Ok(ended);
        }
        let mut drafts = Vec::with_capacity(rows.len());
        for row in rows {
            let mut draft = draft(tx, row)?;
            draft.apply(tx, &Input::Orphaned)?;
            debug_assert_ne!(draft.job.core.state, State::Running, "each turn of the loop makes progress");
            drafts.push(draft);
        }
        write(tx, &drafts).await?;
        ended += drafts.len() as u64;
    }
}
