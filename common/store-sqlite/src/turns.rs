//! What finished jobs of sessions have said.

use bul_job::{JobId, TenantId, Timestamp};
use bul_store::{SessionTurn, TURNS_MAX};
use sqlx::sqlite::SqliteConnection;

use crate::fault::{Fault, corrupt};
use crate::rows::{blob, micros};
use crate::transition::Draft;
use crate::writer::Tx;

/// Writes what a job has said, in the transaction that completes it.
pub(crate) async fn add(tx: &mut Tx, draft: &Draft, session: &str, turn: &SessionTurn) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_turn.sql"))
        .bind(blob(draft.job.id))
        .bind(draft.job.tenant.as_str())
        .bind(session)
        .bind(draft.job.ended_at.map(micros))
        .bind(turn.user().as_bytes())
        .bind(turn.assistant().as_bytes())
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

pub(crate) async fn latest(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    session: String,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<SessionTurn>, Fault> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(include_str!("../queries/session_turns.sql"))
        .bind(tenant.as_str())
        .bind(session)
        .bind(micros(until))
        .bind(limit.min(TURNS_MAX) as i64)
        .fetch_all(conn)
        .await?;
    let turn =
        |(user, assistant)| SessionTurn::from_bytes(user, assistant).ok_or_else(|| corrupt("a turn is none"));
    rows.into_iter().rev().map(turn).collect()
}

/// Removes what a job has said.
pub(crate) async fn remove(tx: &mut Tx, id: JobId) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/prune_turns.sql")).bind(blob(id)).execute(&mut tx.conn).await?;
    Ok(())
}
