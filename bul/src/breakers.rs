//! Tells of this process's own breakers whoever asks how all are: that of Redis by way of the store, that of the store by way
//! of Redis. The model's is told by each worker. Started beside the workers where there is a Redis.

use std::sync::Arc;
use std::time::Duration;

use bul_cache::RedisLink;
use bul_runtime::breaker::BreakerState;
use bul_store::{BreakerReport, OpenBreaker, REDIS, Store};
use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus::IntGaugeVec;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The dependency that cannot be told of itself.
pub const STORE: &str = "store";
/// How often the breakers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often an open one is told again: three times within the time that a report counts.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// See the module's text.
pub struct Teller {
    /// Name of the process.
    pub process: String,
    /// States by dependency: 0 closed, 1 half-open, 2 open.
    pub states: IntGaugeVec,
    /// Hears of Redis.
    pub store: Arc<dyn Store>,
    /// Hears of the store.
    pub redis: Arc<RedisLink>,
}

impl Teller {
    /// Runs until `stopping`. What a process that dies has told counts for half a minute.
    pub fn run(self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let (mut redis, mut store) = (None, None);
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                if self.redis.state() != BreakerState::Closed {
                    // While nobody asks Redis for anything, nobody would find it back.
                    self.redis.tell(&self.process, STORE, self.is_open(STORE)).await;
                }
                if let Some(open) = self.news(REDIS, redis) {
                    let (process, dependency) = (self.process.clone(), REDIS.to_owned());
                    let told = self.store.report_breaker(&BreakerReport { process, dependency, open }).await;
                    redis = if told.is_ok() { open.then(Instant::now) } else { redis };
                }
                if let Some(open) = self.news(STORE, store) {
                    let told = self.redis.tell(&self.process, STORE, open).await;
                    store = if told { open.then(Instant::now) } else { store };
                }
            }
        }
        .boxed()
    }

    fn is_open(&self, dependency: &str) -> bool {
        self.states.with_label_values(&[dependency]).get() != 0
    }

    /// Whether it is open, where that is to be told: `told` is when it was told open last.
    fn news(&self, dependency: &str, told: Option<Instant>) -> Option<bool> {
        let open = self.is_open(dependency);
        let is_due = told.map_or(open, |at| !open || at.elapsed() >= TELL_EVERY);
        is_due.then_some(open)
    }
}

/// What processes have told Redis, as the store would tell it.
pub async fn told_by_redis(link: &RedisLink) -> Vec<OpenBreaker> {
    let time = |ms: u64| chrono::DateTime::from_timestamp_millis(ms.cast_signed()).unwrap_or_default();
    let told = link.told_open().await.into_iter();
    told.map(|told| OpenBreaker {
        process: told.process,
        dependency: told.dependency,
        since: time(told.since_ms),
        reported_at: time(told.told_ms),
    })
    .collect()
}
