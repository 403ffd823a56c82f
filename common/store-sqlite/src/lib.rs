//! The store in one SQLite file: for one machine, or to try things out.
//!
//! Write-ahead log, `synchronous = FULL`: when a method returns `Ok`, its commit has been synced to
//! the disk. One task writes (`writer.rs`), a few connections read. Several processes may use the file
//! at once; who needs it alone takes [`SqliteStore::lock_exclusive`]. Passes the suite
//! `bul_store::conformance`.

mod attempts;
mod backlog;
mod breakers;
mod confirm;
mod dead_letters;
mod dispatch;
mod fault;
mod from_row;
mod intake;
mod keys;
mod ledger;
mod limits;
mod migrate;
mod open;
mod options;
mod prune;
mod queries;
mod recent;
mod rows;
mod schedules;
mod set;
mod snapshot;
mod steps;
mod store;
mod texts;
mod transition;
mod turns;
mod wide;
mod workers;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bul_job::{Rules, TenantLimits};
use bul_store::{KnownLimits, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

pub use open::{ExclusiveLock, OpenError};
pub use options::{Clock, Options};

use confirm::Confirmations;
use fault::Fault;
use options::Monotone;
use recent::Recent;
use writer::{Tx, Writer};

/// A store in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    writer: Writer,
    /// Absent in memory: then the writer reads, too.
    readers: Option<SqlitePool>,
    clock: Monotone,
    path: PathBuf,
    version: String,
    /// Limits of tenants that have none of their own.
    limits: TenantLimits,
    rules: Rules,
}

impl SqliteStore {
    /// Opens or makes the file and brings its schema up to date; `:memory:` for a store without one.
    ///
    /// # Errors
    /// When the file cannot be made, belongs to another program, or has a newer schema.
    pub fn open(path: impl AsRef<Path>, options: Options) -> BoxFuture<'static, Result<Self, OpenError>> {
        Self::open_file(path.as_ref().to_owned(), options).boxed()
    }

    async fn open_file(path: PathBuf, options: Options) -> Result<Self, OpenError> {
        let opened = open::open(&path, options.busy_timeout).await?;
        let clock = Monotone::new(options.clock);
        let rng = match options.seed {
            Some(seed) => ChaCha8Rng::seed_from_u64(seed),
            None => ChaCha8Rng::seed_from_u64(rand::random()),
        };
        let tx = Tx {
            in_trouble: false,
            conn: opened.writer,
            now: clock.now(),
            rules: options.rules,
            rng,
            clock: clock.clone(),
            recent: Recent::default(),
            confirmations: Arc::new(Confirmations::new(options.confirm_delay, &options.rules)),
            limits: Arc::new(KnownLimits::new(options.limits)),
        };
        Ok(Self {
            writer: Writer::start(tx),
            readers: opened.readers,
            clock,
            path,
            version: opened.version,
            limits: options.limits,
            rules: options.rules,
        })
    }

    /// Holds the store of this path for this process alone, among those that ask for it, until the
    /// guard is dropped. Works before the file exists.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when another process holds it.
    pub fn lock_exclusive(path: impl AsRef<Path>) -> Result<ExclusiveLock, OpenError> {
        open::lock_exclusive(path.as_ref())
    }

    /// Runs a query on one consistent view.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Fault>> + Send + 'static,
    {
        let Some(readers) = &self.readers else {
            return self.writer.run(move |tx| work(&mut tx.conn)).await;
        };
        let read = async {
            let mut conn = readers.acquire().await?;
            let mut view = conn.begin().await?;
            let result = work(&mut view).await?;
            view.commit().await?;
            Ok::<T, Fault>(result)
        };
        read.await.map_err(StoreError::from)
    }
}
