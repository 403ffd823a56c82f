//! The longest unused block goes first.

use super::{Entry, Evict, Lists};
use crate::kv::pool::BlockId;

/// Least recently used.
#[derive(Debug)]
pub(crate) struct Lru {
    idle: Lists,
}

impl Lru {
    /// Nothing idle yet.
    pub fn new() -> Self {
        Self { idle: Lists::new(1) }
    }
}

impl Evict for Lru {
    fn publish(&mut self, _: BlockId, _: Entry) {}

    fn hit(&mut self, _: BlockId) {}

    fn idle(&mut self, block: BlockId, _: u64) {
        self.idle.push_back(0, block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        self.idle.pop(0, allowed)
    }
}
