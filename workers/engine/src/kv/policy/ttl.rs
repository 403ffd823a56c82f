//! Unused blocks are dropped after a time, and the longest unused first when memory is short.
//! For text that must not stay in memory longer than needed.

use super::{Entry, Evict, Lists};
use crate::kv::pool::BlockId;

/// Time to live.
#[derive(Debug)]
pub(crate) struct Ttl {
    idle: Lists,
    since_ms: Vec<u64>,
    ttl_ms: u64,
}

impl Ttl {
    /// Blocks unused for `ttl_ms` are dropped.
    pub fn new(ttl_ms: u64) -> Self {
        Self { idle: Lists::new(1), since_ms: Vec::new(), ttl_ms }
    }
}

impl Evict for Ttl {
    fn publish(&mut self, _: BlockId, _: Entry) {}

    fn hit(&mut self, _: BlockId) {}

    fn idle(&mut self, block: BlockId, now_ms: u64) {
        let at = block.0 as usize;
        if self.since_ms.len() <= at {
            self.since_ms.resize(at + 1, 0);
        }
        self.since_ms[at] = now_ms;
        self.idle.push_back(0, block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        self.idle.pop(0, allowed)
    }

    fn expire(&mut self, now_ms: u64) -> Option<BlockId> {
        let first = self.idle.iter(0).next()?;
        let due = self.since_ms[first.0 as usize].saturating_add(self.ttl_ms) <= now_ms;
        if due { self.idle.pop(0, &|_| true) } else { None }
    }
}
