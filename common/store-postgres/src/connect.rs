//! Connections: how one is made ready, and the few that are kept for what is not batched.
//!
//! A connection belongs to a role for its whole life: what users ask runs as the tenant role, everything
//! else as the system role. Invariant: a connection goes back to the pool only behind a COMMIT or
//! ROLLBACK that was answered; any other is closed, and the server rolls back. So a caller that goes
//! away, a server that restarts and a cut line leave nothing behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bul_job::TenantId;
use bul_store::StoreError;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, Kind, closed, kind, unanswered};
use crate::roles::Roles;
use crate::servers::{Link, Servers};

/// How long a connection may take to open. Too low: a busy server looks like a dead one.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a call waits for one of the pool's connections.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept without work: an idle store costs the server nothing.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);
/// Limits the server keeps, so that a process that is frozen in the middle of its work does not hold
/// rows for ever: a statement, the wait for a lock, a transaction in which nothing happens.
const SESSION: &str = "SET search_path = bul; SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = error; SET jit = off; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";
/// Plans for batches: always by the index of the ids, whatever the statistics of a young table say, and
/// made once. In the order of the ids, in which every batch locks its rows.
const BATCHES: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// The rows of one tenant at a time.
    Tenant,
    /// All rows.
    System,
    /// All rows, for batches.
    Batch,
}

/// Knows how to connect.
pub(crate) struct Door {
    pub(crate) servers: Servers,
    pub(crate) roles: Roles,
}

impl Door {
    pub(crate) async fn connect(&self, session: Session) -> Result<Link, Fault> {
        let (plans, role) = match session {
            Session::Tenant => ("", &self.roles.tenant),
            Session::System => ("", &self.roles.system),
            Session::Batch => (BATCHES, &self.roles.system),
        };
        let mut link = self.servers.connect(CONNECT_MAX).await?;
        // The name of a role holds nothing that would need quotes (see `Roles`).
        let setup = format!("{SESSION} {plans} SET ROLE {role}");
        let ready = link.conn.execute(sqlx::raw_sql(AssertSqlSafe(setup)));
        tokio::time::timeout(CONNECT_MAX, ready).await.map_err(|_| unanswered("a connection"))??;
        Ok(link)
    }
}

struct Idle {
    link: Link,
    since: Instant,
}

/// A few connections of one kind, for transactions of single calls.
pub(crate) struct Pool {
    door: Arc<Door>,
    session: Session,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

/// An open transaction; dropped without [`Tx::end`], its connection is closed.
pub(crate) struct Tx<'p> {
    pub(crate) conn: PgConnection,
    server: usize,
    pool: &'p Pool,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(door: Arc<Door>, session: Session, connections_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max.max(1)));
        Self { door, session, permits, idle: Mutex::default() }
    }

    /// A transaction that may write.
    pub(crate) async fn write(&self) -> Result<Tx<'_>, Fault> {
        self.begin("BEGIN".into()).await
    }

    /// A transaction with one view of the data.
    pub(crate) async fn read(&self) -> Result<Tx<'_>, Fault> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into()).await
    }

    /// A transaction that may write what belongs to the tenant.
    pub(crate) async fn write_of(&self, tenant: &TenantId) -> Result<Tx<'_>, Fault> {
        // A tenant's name has only letters, digits, '-' and '_'.
        self.begin(format!("BEGIN; SET LOCAL bul.tenant = '{tenant}'")).await
    }

    /// A transaction with one view of what belongs to the tenant.
    pub(crate) async fn read_of(&self, tenant: &TenantId) -> Result<Tx<'_>, Fault> {
        self.begin(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL bul.tenant = '{tenant}'"
        ))
        .await
    }

    /// The first statement also finds out whether an idle connection still lives.
    async fn begin(&self, sql: String) -> Result<Tx<'_>, Fault> {
        let wait = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned());
        let permit = wait
            .await
            .map_err(|_| StoreError::Unavailable("all connections are busy".into()))?
            .map_err(|_| closed())?;
        while let Some(Link { mut conn, server }) = self.pop() {
            let begun = conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.clone())));
            match tokio::time::timeout(CONNECT_MAX, begun).await {
                Ok(Ok(_)) => return Ok(Tx { conn, server, pool: self, _permit: permit }),
                Ok(Err(error)) if kind(&error) != Kind::Broken => return Err(error.into()),
                Ok(Err(_)) => {}
                // The line is dead, and so are the others that went through it.
                Err(_) => self.clear(),
            }
        }
        let Link { mut conn, server } = self.door.connect(self.session).await?;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        Ok(Tx { conn, server, pool: self, _permit: permit })
    }

    fn pop(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // One to a server that another has followed would read what is old.
        idle.retain(|idle| self.door.servers.is_current(idle.link.server));
        idle.pop().map(|idle| idle.link)
    }

    fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn push(&self, link: Link) {
        if !self.permits.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    /// Closes what has had no work for long.
    pub(crate) fn prune(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_MAX);
    }

    /// Closes idle connections; later calls fail, those under way end.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.clear();
    }
}

impl Tx<'_> {
    /// Commits a success and rolls a failure back.
    pub(crate) async fn end<T>(mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        match result {
            Ok(value) => {
                self.conn.execute("COMMIT").await?;
                self.pool.push(Link { conn: self.conn, server: self.server });
                Ok(value)
            }
            Err(fault) => {
                if fault.kind() != Kind::Broken && self.conn.execute("ROLLBACK").await.is_ok() {
                    self.pool.push(Link { conn: self.conn, server: self.server });
                }
                Err(fault)
            }
        }
    }
}
