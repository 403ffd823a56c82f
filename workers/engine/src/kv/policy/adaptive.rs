//! Balances blocks used once against blocks used again, by what it evicted too early
//! (after Megiddo and Modha 2003).

use std::collections::VecDeque;

use super::{Entry, Evict, Lists};
use crate::kv::key::{BlockKey, KeyMap};
use crate::kv::pool::BlockId;

const ONCE: usize = 0;
const AGAIN: usize = 1;

/// Keys evicted lately.
#[derive(Debug, Default)]
struct Memory {
    keys: KeyMap<u64>,
    order: VecDeque<(u64, BlockKey)>,
    stamp: u64,
}

impl Memory {
    fn push(&mut self, key: BlockKey, keep: usize) {
        self.stamp += 1;
        self.keys.insert(key, self.stamp);
        self.order.push_back((self.stamp, key));
        while self.keys.len() > keep || self.order.len() > 2 * keep + 1 {
            let Some((stamp, key)) = self.order.pop_front() else { return };
            // An older mention of a key that came again does not count.
            if self.keys.get(&key) == Some(&stamp) {
                self.keys.remove(&key);
            }
        }
    }

    fn take(&mut self, key: &BlockKey) -> bool {
        self.keys.remove(key).is_some()
    }
}

/// Adaptive replacement.
#[derive(Debug)]
pub(crate) struct Adaptive {
    capacity: usize,
    idle: Lists,
    /// By block: its key and the list that it belongs to.
    resident: Vec<Option<(BlockKey, usize)>>,
    counts: [usize; 2],
    evicted: [Memory; 2],
    /// Blocks that those used once may take.
    once_target: usize,
}

impl Adaptive {
    /// For an engine of `capacity` blocks.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            idle: Lists::new(2),
            resident: Vec::new(),
            counts: [0; 2],
            evicted: Default::default(),
            once_target: 0,
        }
    }

    fn pop(&mut self, list: usize, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let block = self.idle.pop(list, allowed)?;
        if let Some((key, list)) = self.resident[block.0 as usize].take() {
            self.counts[list] -= 1;
            self.evicted[list].push(key, self.capacity);
        }
        Some(block)
    }
}

impl Evict for Adaptive {
    fn publish(&mut self, block: BlockId, entry: Entry) {
        let [once, again] = [ONCE, AGAIN].map(|list| self.evicted[list].keys.len().max(1));
        let list = if self.evicted[ONCE].take(&entry.key) {
            self.once_target = (self.once_target + (again / once).max(1)).min(self.capacity);
            AGAIN
        } else if self.evicted[AGAIN].take(&entry.key) {
            self.once_target = self.once_target.saturating_sub((once / again).max(1));
            AGAIN
        } else {
            ONCE
        };
        let at = block.0 as usize;
        if self.resident.len() <= at {
            self.resident.resize(at + 1, None);
        }
        self.resident[at] = Some((entry.key, list));
        self.counts[list] += 1;
    }

    fn hit(&mut self, block: BlockId) {
        if let Some(Some((_, list))) = self.resident.get_mut(block.0 as usize)
            && *list == ONCE
        {
            *list = AGAIN;
            self.counts[ONCE] -= 1;
            self.counts[AGAIN] += 1;
        }
    }

    fn idle(&mut self, block: BlockId, _: u64) {
        let list = self.resident.get(block.0 as usize).copied().flatten().map_or(ONCE, |(_, list)| list);
        self.idle.push_back(list, block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let order = if self.counts[ONCE] > self.once_target { [ONCE, AGAIN] } else { [AGAIN, ONCE] };
        order.into_iter().find_map(|list| self.pop(list, allowed))
    }
}
