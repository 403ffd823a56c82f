//! The store on a PostgreSQL server: for several machines, and for very many jobs.
//!
//! One row per job, written three times in a plain life; calls that wait together share a transaction
//! (`batch.rs`); due times are found by watches instead of an index (`watches.rs`); tenants are kept
//! apart by row-level security (`roles.rs`). The clock is the database's. When a method returns `Ok`, its
//! commit has been answered by the server. Passes the suite `bul_store::conformance`.

mod accept;
mod attempts;
mod backlog;
mod batch;
mod breakers;
mod calls;
mod confirm;
mod connect;
mod dead_letters;
mod dispatch;
mod fault;
mod fresh;
mod keys;
mod ledger;
mod limits;
mod migrate;
mod open;
mod options;
mod prune;
mod queries;
mod roles;
mod rows;
mod running;
mod schedules;
mod server;
mod servers;
mod steps;
mod store;
mod texts;
mod time;
mod transition;
mod turns;
mod watches;
mod workers;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bul_job::{Applied, Input, JobCore, Refused, Rules, Timestamp};
use bul_store::KnownLimits;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

pub use open::OpenError;
pub use options::{Clock, Options};

use accept::{ACCEPT_JOBS_MAX, AcceptWork};
use attempts::{BeginStep, CompleteStep, OtherStep};
use backlog::Fronts;
use batch::Batcher;
use confirm::{ConfirmWork, Confirmations};
use connect::{Door, Pool, Session};
use fresh::Fresh;
use running::Running;
use servers::Servers;
use steps::Steps;
use time::{MEASURE_EVERY, Time};

/// Rows that a count of a tenant is spread over: as many transactions, of all processes, change it at once. Too few:
/// they wait for the commits of each other.
const SHARDS: u16 = 64;
/// Connections for the dispatcher: it looks, and takes.
const DISPATCH_CONNECTIONS: usize = 2;

/// What every part of the store works with.
pub(crate) struct Shared {
    pub(crate) door: Arc<Door>,
    pub(crate) time: Time,
    pub(crate) rules: Rules,
    pub(crate) confirmations: Confirmations,
    pub(crate) fresh: Fresh,
    pub(crate) running: Running,
    pub(crate) fronts: Fronts,
    pub(crate) limits: KnownLimits,
    /// The tenant up to which parked jobs were looked at last.
    release_behind: Mutex<String>,
    rng: Mutex<ChaCha8Rng>,
    shard: AtomicU16,
}

impl Shared {
    /// The state machine, with this store's rules and jitter.
    pub(crate) fn decide(
        &self,
        core: &mut JobCore,
        input: &Input,
        now: Timestamp,
    ) -> Result<Applied, Refused> {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        core.apply(input, now, &self.rules, &mut *rng)
    }

    pub(crate) fn release_behind(&self) -> String {
        self.release_behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_release_behind(&self, tenant: String) {
        *self.release_behind.lock().unwrap_or_else(PoisonError::into_inner) = tenant;
    }

    /// Where the next transaction counts jobs.
    pub(crate) fn next_shard(&self) -> i16 {
        (self.shard.fetch_add(1, Ordering::Relaxed) % SHARDS) as i16
    }
}

/// A store in a PostgreSQL database. Clones share it.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    accepts: Batcher<AcceptWork>,
    begins: Batcher<Steps<BeginStep>>,
    completes: Batcher<Steps<CompleteStep>>,
    others: Batcher<Steps<OtherStep>>,
    confirms: Arc<Batcher<ConfirmWork>>,
    confirm_delay: Duration,
    tenant: Arc<Pool>,
    system: Arc<Pool>,
    dispatch: Arc<Pool>,
    /// Ends the background tasks, also by being dropped.
    stop: watch::Sender<()>,
    location: String,
    version: String,
    durability: String,
    notes: Vec<String>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("location", &self.inner.location).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects to the database of this URL (`postgres://user:password@host:port/database?sslmode=…`)
    /// and brings its schema `bul` up to date. Of several servers (`…@a:5432,b:5432/…`) the one that takes writes is used,
    /// now and after each failover.
    ///
    /// # Errors
    /// When the server cannot be reached, the account lacks a right, or the schema is newer than this
    /// program or another program's.
    pub fn open<'a>(url: &'a str, options: Options) -> BoxFuture<'a, Result<Self, OpenError>> {
        async move {
            let servers = Servers::parse(url)?;
            let time = Time::new(options.clock.clone());
            let opened = open::open(servers, &time).await?;
            let rng = match options.seed {
                Some(seed) => ChaCha8Rng::seed_from_u64(seed),
                None => ChaCha8Rng::seed_from_u64(rand::random()),
            };
            let shared = Arc::new(Shared {
                door: opened.door,
                time,
                rules: options.rules,
                confirmations: Confirmations::default(),
                fresh: Fresh::default(),
                running: Running::default(),
                fronts: Fronts::default(),
                limits: KnownLimits::new(options.limits),
                release_behind: Mutex::default(),
                rng: Mutex::new(rng),
                shard: AtomicU16::new(rand::random()),
            });
            let pool = |session, size| Arc::new(Pool::new(Arc::clone(&shared.door), session, size));
            let (stop, stopped) = watch::channel(());
            let (writers, batch_max) = (options.writers, options.batch_max);
            let inner = Inner {
                accepts: Batcher::start(&shared, writers, ACCEPT_JOBS_MAX),
                begins: Batcher::start(&shared, writers, batch_max),
                completes: Batcher::start(&shared, writers, batch_max),
                others: Batcher::start(&shared, 1, batch_max),
                confirms: Arc::new(Batcher::start(&shared, 1, batch_max)),
                confirm_delay: confirm::delay(options.confirm_delay, &options.rules),
                tenant: pool(Session::Tenant, options.readers),
                system: pool(Session::System, options.readers),
                dispatch: pool(Session::Batch, DISPATCH_CONNECTIONS),
                shared,
                stop,
                location: opened.location,
                version: opened.version,
                durability: opened.durability,
                notes: opened.notes,
            };
            inner.start_background(&stopped);
            Ok(Self { inner: Arc::new(inner) })
        }
        .boxed()
    }
}

impl Inner {
    fn start_background(&self, stopped: &watch::Receiver<()>) {
        let pools = [Arc::clone(&self.tenant), Arc::clone(&self.system), Arc::clone(&self.dispatch)];
        tokio::spawn(keep_time(Arc::clone(&self.shared), pools, stopped.clone()));
        if !self.confirm_delay.is_zero() {
            let (shared, confirms) = (Arc::clone(&self.shared), Arc::clone(&self.confirms));
            tokio::spawn(confirm::keep_writing(shared, confirms, self.confirm_delay, stopped.clone()));
        }
    }
}

/// Measures the database's clock and closes idle connections, until the store is dropped or closed.
async fn keep_time(shared: Arc<Shared>, pools: [Arc<Pool>; 3], mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = tokio::time::sleep(MEASURE_EVERY) => {}
        }
        pools.iter().for_each(|pool| pool.prune());
        let [_, system, _] = &pools;
        let measured = async {
            let mut tx = system.read().await?;
            let measured = shared.time.measure(&mut tx.conn).await;
            tx.end(measured).await
        };
        match tokio::time::timeout(MEASURE_EVERY, measured).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the database's clock was not measured"),
            Err(_) => tracing::debug!("the database's clock was not measured in time"),
        }
    }
}
