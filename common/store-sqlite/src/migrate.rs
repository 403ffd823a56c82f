//! Brings the schema of a file up to date when it is opened.
//!
//! Invariants: all steps of a file happen in one transaction, so that it is never between two versions; a
//! step that was released is never changed.

use std::path::Path;

use sqlx::Executor;
use sqlx::sqlite::SqliteConnection;

use crate::open::OpenError;

/// Marks the file as ours (`BUL1`), so that another program's database is not taken for an empty one.
const APPLICATION_ID: i64 = 0x4255_4c31;
/// The schema, one step per version; `user_version` of the file says how many are in.
const MIGRATIONS: [&str; 9] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_one_row_per_job.sql"),
    include_str!("../migrations/0003_unreadable_once.sql"),
    include_str!("../migrations/0004_limits_of_tenants.sql"),
    include_str!("../migrations/0005_retention.sql"),
    include_str!("../migrations/0006_workers.sql"),
    include_str!("../migrations/0007_receipts.sql"),
    include_str!("../migrations/0008_kept_texts.sql"),
    include_str!("../migrations/0009_session_turns.sql"),
];

/// Does what is missing; two processes that open a new file at once do it once.
pub(crate) async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    // A table that is rebuilt is dropped first, and what refers to it must not mind for a moment. The
    // setting cannot be changed within a transaction.
    conn.execute("PRAGMA foreign_keys = OFF").await.map_err(failed)?;
    conn.execute("BEGIN IMMEDIATE").await.map_err(failed)?;
    let outcome = migrate_inside(conn, path).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    conn.execute(end).await.map_err(failed)?;
    conn.execute("PRAGMA foreign_keys = ON").await.map_err(failed)?;
    outcome
}

async fn migrate_inside(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *conn).await.map_err(failed)?;
    let owner: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *conn).await.map_err(failed)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    if owner != APPLICATION_ID && (owner != 0 || tables > 0) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(OpenError::TooNew { path: path.to_owned(), found, known });
    }
    for (version, script) in (1i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        conn.execute(sqlx::raw_sql(script)).await.map_err(failed)?;
        // A pragma takes no parameters; both numbers are ours.
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};");
        conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(marks))).await.map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use sqlx::ConnectOptions;

    use super::*;

    /// A connection to an empty store.
    pub(crate) async fn memory() -> SqliteConnection {
        let mut conn = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true).connect().await.unwrap();
        migrate(&mut conn, Path::new(":memory:")).await.unwrap();
        conn
    }

    /// The ledger is asked every few seconds, however many jobs there are.
    #[tokio::test]
    async fn the_ledger_reads_no_row_of_a_job() {
        let sql = concat!("EXPLAIN QUERY PLAN ", include_str!("../queries/ledger.sql"));
        let plan = sqlx::query(sql).fetch_all(&mut memory().await).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, 3)).collect();
        let scans: Vec<_> = plan.iter().filter(|step| step.contains("jobs")).collect();
        assert_eq!(scans.len(), 3, "{plan:?}");
        assert!(scans.iter().all(|step| step.contains("COVERING INDEX")), "{plan:?}");
    }
}
