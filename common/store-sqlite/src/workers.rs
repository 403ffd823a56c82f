//! Processes with workers that use this store.

use std::collections::BTreeSet;

use bul_job::Timestamp;
use bul_store::{Presence, WORKER_FRESH};

use crate::fault::Fault;
use crate::rows::micros;
use crate::writer::Tx;

/// Signs of life at or before this do not count any more.
fn stale(now: Timestamp) -> i64 {
    micros(now - WORKER_FRESH)
}

pub(crate) async fn attend(
    tx: &mut Tx,
    process: String,
    presence: Presence,
) -> Result<BTreeSet<String>, Fault> {
    let query = match presence {
        Presence::Here => {
            sqlx::query(include_str!("../queries/attend.sql")).bind(process).bind(micros(tx.now))
        }
        Presence::Leaving => {
            sqlx::query(include_str!("../queries/leave.sql")).bind(process).bind(stale(tx.now))
        }
    };
    query.execute(&mut tx.conn).await?;
    let alive: Vec<String> = sqlx::query_scalar(include_str!("../queries/workers.sql"))
        .bind(stale(tx.now))
        .fetch_all(&mut tx.conn)
        .await?;
    Ok(alive.into_iter().collect())
}
