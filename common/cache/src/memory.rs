//! First tier: texts in the memory of this process.
//!
//! Invariant: the weights of all texts stay under the limit, each text counted with its overhead, and a text
//! whose time is over is never given out. Called by `cache`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use moka::Expiry;
use moka::sync::Cache;

use crate::meter::{Meter, Nothing};
use crate::{CacheMetrics, Entry, Hit, Kept, Key, Tier, TierStats};

/// What an entry takes beside its text, bytes: key, facts, its places in the tables. Without it a million empty
/// texts would weigh nothing.
const OVERHEAD_BYTES: usize = 256;

/// Settings of the memory tier.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Bytes of all texts together. Too high: the worker outgrows its container. Too low: texts are fetched from
    /// Redis or disk again, or written again.
    pub bytes_max: u64,
    /// Longest time a text stays. Too high: a text removed elsewhere lives on here. Too low: more look-ups in
    /// Redis or on disk.
    pub ttl_max: Duration,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, ttl_max: Duration::from_secs(3600) }
    }
}

/// Texts in memory.
pub struct Memory {
    texts: Cache<Key, Held>,
    options: MemoryOptions,
    value_bytes_max: usize,
    meter: Meter,
}

#[derive(Clone)]
struct Held {
    entry: Entry,
    ttl: Duration,
    until: Instant,
}

/// Each text has its own time, counted from its last write.
struct OwnTime;

impl Expiry<Key, Held> for OwnTime {
    fn expire_after_create(&self, _: &Key, held: &Held, _: Instant) -> Option<Duration> {
        Some(held.ttl)
    }

    fn expire_after_update(&self, _: &Key, held: &Held, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(held.ttl)
    }
}

impl Memory {
    /// An empty tier.
    pub fn new(options: MemoryOptions, value_bytes_max: usize, metrics: &CacheMetrics) -> Self {
        let texts = Cache::builder()
            .max_capacity(options.bytes_max)
            .weigher(|_, held: &Held| {
                u32::try_from(held.entry.body.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX)
            })
            .expire_after(OwnTime)
            .build();
        Self { texts, options, value_bytes_max, meter: metrics.tier("memory") }
    }

    fn show(&self) {
        self.meter.holds(self.texts.weighted_size(), self.texts.entry_count());
    }
}

#[async_trait]
impl Tier for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, key: &Key) -> Option<Hit> {
        let found = self.texts.get(key).and_then(|held| {
            let ttl_left = held.until.saturating_duration_since(Instant::now());
            (!ttl_left.is_zero()).then_some(Hit { entry: held.entry, ttl_left })
        });
        self.meter.read(found.ok_or(Nothing::Miss))
    }

    async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) -> Kept {
        let bytes = entry.body.len();
        if bytes > self.value_bytes_max {
            return self.meter.wrote(Kept::TooLarge, bytes);
        }
        let ttl = ttl.min(self.options.ttl_max);
        if ttl.is_zero() {
            self.texts.invalidate(key);
            return self.meter.wrote(Kept::Dropped, bytes);
        }
        self.texts.insert(*key, Held { entry: entry.clone(), ttl, until: Instant::now() + ttl });
        self.show();
        self.meter.wrote(Kept::Yes, bytes)
    }

    async fn remove(&self, key: &Key) -> bool {
        self.texts.invalidate(key);
        true
    }

    fn stats(&self) -> TierStats {
        self.meter.stats()
    }

    /// Texts whose time is over are freed here where nobody asks for them any more.
    async fn upkeep(&self) {
        self.texts.run_pending_tasks();
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kit::key;

    #[tokio::test]
    async fn the_limit_counts_texts_and_their_overhead() {
        let options = MemoryOptions { bytes_max: 100_000, ..MemoryOptions::default() };
        let memory = Memory::new(options, 1000, &CacheMetrics::unregistered());
        for n in 0..2000 {
            memory.put(&key(n), &Entry::default(), Duration::from_secs(60)).await;
        }
        memory.upkeep().await;
        let stats = memory.stats();
        assert!(stats.bytes <= 100_000 && (1..=390).contains(&stats.entries), "{stats:?}");
    }

    #[tokio::test]
    async fn a_text_stays_no_longer_than_the_tier_allows() {
        let options = MemoryOptions { ttl_max: Duration::from_secs(5), ..MemoryOptions::default() };
        let memory = Memory::new(options, 1000, &CacheMetrics::unregistered());
        memory.put(&key(1), &Entry::default(), Duration::from_secs(60)).await;
        assert!(memory.get(&key(1)).await.unwrap().ttl_left <= Duration::from_secs(5));
    }
}
