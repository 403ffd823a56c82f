//! The cache: memory first, then Redis, then disk; whichever of the last two there are.
//!
//! Invariant: a caller waits for memory, for the time limits of the slower tiers on a miss, and for one computation;
//! never for a write. Whatever is down is a miss. Called by the worker around the model; the composition root opens
//! it and runs its [`Upkeep`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::back::{Drain, Queue, queue};
use crate::disk::{Disk, DiskError, DiskOptions};
use crate::flight::{Flights, Progress};
use crate::memory::{Memory, MemoryOptions};
use crate::redis::{RedisLink, RedisLinkError, RedisOptions, RedisTier};
use crate::{CacheMetrics, Entry, Hit, Key, Tier, TierStats, VALUE_BYTES_MAX};

/// Time between two rounds of upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Settings of the cache.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The tier in memory.
    pub memory: MemoryOptions,
    /// The tier in Redis; none: off.
    pub redis: Option<RedisOptions>,
    /// The tier on disk; none: off.
    pub disk: Option<DiskOptions>,
    /// Largest text, bytes, up to [`VALUE_BYTES_MAX`]. Too high: a few texts push all others out. Too low: long texts
    /// are always written again.
    pub value_bytes_max: usize,
    /// Longest time a text is kept, whatever the caller asks. Too high: texts of deleted tenants stay that long.
    pub ttl_max: Duration,
    /// Writes that may wait for each slower tier. Too high: memory. Too low: bursts are not kept.
    pub queue_entries_max: usize,
    /// Bytes of the writes that may wait for each slower tier.
    pub queue_bytes_max: usize,
    /// Time a caller waits for another's computation of the same text before it starts its own. Too high: a leader
    /// that hangs holds all others. Too low: a slow model is asked twice for the same.
    pub wait_max: Duration,
}

impl Default for CacheOptions {
    /// Memory only.
    fn default() -> Self {
        Self {
            memory: MemoryOptions::default(),
            redis: None,
            disk: None,
            value_bytes_max: 256 << 10,
            ttl_max: Duration::from_secs(7 * 24 * 3600),
            queue_entries_max: 1024,
            queue_bytes_max: 8 << 20,
            wait_max: Duration::from_secs(60),
        }
    }
}

/// The cache cannot be opened. A server that is down is no reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address of Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisLinkError),
    /// The folder cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What a computation gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Computed {
    /// Whole: it is kept and given to all who wait for it.
    Keep(Entry),
    /// For this caller only, as a text that was cut short: neither kept nor shared.
    Pass(Entry),
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A tier, by its name.
    Tier(&'static str),
    /// Another caller's computation, which this one waited for.
    Shared,
    /// This caller's computation.
    Computed,
}

impl Source {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tier(name) => name,
            Self::Shared => "shared",
            Self::Computed => "computed",
        }
    }
}

/// A text and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub entry: Entry,
    /// Its source; only [`Source::Computed`] has cost anything.
    pub source: Source,
}

/// A cache; clones share it.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    memory: Memory,
    slower: Vec<(Arc<dyn Tier>, Queue)>,
    flights: Flights,
    ttl_max: Duration,
    wait_max: Duration,
    metrics: CacheMetrics,
}

impl Cache {
    /// Opens the tiers. The link to Redis is given back for breakers to be shared over it.
    ///
    /// # Errors
    /// When an address or folder cannot be used at all.
    pub fn open<'a>(
        options: CacheOptions,
        metrics: &'a CacheMetrics,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        async move {
            let value_bytes_max = options.value_bytes_max.min(VALUE_BYTES_MAX);
            let mut slower: Vec<Arc<dyn Tier>> = Vec::new();
            let mut link = None;
            if let Some(redis) = &options.redis {
                let opened = RedisLink::open(redis, metrics)?;
                slower.push(Arc::new(RedisTier::new(opened.clone(), redis, value_bytes_max, metrics)));
                link = Some(opened);
            }
            if let Some(disk) = &options.disk {
                slower.push(Arc::new(Disk::open(disk.clone(), value_bytes_max, metrics).await?));
            }
            let (cache, upkeep) = Self::over(slower, options, metrics);
            Ok(Opened { cache, upkeep, redis: link })
        }
        .boxed()
    }

    /// A cache over given tiers, fastest first; memory is always before them.
    pub fn over(slower: Vec<Arc<dyn Tier>>, options: CacheOptions, metrics: &CacheMetrics) -> (Self, Upkeep) {
        let value_bytes_max = options.value_bytes_max.min(VALUE_BYTES_MAX);
        let (mut tiers, mut drains) = (Vec::new(), Vec::new());
        for tier in slower {
            let meter = metrics.tier(tier.name());
            let (queue, drain) =
                queue(tier.clone(), options.queue_entries_max, options.queue_bytes_max, meter);
            tiers.push((tier, queue));
            drains.push(drain);
        }
        let inner = Arc::new(Inner {
            memory: Memory::new(options.memory, value_bytes_max, metrics),
            slower: tiers,
            flights: Flights::default(),
            ttl_max: options.ttl_max,
            wait_max: options.wait_max,
            metrics: metrics.clone(),
        });
        (Self { inner: inner.clone() }, Upkeep { inner, drains })
    }

    /// Looks a text up, in memory, then in the slower tiers. What is found is put into the faster ones.
    pub async fn get(&self, key: &Key) -> Option<Answer> {
        let found = self.inner.find(key).await;
        if let Some(answer) = &found {
            self.inner.metrics.answer(answer.source.as_str());
        }
        found
    }

    /// Keeps a text: in memory now, in the slower tiers soon. One that is too large is not kept.
    pub async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) {
        self.inner.keep(key, entry, ttl).await;
    }

    /// Forgets a text everywhere. `false` means that a tier did not confirm it; there it may be found until its time
    /// is over. A computation that is under way may put it back.
    pub async fn remove(&self, key: &Key) -> bool {
        self.inner.memory.remove(key).await;
        // Directly, so that it is gone now, and behind the queued writes, so that none of them brings it back.
        let gone = self.inner.slower.iter().map(|(tier, queue)| async move {
            tier.remove(key).await;
            queue.remove(*key).await
        });
        let gone = join_all(gone).await;
        self.inner.memory.remove(key).await;
        gone.into_iter().all(|gone| gone)
    }

    /// Looks a text up, or has it computed: once, however many callers ask for it at the same time in this process.
    ///
    /// A caller that goes away midway leaves the computation to the next one that waits. An error is kept nowhere and
    /// is given to this caller only; those who waited compute for themselves.
    ///
    /// # Errors
    /// Those of `compute`.
    pub async fn get_or_compute<E, F>(
        &self,
        key: &Key,
        ttl: Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, E>
    where
        F: Future<Output = Result<Computed, E>>,
    {
        let answer = self.inner.get_or_compute(key, ttl, compute).await?;
        self.inner.metrics.answer(answer.source.as_str());
        Ok(answer)
    }

    /// Waits until the slower tiers have taken or dropped all that was kept before.
    pub async fn flush(&self) {
        join_all(self.inner.slower.iter().map(|(_, queue)| queue.flush())).await;
    }

    /// Counts of each tier, fastest first.
    pub fn stats(&self) -> Vec<(&'static str, TierStats)> {
        let memory: &dyn Tier = &self.inner.memory;
        let slower = self.inner.slower.iter().map(|(tier, _)| &**tier);
        std::iter::once(memory).chain(slower).map(|tier| (tier.name(), tier.stats())).collect()
    }
}

impl Inner {
    async fn find(&self, key: &Key) -> Option<Answer> {
        if let Some(hit) = self.memory.get(key).await {
            return Some(answer(hit.entry, Source::Tier(self.memory.name())));
        }
        for (depth, (tier, _)) in self.slower.iter().enumerate() {
            let Some(hit) = tier.get(key).await else { continue };
            self.promote(key, &hit, depth).await;
            return Some(answer(hit.entry, Source::Tier(tier.name())));
        }
        None
    }

    /// Puts a text found at a depth into all faster tiers, for no longer than it holds. Slower ones are left alone: a
    /// text often read from Redis need not be written to disk each time.
    async fn promote(&self, key: &Key, hit: &Hit, depth: usize) {
        self.memory.put(key, &hit.entry, hit.ttl_left).await;
        for (_, queue) in self.slower.iter().take(depth) {
            queue.put(*key, &hit.entry, hit.ttl_left);
        }
    }

    async fn keep(&self, key: &Key, entry: &Entry, ttl: Duration) {
        let ttl = ttl.min(self.ttl_max);
        if ttl.is_zero() {
            return;
        }
        self.memory.put(key, entry, ttl).await;
        for (_, queue) in &self.slower {
            queue.put(*key, entry, ttl);
        }
    }

    async fn get_or_compute<E, F>(
        &self,
        key: &Key,
        ttl: Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, E>
    where
        F: Future<Output = Result<Computed, E>>,
    {
        if let Some(hit) = self.memory.get(key).await {
            return Ok(answer(hit.entry, Source::Tier(self.memory.name())));
        }
        let seat = self.flights.join(*key);
        let Ok(mut progress) = tokio::time::timeout(self.wait_max, seat.turn()).await else {
            return self.alone(key, ttl, compute).await;
        };
        match &*progress {
            Progress::Done(entry) => return Ok(answer(entry.clone(), Source::Shared)),
            Progress::Unshared => {
                drop(progress);
                return self.alone(key, ttl, compute).await;
            }
            Progress::Open => {}
        }
        // From here this caller leads. Dropped at any await below, it leaves the turn to the next, still open.
        if let Some(found) = self.find(key).await {
            *progress = Progress::Done(found.entry.clone());
            seat.retire();
            return Ok(found);
        }
        let (entry, is_whole) = match compute().await {
            Ok(Computed::Keep(entry)) => (entry, true),
            Ok(Computed::Pass(entry)) => (entry, false),
            Err(error) => {
                *progress = Progress::Unshared;
                seat.retire();
                return Err(error);
            }
        };
        if is_whole {
            self.keep(key, &entry, ttl).await;
        }
        *progress = if is_whole { Progress::Done(entry.clone()) } else { Progress::Unshared };
        seat.retire();
        Ok(answer(entry, Source::Computed))
    }

    /// Computes without waiting for others, and without being waited for.
    async fn alone<E, F>(&self, key: &Key, ttl: Duration, compute: impl FnOnce() -> F) -> Result<Answer, E>
    where
        F: Future<Output = Result<Computed, E>>,
    {
        match compute().await? {
            Computed::Keep(entry) => {
                self.keep(key, &entry, ttl).await;
                Ok(answer(entry, Source::Computed))
            }
            Computed::Pass(entry) => Ok(answer(entry, Source::Computed)),
        }
    }
}

fn answer(entry: Entry, source: Source) -> Answer {
    Answer { entry, source }
}

/// A cache, the task it needs, and its link to Redis where it has one.
pub struct Opened {
    /// The cache.
    pub cache: Cache,
    /// To be run by the composition root.
    pub upkeep: Upkeep,
    /// For [`crate::SharedBreaker::shared`].
    pub redis: Option<Arc<RedisLink>>,
}

/// Writes to the slower tiers and keeps all tiers in order.
#[must_use = "without its upkeep a cache keeps texts in memory only"]
pub struct Upkeep {
    inner: Arc<Inner>,
    drains: Vec<Drain>,
}

impl Upkeep {
    /// Runs until `stopping`, and then for as long as the queues need, about a second at most.
    pub fn run(self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let inner = self.inner;
            let drains = join_all(self.drains.into_iter().map(|drain| drain.run(stopping.clone())));
            let rounds = async {
                while stopping.run_until_cancelled(inner.round()).await.is_some() {
                    if stopping.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await.is_none() {
                        break;
                    }
                }
            };
            tokio::join!(drains, rounds);
        }
        .boxed()
    }
}

impl Inner {
    async fn round(&self) {
        self.memory.upkeep().await;
        join_all(self.slower.iter().map(|(tier, _)| tier.upkeep())).await;
    }
}
