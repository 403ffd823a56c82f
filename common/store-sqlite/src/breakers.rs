//! Open circuit breakers of the processes that use this store.

use bul_store::{BREAKER_FRESH, BreakerReport, OpenBreaker};
use sqlx::sqlite::SqliteConnection;

use bul_job::Timestamp;

use crate::fault::Fault;
use crate::rows::{micros, time};
use crate::writer::Tx;

/// Reports at or before this do not count any more.
fn stale(now: Timestamp) -> i64 {
    micros(now - BREAKER_FRESH)
}

pub(crate) async fn report(tx: &mut Tx, report: BreakerReport) -> Result<(), Fault> {
    let BreakerReport { process, dependency, open } = report;
    let query = if open {
        sqlx::query(include_str!("../queries/report_breaker.sql"))
            .bind(process)
            .bind(dependency)
            .bind(micros(tx.now))
    } else {
        sqlx::query(include_str!("../queries/close_breakers.sql")).bind(process).bind(dependency)
    };
    query.bind(stale(tx.now)).execute(&mut tx.conn).await?;
    Ok(())
}

pub(crate) async fn open(conn: &mut SqliteConnection, now: Timestamp) -> Result<Vec<OpenBreaker>, Fault> {
    let rows: Vec<(String, String, i64, i64)> =
        sqlx::query_as(include_str!("../queries/open_breakers.sql")).bind(stale(now)).fetch_all(conn).await?;
    let breaker = |(process, dependency, since, reported_at): (String, String, i64, i64)| {
        Ok(OpenBreaker { process, dependency, since: time(since)?, reported_at: time(reported_at)? })
    };
    rows.into_iter().map(breaker).collect()
}
