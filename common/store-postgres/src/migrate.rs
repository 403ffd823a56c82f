//! Bringing the schema up to date.
//!
//! All steps that are missing run in one transaction under a lock: two processes that open a new
//! database at once do it once, and one that dies leaves nothing half done. An account that may only use
//! the tables can open a database whose schema is up to date.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::fault::{Fault, corrupt};
use crate::open::OpenError;
use crate::roles::Roles;

/// The schema, one step per version.
const MIGRATIONS: [&str; 7] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_unreadable_once.sql"),
    include_str!("../migrations/0003_retention.sql"),
    include_str!("../migrations/0004_workers.sql"),
    include_str!("../migrations/0005_receipts.sql"),
    include_str!("../migrations/0006_kept_texts.sql"),
    include_str!("../migrations/0007_session_turns.sql"),
];
/// Advisory locks are numbers; this one is ours (`BULmigr1`).
const LOCK: i64 = 0x4255_4c6d_6967_7231;

/// The database being opened, for messages.
pub(crate) struct Place<'p> {
    pub(crate) location: &'p str,
    pub(crate) account: &'p str,
    pub(crate) database: &'p str,
}

impl Place<'_> {
    pub(crate) fn failed(&self, fault: impl Into<Fault>) -> OpenError {
        let location = self.location.to_owned();
        match fault.into() {
            Fault::Sql(error)
                if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("42501")) =>
            {
                OpenError::Rights { location, message: crate::fault::store_error(&error).to_string() }
            }
            fault => OpenError::Database { location, source: fault.into() },
        }
    }

    fn no_roles(&self, roles: &Roles) -> OpenError {
        OpenError::Roles { location: self.location.to_owned(), run: roles.instructions(self.account) }
    }
}

/// Runs the missing steps; the roles of the installation.
pub(crate) async fn migrate(conn: &mut PgConnection, place: &Place<'_>) -> Result<Roles, OpenError> {
    if found(conn, place).await? < MIGRATIONS.len() as i32 {
        conn.execute("BEGIN; SET LOCAL lock_timeout = '60s'").await.map_err(|e| place.failed(e))?;
        let outcome = migrate_inside(conn, place).await;
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        conn.execute(end).await.map_err(|e| place.failed(e))?;
        outcome?;
    }
    let names: Option<(String, String)> =
        sqlx::query_as("SELECT system_role, tenant_role FROM bul.installation")
            .fetch_optional(&mut *conn)
            .await
            .map_err(|e| place.failed(e))?;
    let (system, tenant) = names.ok_or_else(|| place.failed(corrupt("bul.installation has no row")))?;
    Roles::parse(system, tenant).map_err(|e| place.failed(e))
}

/// Version of the schema; 0 when there is none.
async fn found(conn: &mut PgConnection, place: &Place<'_>) -> Result<i32, OpenError> {
    let (schema, table): (bool, bool) = sqlx::query_as(
        "SELECT count(*) > 0, coalesce(bool_or(EXISTS (
             SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'migrations')), false)
         FROM pg_namespace n WHERE n.nspname = 'bul'",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(|e| place.failed(e))?;
    let version = match (schema, table) {
        (false, _) => 0,
        (true, false) => return Err(OpenError::Foreign(place.location.to_owned())),
        (true, true) => sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM bul.migrations")
            .fetch_one(&mut *conn)
            .await
            .map_err(|e| place.failed(e))?,
    };
    let known = MIGRATIONS.len() as i32;
    if version > known {
        return Err(OpenError::TooNew { location: place.location.to_owned(), found: version, known });
    }
    Ok(version)
}

async fn migrate_inside(conn: &mut PgConnection, place: &Place<'_>) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| place.failed(error);
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *conn).await.map_err(failed)?;
    // Another process may have been faster.
    let found = found(conn, place).await?;
    let roles = Roles::for_database(place.database);
    if found == 0 && !roles.prepare(conn).await.map_err(|e| place.failed(e))? {
        return Err(place.no_roles(&roles));
    }
    for (version, script) in (1i32..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let script = script.replace(":system_role", &roles.system).replace(":tenant_role", &roles.tenant);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(script))).await.map_err(failed)?;
        sqlx::query("INSERT INTO bul.migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *conn)
            .await
            .map_err(failed)?;
    }
    if found == 0 {
        sqlx::query("INSERT INTO bul.installation (system_role, tenant_role) VALUES ($1, $2)")
            .bind(&roles.system)
            .bind(&roles.tenant)
            .execute(&mut *conn)
            .await
            .map_err(failed)?;
    }
    Ok(())
}
