//! Which published block holds which key, and which of them may be evicted first.
//!
//! Invariant: a block is in the index only after its keys and values are written; only blocks
//! that no sequence holds are evictable, the longest unused first. Called by `pool`.

use std::collections::{BTreeMap, HashMap};

use super::key::BlockKey;
use super::pool::BlockId;

/// Published blocks.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_key: HashMap<BlockKey, BlockId>,
    by_block: HashMap<BlockId, BlockKey>,
    /// Idle blocks by the moment they became idle.
    idle: BTreeMap<u64, BlockId>,
    idle_since: HashMap<BlockId, u64>,
    clock: u64,
}

impl Index {
    /// The block that holds `key`.
    pub fn get(&self, key: &BlockKey) -> Option<BlockId> {
        self.by_key.get(key).copied()
    }

    /// Publishes `block`; false when the key is already held by another block.
    pub fn insert(&mut self, key: BlockKey, block: BlockId) -> bool {
        if self.by_key.contains_key(&key) || self.by_block.contains_key(&block) {
            return false;
        }
        self.by_key.insert(key, block);
        self.by_block.insert(block, key);
        true
    }

    /// Is this block published?
    pub fn contains(&self, block: BlockId) -> bool {
        self.by_block.contains_key(&block)
    }

    /// Marks a published block as used by nobody.
    pub fn set_idle(&mut self, block: BlockId) {
        self.clock += 1;
        self.idle.insert(self.clock, block);
        self.idle_since.insert(block, self.clock);
    }

    /// Marks a published block as in use.
    pub fn set_busy(&mut self, block: BlockId) {
        if let Some(since) = self.idle_since.remove(&block) {
            self.idle.remove(&since);
        }
    }

    /// Takes the longest unused block out of the index.
    pub fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.idle.pop_first()?;
        self.idle_since.remove(&block);
        if let Some(key) = self.by_block.remove(&block) {
            self.by_key.remove(&key);
        }
        Some(block)
    }

    /// Blocks that could be evicted now.
    pub fn idle_count(&self) -> usize {
        self.idle.len()
    }

    /// Published blocks, idle or not.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}
