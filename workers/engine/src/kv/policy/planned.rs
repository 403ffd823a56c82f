//! Keeps what the queue will need again.
//!
//! Jobs are queued before they run, so how often each prefix is still needed is known. The block
//! needed least often goes first, the longest unused of equals; what nobody announced counts as
//! not needed. Without announcements this is `Lru`.

use super::{Entry, Evict, Lists};
use crate::kv::key::{BlockKey, KeyMap};
use crate::kv::pool::BlockId;

/// Needs told apart one by one; above, by powers of two.
const EXACT: u32 = 256;
/// Not needed, the exact ones, the powers of two above.
const LEVELS: usize = EXACT as usize + 24;

/// By announced need.
#[derive(Debug)]
pub(crate) struct Planned {
    idle: Lists,
    needs: KeyMap<u32>,
    keys: Vec<Option<BlockKey>>,
    blocks: KeyMap<BlockId>,
    /// A bit for each level that may have blocks, so that empty ones are not looked at.
    filled: [u64; LEVELS.div_ceil(64)],
}

fn level(need: u32) -> usize {
    match need {
        0..EXACT => need as usize,
        _ => EXACT as usize + (need / EXACT).ilog2() as usize,
    }
}

impl Planned {
    /// Nothing announced.
    pub fn new() -> Self {
        Self {
            idle: Lists::new(LEVELS),
            needs: KeyMap::default(),
            keys: Vec::new(),
            blocks: KeyMap::default(),
            filled: [0; LEVELS.div_ceil(64)],
        }
    }

    fn push(&mut self, level: usize, block: BlockId) {
        self.filled[level / 64] |= 1 << (level % 64);
        self.idle.push_back(level, block);
    }

    fn pop(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        for word in 0..self.filled.len() {
            let mut left = self.filled[word];
            while left != 0 {
                let level = word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(block) = self.idle.pop(level, allowed) {
                    return Some(block);
                }
                if self.idle.len(level) == 0 {
                    self.filled[word] &= !(1 << (level % 64));
                }
            }
        }
        None
    }

    fn level_of(&self, block: BlockId) -> usize {
        let key = self.keys.get(block.0 as usize).copied().flatten();
        level(key.and_then(|key| self.needs.get(&key).copied()).unwrap_or(0))
    }
}

impl Evict for Planned {
    fn publish(&mut self, block: BlockId, entry: Entry) {
        let at = block.0 as usize;
        if self.keys.len() <= at {
            self.keys.resize(at + 1, None);
        }
        self.keys[at] = Some(entry.key);
        self.blocks.insert(entry.key, block);
    }

    fn hit(&mut self, _: BlockId) {}

    fn idle(&mut self, block: BlockId, _: u64) {
        self.push(self.level_of(block), block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let block = self.pop(allowed)?;
        if let Some(key) = self.keys[block.0 as usize].take() {
            self.blocks.remove(&key);
        }
        Some(block)
    }

    fn used(&mut self, key: &BlockKey) {
        let Some(need) = self.needs.get_mut(key) else { return };
        *need -= 1;
        let need = *need;
        if need == 0 {
            self.needs.remove(key);
        }
        let Some(block) = self.blocks.get(key).copied() else { return };
        if level(need) != level(need + 1) && self.idle.remove(block).is_some() {
            self.push(level(need), block);
        }
    }

    fn forecast(&mut self, needs: &KeyMap<u32>) {
        self.needs = needs.iter().filter(|(_, need)| **need > 0).map(|(k, n)| (*k, *n)).collect();
        let idle: Vec<BlockId> =
            (0..LEVELS).flat_map(|level| self.idle.iter(level).collect::<Vec<_>>()).collect();
        for block in idle {
            self.push(self.level_of(block), block);
        }
    }
}
