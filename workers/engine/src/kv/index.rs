//! Which block holds which key, and which keys are being computed right now.
//!
//! Invariant: a key is *ready* only after its keys and values are written; it is *being computed*
//! while a running sequence will write it, so that a second one can wait instead of computing the
//! same. Knows nothing of holders or eviction. Called by `pool`.

use super::key::{BlockKey, KeyMap};
use super::pool::BlockId;

/// Ready keys and keys under way.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ready: KeyMap<BlockId>,
    /// With how many sequences compute each.
    computing: KeyMap<u32>,
}

impl Index {
    /// The block that holds `key`.
    pub fn get(&self, key: &BlockKey) -> Option<BlockId> {
        self.ready.get(key).copied()
    }

    /// Publishes `block`; false when another block holds the key already.
    pub fn insert(&mut self, key: BlockKey, block: BlockId) -> bool {
        match self.ready.entry(key) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(block);
                true
            }
        }
    }

    /// Takes a key back, since its block gets other contents.
    pub fn remove(&mut self, key: &BlockKey) {
        self.ready.remove(key);
    }

    /// A running sequence will compute `key`.
    pub fn begin(&mut self, key: BlockKey) {
        *self.computing.entry(key).or_default() += 1;
    }

    /// A running sequence has published `key`, or has given up.
    pub fn end(&mut self, key: &BlockKey) {
        if let Some(count) = self.computing.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.computing.remove(key);
            }
        }
    }

    /// Does a running sequence compute `key`?
    pub fn is_computing(&self, key: &BlockKey) -> bool {
        self.computing.contains_key(key)
    }

    /// Keys under way.
    #[cfg(test)]
    pub fn computing(&self) -> usize {
        self.computing.len()
    }

    /// Published blocks.
    pub fn len(&self) -> usize {
        self.ready.len()
    }
}
