//! Processes with workers that use this store.

use std::collections::BTreeSet;

use bul_job::Timestamp;
use bul_store::{Presence, WORKER_FRESH};
use sqlx::PgConnection;

use crate::fault::Fault;
use crate::rows::text;

pub(crate) async fn attend(
    conn: &mut PgConnection,
    now: Timestamp,
    process: &str,
    presence: Presence,
) -> Result<BTreeSet<String>, Fault> {
    let query = match presence {
        Presence::Here => sqlx::query(include_str!("../queries/attend.sql")).bind(text(process)).bind(now),
        Presence::Leaving => {
            sqlx::query(include_str!("../queries/leave.sql")).bind(text(process)).bind(now - WORKER_FRESH)
        }
    };
    query.execute(&mut *conn).await?;
    let alive: Vec<String> = sqlx::query_scalar(include_str!("../queries/workers.sql"))
        .bind(now - WORKER_FRESH)
        .fetch_all(conn)
        .await?;
    Ok(alive.into_iter().collect())
}
