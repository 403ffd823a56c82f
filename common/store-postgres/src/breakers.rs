//! Open circuit breakers of the processes that use this store.

use bul_job::Timestamp;
use bul_store::{BREAKER_FRESH, BreakerReport, OpenBreaker};
use sqlx::PgConnection;

use crate::fault::Fault;
use crate::rows::text;

pub(crate) async fn report(
    conn: &mut PgConnection,
    now: Timestamp,
    report: &BreakerReport,
) -> Result<(), Fault> {
    let (process, dependency) = (text(&report.process), text(&report.dependency));
    let query = if report.open {
        sqlx::query(include_str!("../queries/report_breaker.sql")).bind(process).bind(dependency).bind(now)
    } else {
        sqlx::query(include_str!("../queries/close_breakers.sql")).bind(process).bind(dependency)
    };
    query.bind(now - BREAKER_FRESH).execute(conn).await?;
    Ok(())
}

pub(crate) async fn open(conn: &mut PgConnection, now: Timestamp) -> Result<Vec<OpenBreaker>, Fault> {
    let rows: Vec<(String, String, Timestamp, Timestamp)> =
        sqlx::query_as(include_str!("../queries/open_breakers.sql"))
            .bind(now - BREAKER_FRESH)
            .fetch_all(conn)
            .await?;
    let breaker =
        |(process, dependency, since, reported_at)| OpenBreaker { process, dependency, since, reported_at };
    Ok(rows.into_iter().map(breaker).collect())
}
