//! Which idle block goes when memory is short.
//!
//! A policy sees keys and block numbers, never holders or bytes. `pool` tells it what is
//! published, matched, idle and busy; it answers with a victim among the idle ones. All
//! operations take constant time, counted over many.

mod adaptive;
mod lfu;
mod lists;
mod lru;
mod planned;
mod segmented;
#[cfg(test)]
mod tests;
mod ttl;

use serde::{Deserialize, Serialize};

pub(crate) use lists::Lists;

use super::key::{BlockKey, KeyMap};
use super::pool::BlockId;

/// What a block holds, by who can use it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// Template text, the same for everybody.
    Public,
    /// A tenant's part of a prompt.
    Tenant,
    /// A generated answer.
    Answer,
}

impl Segment {
    /// What a block holds that ends at token `end` of a sequence.
    pub fn of(end: usize, public_tokens: usize, prompt_tokens: usize) -> Self {
        if end <= public_tokens {
            Self::Public
        } else if end <= prompt_tokens {
            Self::Tenant
        } else {
            Self::Answer
        }
    }
}

/// A published block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Its key.
    pub key: BlockKey,
    /// What it holds.
    pub segment: Segment,
}

/// An eviction policy.
pub(crate) trait Evict: std::fmt::Debug {
    /// `block` now holds `entry`. It is busy until `idle` says otherwise.
    fn publish(&mut self, block: BlockId, entry: Entry);

    /// A request matched `block`.
    fn hit(&mut self, block: BlockId);

    /// Nobody holds `block` any more; `now_ms` counts from the engine's start.
    fn idle(&mut self, block: BlockId, now_ms: u64);

    /// Somebody holds `block` again.
    fn busy(&mut self, block: BlockId);

    /// Picks an idle block that may go, and forgets it.
    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId>;

    /// A request with this key in its prompt has started, whether the key was found or not.
    fn used(&mut self, _key: &BlockKey) {}

    /// How often each key will be needed from now on. Replaces what was said before.
    fn forecast(&mut self, _needs: &KeyMap<u32>) {}

    /// An idle block whose time is over, forgotten like an evicted one.
    fn expire(&mut self, _now_ms: u64) -> Option<BlockId> {
        None
    }
}

/// Which blocks are dropped first when memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// The longest unused.
    Lru,
    /// The least often used.
    Lfu,
    /// A balance between the two that follows the traffic.
    Adaptive,
    /// The longest unused; all blocks unused for some milliseconds are dropped at once.
    Ttl(u64),
    /// Answers before tenants' prompts before templates, each within a share.
    Segmented,
    /// What the queue needs least often from now on; see [`Forecast`](crate::Forecast).
    Planned,
}

impl Eviction {
    /// All policies that are worth comparing.
    pub const ALL: [Self; 6] =
        [Self::Lru, Self::Lfu, Self::Adaptive, Self::Ttl(600_000), Self::Segmented, Self::Planned];

    /// Name in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Adaptive => "adaptive",
            Self::Ttl(_) => "ttl",
            Self::Segmented => "segmented",
            Self::Planned => "planned",
        }
    }

    /// The policy for an engine of `capacity` blocks.
    pub(crate) fn policy(self, capacity: usize) -> Box<dyn Evict> {
        match self {
            Self::Lru => Box::new(lru::Lru::new()),
            Self::Lfu => Box::new(lfu::Lfu::new()),
            Self::Adaptive => Box::new(adaptive::Adaptive::new(capacity)),
            Self::Ttl(ttl_ms) => Box::new(ttl::Ttl::new(ttl_ms)),
            Self::Segmented => Box::new(segmented::Segmented::new()),
            Self::Planned => Box::new(planned::Planned::new()),
        }
    }
}
