//! The scheduler: moves due work from the store to the broker, and makes the jobs of the calendar.
//!
//! Delayed jobs, retries, lost publications and expired leases are one thing: a row that has become
//! due. Schedulers may run in any number; the one that holds the lease works.

mod cron;
mod dispatch;
mod leader;
mod metrics;
mod observe;
mod reconcile;
mod retention;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bul_broker::Broker;
use bul_job::{Limits, Timestamp};
use bul_runtime::Shutdown;
use bul_store::{Retention, Store};
use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::info;

pub use cron::FireError;
pub use metrics::Metrics;

use crate::leader::Leader;

/// Pause between two looks at parked jobs while some were let go at the last one: as long may a place that has
/// become free stay empty. Too low: a query of the store for each job.
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// How the scheduler works.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Name of this process among the candidates.
    pub name: String,
    /// Lease of the leader. Too low: a busy leader loses it. Too high: its successor waits that long.
    pub leader_lease: Duration,
    /// Longest sleep. Too high: rows that other processes wrote wait that long, and a tenant whose jobs stand in
    /// line runs dry before the next ones are published. Too low: idle work.
    pub poll: Duration,
    /// Rows moved in one go.
    pub batch_max: usize,
    /// Limits of jobs made by schedules.
    pub limits: Limits,
    /// How long what has ended is kept.
    pub retention: Retention,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            name: "scheduler".into(),
            leader_lease: Duration::from_secs(8),
            poll: Duration::from_millis(200),
            batch_max: 1_000,
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}

/// The scheduler.
pub struct Scheduler {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    options: SchedulerOptions,
    metrics: Metrics,
    /// Whether the last look let parked jobs go.
    released: AtomicBool,
    leads: AtomicBool,
}

impl Scheduler {
    /// A scheduler that has not started yet.
    pub fn new(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        options: SchedulerOptions,
        metrics: Metrics,
    ) -> Self {
        Self {
            store,
            broker,
            options,
            metrics,
            released: AtomicBool::new(false),
            leads: AtomicBool::new(false),
        }
    }

    /// Runs until `shutdown` stops it; gives the lease up, so that a successor need not wait.
    pub fn run(self, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        async move {
            tokio::join!(self.work(&shutdown), self.keep_house(&shutdown));
            info!(scheduler = self.options.name, "scheduler stopped");
        }
        .boxed()
    }

    async fn work(&self, shutdown: &Shutdown) {
        let mut leader = Leader::new(self.options.name.clone(), self.options.leader_lease);
        let mut observed = tokio::time::Instant::now();
        let mut seen = reconcile::Seen::default();
        while !shutdown.stopping().is_cancelled() {
            let leads = leader.holds(self.store.as_ref()).await;
            self.leads.store(leads, Ordering::Relaxed);
            self.metrics.leader.with_label_values::<&str>(&[]).set(leads.into());
            let busy = leads && self.turn().await;
            if leads && observed <= tokio::time::Instant::now() {
                let counting = self.observe(&mut seen).await;
                observed = tokio::time::Instant::now() + observe::pause(counting);
            }
            if !busy {
                self.rest(shutdown, leads).await;
            }
        }
        leader.resign(self.store.as_ref()).await;
    }

    /// One round of all duties. `true` when there may be more to do at once.
    async fn turn(&self) -> bool {
        let fired = self.fire_due().await;
        let dispatched = self.dispatch_due().await;
        let released = self.release().await;
        fired || dispatched || released
    }

    /// Sleeps until the next row is due, the poll interval at most. Who does not lead only waits for its turn:
    /// rows that the leader has not moved yet would keep it awake.
    async fn rest(&self, shutdown: &Shutdown, leads: bool) {
        let longest = if self.standing_in_line() { RELEASE_PAUSE } else { self.options.poll };
        let due = if leads { self.store.next_due_at().await.ok().flatten() } else { None };
        let until = |due: Timestamp| (due - self.store.now()).to_std().unwrap_or(Duration::ZERO);
        let wait = due.map_or(longest, until).min(longest);
        tokio::select! {
            () = shutdown.stopping().cancelled() => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(5))) => {}
        }
    }
}
