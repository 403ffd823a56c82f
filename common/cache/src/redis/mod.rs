//! Second tier: texts in Redis, shared by all replicas.
//!
//! Invariant: a look-up or write takes at most the time limit of the link, and nothing at all while the server is
//! known to be down. Bytes that come back are checked before they are believed. Called by `cache`.

mod blocks;
mod link;
mod location;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_runtime::breaker::BreakerOptions;
use deadpool_redis::redis::Pipeline;

pub use self::blocks::RedisBlocks;
pub(crate) use self::link::LinkError;
pub use self::link::{RedisLink, RedisLinkError};
pub use self::location::{Location, LocationError};
use crate::entry::{Stamp, decode, encode, encoded_max};
use crate::meter::{Meter, Nothing};
use crate::{CacheMetrics, Entry, Hit, Kept, Key, Tier, TierStats};

/// Settings of the Redis tier and its link.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server.
    pub location: Location,
    /// What all names on the server begin with. Two installations on one server need two.
    pub prefix: String,
    /// Time one call may take, connection from the pool included. Too high: a slow server holds every document up,
    /// until the breaker opens. Too low: a busy moment counts as a failure.
    pub timeout: Duration,
    /// Time to connect, in the background. Too high: a dead address is noticed late. Too low: TLS never succeeds.
    pub connect_timeout: Duration,
    /// Connections. Too high: many workers exhaust the server's. Too low: calls wait for one another.
    pub connections_max: usize,
    /// Texts from this size on are compressed, bytes. Too high: more memory and traffic. Too low: work for nothing.
    pub compress_from: usize,
    /// Share of a text's time by which it may end earlier, 0 to 1. Too high: texts are written again too early. Too
    /// low: texts written in one burst are missed in one burst.
    pub ttl_jitter: f64,
    /// When the server counts as down, and for how long. Too eager: a hiccup costs seconds of misses. Too patient:
    /// each call to a dead server costs its time limit.
    pub breaker: BreakerOptions,
}

impl RedisOptions {
    /// The usual settings for a server.
    pub fn at(location: Location) -> Self {
        Self {
            location,
            prefix: "bul".into(),
            timeout: Duration::from_millis(8),
            connect_timeout: Duration::from_millis(500),
            connections_max: 4,
            compress_from: 1024,
            ttl_jitter: 0.1,
            breaker: link::breaker(),
        }
    }
}

/// Texts in Redis.
pub struct RedisTier {
    link: Arc<RedisLink>,
    names: String,
    compress_from: usize,
    ttl_jitter: f64,
    value_bytes_max: usize,
    meter: Meter,
}

impl RedisTier {
    /// A tier on a link.
    pub fn new(
        link: Arc<RedisLink>,
        options: &RedisOptions,
        value_bytes_max: usize,
        metrics: &CacheMetrics,
    ) -> Self {
        // A later form of entries has other names: old and new replicas do not read each other's as corrupt.
        let names = format!("{}:text:v1:", link.prefix());
        Self {
            link,
            names,
            compress_from: options.compress_from,
            ttl_jitter: options.ttl_jitter.clamp(0.0, 1.0),
            value_bytes_max,
            meter: metrics.tier("redis"),
        }
    }

    /// The name of a text on the server.
    pub fn name_of(&self, key: &Key) -> String {
        format!("{}{}", self.names, key.hex())
    }

    async fn look(&self, key: &Key) -> Result<Hit, Nothing> {
        let name = self.name_of(key);
        let limit = encoded_max(self.value_bytes_max);
        let mut commands = Pipeline::with_capacity(2);
        // One byte more than can be: whatever stands under the name, no more than that is read into memory.
        commands.cmd("GETRANGE").arg(&name).arg(0).arg(limit);
        commands.cmd("PTTL").arg(&name);
        let (bytes, ttl_ms): (Vec<u8>, i64) = match self.link.call(&commands).await {
            Ok(answer) => answer,
            Err(LinkError::Skipped) => return Err(Nothing::Skipped),
            Err(LinkError::Failed) => return Err(Nothing::Failed),
            Err(LinkError::Refused) => return Err(Nothing::Corrupt),
        };
        // An entry has a head and a time: what is empty is not there, or ended between the two commands.
        let ttl_ms = u64::try_from(ttl_ms).unwrap_or(0);
        if ttl_ms == 0 {
            return Err(if bytes.is_empty() { Nothing::Miss } else { Nothing::Corrupt });
        }
        let (entry, _) = decode(key, &bytes, self.value_bytes_max).map_err(|_| Nothing::Corrupt)?;
        Ok(Hit { entry, ttl_left: Duration::from_millis(ttl_ms) })
    }

    /// The time a text is given: shorter by a share that its key decides, so that a burst of texts ends spread out.
    fn ttl_ms(&self, key: &Key, ttl: Duration) -> u64 {
        let share = key.spread() as f64 / u64::MAX as f64;
        let ttl_ms = ttl.as_millis().min(u128::from(u32::MAX) * 1000) as f64;
        (ttl_ms * (1.0 - self.ttl_jitter * share)) as u64
    }
}

#[async_trait]
impl Tier for RedisTier {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn get(&self, key: &Key) -> Option<Hit> {
        self.meter.read(self.look(key).await)
    }

    async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) -> Kept {
        let bytes = entry.body.len();
        if bytes > self.value_bytes_max {
            return self.meter.wrote(Kept::TooLarge, bytes);
        }
        let ttl_ms = self.ttl_ms(key, ttl);
        if ttl_ms == 0 {
            self.remove(key).await;
            return self.meter.wrote(Kept::Dropped, bytes);
        }
        // The server keeps the time: clocks of replicas may differ by hours.
        let value = encode(key, entry, Stamp::default(), self.compress_from);
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("SET").arg(self.name_of(key)).arg(value).arg("PX").arg(ttl_ms).ignore();
        let kept = match self.link.call::<()>(&commands).await {
            Ok(()) => Kept::Yes,
            Err(LinkError::Skipped | LinkError::Refused | LinkError::Failed) => Kept::Dropped,
        };
        self.meter.wrote(kept, bytes)
    }

    async fn remove(&self, key: &Key) -> bool {
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("UNLINK").arg(self.name_of(key)).ignore();
        self.link.call::<()>(&commands).await.is_ok()
    }

    fn stats(&self) -> TierStats {
        self.meter.stats()
    }

    /// Keeps a connection ready, so that a look-up after a quiet hour does not wait for one.
    async fn upkeep(&self) {
        self.link.warm().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kit::key;

    #[tokio::test]
    async fn texts_written_together_end_apart() {
        let options = RedisOptions::at(Location::parse("redis://127.0.0.1:1").unwrap());
        let metrics = CacheMetrics::unregistered();
        let link = RedisLink::open(&options, &metrics).unwrap();
        let tier = RedisTier::new(link, &options, 1000, &metrics);
        let mut times: Vec<u64> = (0..100).map(|n| tier.ttl_ms(&key(n), Duration::from_secs(1000))).collect();
        assert!(times.iter().all(|ms| (900_000..=1_000_000).contains(ms)));
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 90);
    }

    #[test]
    fn options_are_shown_without_the_password() {
        let options = RedisOptions::at(Location::parse("redis://u:hunter2@host").unwrap());
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
