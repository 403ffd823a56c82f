//! What one tier of the cache offers: memory, Redis and disk alike.
//!
//! Invariant: no method fails. A tier that is down, slow or damaged answers "not there" and keeps nothing; what
//! went wrong is counted in its [`TierStats`]. Called by `cache`; the conformance suite holds all tiers to it.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Entry, Key};

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The entry.
    pub entry: Entry,
    /// How long it still holds; a faster tier must not keep it longer.
    pub ttl_left: Duration,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    Yes,
    /// The text is larger than the limit; what was there before stays.
    TooLarge,
    /// The tier is down, too slow or full.
    Dropped,
}

/// One tier.
#[async_trait]
pub trait Tier: Send + Sync {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// Looks a text up.
    async fn get(&self, key: &Key) -> Option<Hit>;

    /// Keeps a text for at most `ttl`; one that was there under the key is replaced.
    async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) -> Kept;

    /// Forgets a text. `false` means that it may still be there, until its time is over.
    async fn remove(&self, key: &Key) -> bool;

    /// Counts since the start.
    fn stats(&self) -> TierStats;

    /// Does what is better not done while somebody waits: the upkeep calls it at the start and then regularly.
    async fn upkeep(&self) {}
}

/// Counts of one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierStats {
    /// Look-ups that found a text.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Look-ups that found damaged bytes.
    pub corrupt: u64,
    /// Look-ups that failed or took too long.
    pub failed: u64,
    /// Look-ups that were not tried because the tier was known to be down.
    pub skipped: u64,
    /// Writes that were kept.
    pub kept: u64,
    /// Writes refused for their size.
    pub too_large: u64,
    /// Writes dropped.
    pub dropped: u64,
    /// Bytes of texts found.
    pub bytes_read: u64,
    /// Bytes of texts kept.
    pub bytes_written: u64,
    /// Bytes held now; 0 for Redis, which others fill too.
    pub bytes: u64,
    /// Texts held now; 0 for Redis.
    pub entries: u64,
}
