//! What finished jobs of sessions have said.

use bul_job::{TenantId, Timestamp};
use bul_store::{SessionTurn, TURNS_MAX};
use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;

use crate::fault::{Fault, corrupt};
use crate::rows::{Job, text};

/// What a job has said, and in which session.
pub(crate) type Said<'s> = (&'s Job, &'s str, &'s SessionTurn);

/// Writes what jobs have said, in the transaction that completes them.
pub(crate) async fn add(conn: &mut PgConnection, now: Timestamp, said: &[Said<'_>]) -> Result<(), Fault> {
    if said.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("../queries/add_turns.sql"))
        .bind(now)
        .bind(said.iter().map(|(job, ..)| job.id).bind_iter())
        .bind(said.iter().map(|(job, ..)| job.tenant.as_str()).bind_iter())
        .bind(said.iter().map(|(_, session, _)| text(session)).bind_iter())
        .bind(said.iter().map(|(.., turn)| turn.user().as_bytes()).bind_iter())
        .bind(said.iter().map(|(.., turn)| turn.assistant().as_bytes()).bind_iter())
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn latest(
    conn: &mut PgConnection,
    tenant: &TenantId,
    session: &str,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<SessionTurn>, Fault> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(include_str!("../queries/session_turns.sql"))
        .bind(tenant.as_str())
        .bind(text(session))
        .bind(until)
        .bind(limit.min(TURNS_MAX) as i64)
        .fetch_all(conn)
        .await?;
    let turn =
        |(user, assistant)| SessionTurn::from_bytes(user, assistant).ok_or_else(|| corrupt("a turn is none"));
    rows.into_iter().rev().map(turn).collect()
}
