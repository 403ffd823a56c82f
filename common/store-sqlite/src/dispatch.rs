//! What is due, what is published, what a dead process left behind.

use std::collections::HashMap;

use bul_job::{Action, Input, JobId, PublishNo, Refused, State, Timestamp};
use bul_store::{Due, Ready, StoreError};

use crate::fault::Fault;
use crate::rows::{Job, JobRow, count, id_list, micros, time_or_none};
use crate::transition::apply;
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
    for row in rows {
        let mut job = Job::try_from(row)?;
        let applied = apply(tx, &mut job, &Input::Due).await?;
        match applied.action {
            Action::Publish(publish) => {
                due.ready.push(Ready { id: job.id, tenant: job.tenant, lane: job.lane, publish });
            }
            Action::None | Action::Run(_) => {
                let status = job.status();
                due.changed.push((job.tenant, job.id, status));
            }
        }
    }
    Ok(due)
}

pub(crate) async fn published(tx: &mut Tx, confirmed: Vec<(JobId, PublishNo)>) -> Result<(), Fault> {
    let rows: Vec<JobRow> = sqlx::query_as(include_str!("../queries/load_jobs.sql"))
        .bind(id_list(confirmed.iter().map(|(id, _)| *id)))
        .fetch_all(&mut tx.conn)
        .await?;
    let mut jobs = HashMap::with_capacity(rows.len());
    for row in rows {
        let job = Job::try_from(row)?;
        jobs.insert(job.id, job);
    }
    for (id, publish) in confirmed {
        let Some(job) = jobs.get_mut(&id) else { continue };
        match apply(tx, job, &Input::Published(publish)).await {
            // Outdated, or a worker was faster than the confirmation.
            Err(Fault::Store(StoreError::Refused(Refused::Stale | Refused::Final(_)))) | Ok(_) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

pub(crate) async fn next_due_at(conn: &mut sqlx::SqliteConnection) -> Result<Option<Timestamp>, Fault> {
    let at: Option<i64> =
        sqlx::query_scalar(include_str!("../queries/next_due_at.sql")).fetch_one(conn).await?;
    time_or_none(at)
}

pub(crate) async fn republish_queued(tx: &mut Tx) -> Result<u64, Fault> {
    sqlx::query(include_str!("../queries/republish_queued.sql"))
        .bind(micros(tx.now))
        .execute(&mut tx.conn)
        .await?;
    let queued: i64 =
        sqlx::query_scalar(include_str!("../queries/count_queued.sql")).fetch_one(&mut tx.conn).await?;
    count(queued)
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
        for row in rows {
            let mut job = Job::try_from(row)?;
            apply(tx, &mut job, &Input::Orphaned).await?;
            debug_assert_ne!(job.core.state, State::Running, "each turn of the loop makes progress");
            ended += 1;
        }
    }
}
