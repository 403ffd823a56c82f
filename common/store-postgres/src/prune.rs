//! What has been kept long enough is removed; jobs that go are counted, in the same transaction.

use bul_job::{JobId, State, Timestamp};
use bul_store::{Fate, Pruned, Retention};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Shared;
use crate::fault::Fault;
use crate::rows::{id, state, uuid};

type AgedRow = (Uuid, String, Timestamp, Option<Timestamp>);
type HeldRow = (Uuid, String, String, Option<Timestamp>);

pub(crate) async fn prune(
    shared: &Shared,
    conn: &mut PgConnection,
    keep: &Retention,
    after: Option<JobId>,
    limit: usize,
) -> Result<Pruned, Fault> {
    let (now, limit) = (shared.time.now(), bul_store::page_size(limit));
    let mut pruned = Pruned::default();
    if let Some(until) = keep.events_until(now) {
        pruned.events = remove_events(conn, until, limit).await?;
    }
    let Some(horizon) = keep.horizon(now) else { return Ok(pruned) };
    let page: Vec<AgedRow> = sqlx::query_as(include_str!("../queries/prune_page.sql"))
        .bind(after.map_or(Uuid::nil(), uuid))
        .bind(limit as i64)
        .fetch_all(&mut *conn)
        .await?;
    let (mut gone, mut bare) = (Vec::new(), Vec::new());
    for (id, state_name, _, ended_at) in &page {
        match keep.fate(state(state_name)?, *ended_at, now) {
            Fate::Kept => {}
            Fate::WithoutDocuments => bare.push(*id),
            Fate::Gone => gone.push(*id),
        }
    }
    pruned.documents = run(conn, include_str!("../queries/prune_documents.sql"), &bare).await?;
    run(conn, include_str!("../queries/prune_turns.sql"), &bare).await?;
    for state in remove(conn, keep, &gone, now).await? {
        pruned.count(state, 1);
    }
    let is_last = |row: &&AgedRow| page.len() < limit || row.2 > horizon;
    pruned.next = page.last().filter(|row| !is_last(row)).map(|row| id(row.0)).transpose()?;
    Ok(pruned)
}

/// Removes jobs that are still what they were when they were read; the states in which they had ended.
async fn remove(
    conn: &mut PgConnection,
    keep: &Retention,
    ids: &[Uuid],
    now: Timestamp,
) -> Result<Vec<State>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let held: Vec<HeldRow> =
        sqlx::query_as(include_str!("../queries/prune_lock.sql")).bind(ids).fetch_all(&mut *conn).await?;
    let (mut gone, mut tenants, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for (id, tenant, name, ended_at) in held {
        let state = state(&name)?;
        if keep.fate(state, ended_at, now) == Fate::Gone {
            gone.push(id);
            tenants.push(tenant);
            states.push(state);
        }
    }
    for sql in [
        include_str!("../queries/prune_attempts.sql"),
        include_str!("../queries/prune_documents.sql"),
        include_str!("../queries/prune_jobs.sql"),
    ] {
        run(conn, sql, &gone).await?;
    }
    let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    sqlx::query(include_str!("../queries/count_pruned.sql"))
        .bind(&tenants)
        .bind(&names)
        .execute(&mut *conn)
        .await?;
    Ok(states)
}

async fn run(conn: &mut PgConnection, sql: &'static str, ids: &[Uuid]) -> Result<u64, Fault> {
    if ids.is_empty() {
        return Ok(0);
    }
    Ok(sqlx::query(sql).bind(ids).execute(&mut *conn).await?.rows_affected())
}

async fn remove_events(conn: &mut PgConnection, until: Timestamp, limit: usize) -> Result<u64, Fault> {
    let mut removed = 0;
    for sql in [include_str!("../queries/prune_audit.sql"), include_str!("../queries/prune_fires.sql")] {
        let done = sqlx::query(sql).bind(until).bind(limit as i64).execute(&mut *conn).await?;
        removed += done.rows_affected();
    }
    Ok(removed)
}
