//! What has been kept long enough is removed; jobs that go are counted, in the same transaction.

use bul_job::{JobId, State, TenantId, Timestamp};
use bul_store::{Fate, Pruned, Retention};

use crate::fault::Fault;
use crate::from_row::row;
use crate::rows::{blob, id, micros, state, tenant as tenant_of, time, time_or_none};
use crate::turns;
use crate::writer::Tx;

row! {
    struct AgedRow {
        id: Vec<u8>,
        tenant: String,
        state: String,
        accepted_at: i64,
        ended_at: Option<i64>,
    }
}

struct Aged {
    id: JobId,
    tenant: TenantId,
    state: State,
    accepted_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl TryFrom<AgedRow> for Aged {
    type Error = Fault;

    fn try_from(row: AgedRow) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&row.id)?,
            tenant: tenant_of(&row.tenant)?,
            state: state(&row.state)?,
            accepted_at: time(row.accepted_at)?,
            ended_at: time_or_none(row.ended_at)?,
        })
    }
}

pub(crate) async fn prune(
    tx: &mut Tx,
    keep: Retention,
    after: Option<JobId>,
    limit: usize,
) -> Result<Pruned, Fault> {
    let (now, limit) = (tx.now, bul_store::page_size(limit));
    let mut pruned = Pruned::default();
    if let Some(until) = keep.events_until(now) {
        pruned.events = remove_events(tx, until, limit).await?;
    }
    let Some(horizon) = keep.horizon(now) else { return Ok(pruned) };
    let rows: Vec<AgedRow> = sqlx::query_as(include_str!("../queries/prune_page.sql"))
        .bind(after.map_or_else(Vec::new, blob))
        .bind(limit as i64)
        .fetch_all(&mut tx.conn)
        .await?;
    let page = rows.into_iter().map(Aged::try_from).collect::<Result<Vec<_>, Fault>>()?;
    for job in &page {
        match keep.fate(job.state, job.ended_at, now) {
            Fate::Kept => {}
            Fate::WithoutDocuments => {
                pruned.documents += run(tx, include_str!("../queries/prune_documents.sql"), job.id).await?;
                turns::remove(tx, job.id).await?;
            }
            Fate::Gone => {
                remove(tx, job).await?;
                pruned.count(job.state, 1);
            }
        }
    }
    let last = page.last().filter(|last| page.len() == limit && last.accepted_at <= horizon);
    pruned.next = last.map(|last| last.id);
    Ok(pruned)
}

async fn remove(tx: &mut Tx, job: &Aged) -> Result<(), Fault> {
    drop(tx.recent.take(job.id));
    for sql in [
        include_str!("../queries/prune_attempts.sql"),
        include_str!("../queries/prune_documents.sql"),
        include_str!("../queries/purge_payload.sql"),
        include_str!("../queries/prune_job.sql"),
    ] {
        run(tx, sql, job.id).await?;
    }
    sqlx::query(include_str!("../queries/count_pruned.sql"))
        .bind(job.tenant.as_str())
        .bind(job.state.as_str())
        .bind(1)
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

async fn run(tx: &mut Tx, sql: &'static str, id: JobId) -> Result<u64, Fault> {
    Ok(sqlx::query(sql).bind(blob(id)).execute(&mut tx.conn).await?.rows_affected())
}

async fn remove_events(tx: &mut Tx, until: Timestamp, limit: usize) -> Result<u64, Fault> {
    let mut removed = 0;
    for sql in [include_str!("../queries/prune_audit.sql"), include_str!("../queries/prune_fires.sql")] {
        let done = sqlx::query(sql).bind(micros(until)).bind(limit as i64).execute(&mut tx.conn).await?;
        removed += done.rows_affected();
    }
    Ok(removed)
}
