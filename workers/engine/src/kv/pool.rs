//! Block ids, their holders and the free list. The bytes live in `KvStore`.
//!
//! Invariant: `free + idle + held = capacity`; a held block is never handed out or evicted; a
//! block is shared only through the index. Knows nothing of models. Called by `engine`.

use super::index::Index;
use super::key::BlockKey;

/// Number of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// All blocks of one engine.
#[derive(Debug)]
pub(crate) struct Pool {
    holders: Vec<u32>,
    free: Vec<BlockId>,
    index: Index,
    evicted: u64,
}

impl Pool {
    /// `capacity` free blocks.
    pub fn new(capacity: usize) -> Self {
        // Low ids are handed out first, so that memory is touched only when needed.
        let free = (0..capacity as u32).rev().map(BlockId).collect();
        Self { holders: vec![0; capacity], free, index: Index::default(), evicted: 0 }
    }

    /// Number of blocks in all.
    pub fn capacity(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that `take` could hand out now.
    pub fn available(&self) -> usize {
        self.free.len() + self.index.idle_count()
    }

    /// Blocks held by sequences.
    pub fn held(&self) -> usize {
        self.capacity() - self.available()
    }

    /// Published blocks.
    pub fn cached(&self) -> usize {
        self.index.len()
    }

    /// Blocks evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes an unused block, evicting the longest unused published one if need be.
    pub fn take(&mut self) -> Option<BlockId> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => {
                let block = self.index.evict()?;
                self.evicted += 1;
                block
            }
        };
        self.holders[block.0 as usize] = 1;
        Some(block)
    }

    /// How many of `keys`, from the first on, are published, and how many of those are idle.
    pub fn probe(&self, keys: &[BlockKey]) -> (usize, usize) {
        let mut idle = 0;
        let mut matched = 0;
        for key in keys {
            let Some(block) = self.index.get(key) else { break };
            matched += 1;
            idle += usize::from(self.holders[block.0 as usize] == 0);
        }
        (matched, idle)
    }

    /// Takes a share in the block that holds `key`.
    pub fn share(&mut self, key: &BlockKey) -> Option<BlockId> {
        let block = self.index.get(key)?;
        self.index.set_busy(block);
        self.holders[block.0 as usize] += 1;
        Some(block)
    }

    /// Publishes a held block whose keys and values are written. When the same key was published
    /// meanwhile, the block stays private.
    pub fn publish(&mut self, key: BlockKey, block: BlockId) {
        debug_assert!(self.holders[block.0 as usize] > 0);
        self.index.insert(key, block);
    }

    /// Gives back the blocks of one sequence. The tail becomes idle first, so that it is evicted
    /// first and prefixes stay matchable.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for block in blocks.iter().rev() {
            let holders = &mut self.holders[block.0 as usize];
            debug_assert!(*holders > 0);
            *holders -= 1;
            if *holders > 0 {
                continue;
            }
            if self.index.contains(*block) { self.index.set_idle(*block) } else { self.free.push(*block) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{BlockScope, chain};
    use super::*;

    fn keys(n: usize) -> Vec<BlockKey> {
        let tokens: Vec<u32> = (0..n as u32).collect();
        chain(BlockKey::root("m", "f32", 1), 1, &tokens, n, "")
    }

    #[test]
    fn blocks_are_shared_evicted_oldest_first_and_conserved() {
        let mut pool = Pool::new(4);
        let keys = keys(3);
        let held: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        for (key, block) in keys.iter().zip(&held) {
            pool.publish(*key, *block);
        }
        assert_eq!((pool.held(), pool.cached(), pool.available()), (3, 3, 1));
        assert_eq!(pool.probe(&keys), (3, 0));
        pool.release(&held);
        assert_eq!((pool.held(), pool.available()), (0, 4));
        assert_eq!(pool.probe(&keys), (3, 3));

        let shared = pool.share(&keys[0]).unwrap();
        assert_eq!(shared, held[0]);
        // One is free, two are idle: the tail of the chain goes before its middle.
        assert!(pool.take().is_some());
        assert_eq!(pool.take(), Some(held[2]));
        assert_eq!(pool.probe(&keys), (2, 1));
        assert_eq!(pool.take(), Some(held[1]));
        assert_eq!(pool.take(), None, "a held block is never evicted");
        assert_eq!(pool.evicted(), 2);
        assert_eq!(pool.probe(&keys), (1, 0));
    }

    #[test]
    fn a_key_published_twice_keeps_its_first_block() {
        let mut pool = Pool::new(2);
        let key = BlockKey::root("m", "f32", 1).child(BlockScope::Public, &[1]);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        pool.publish(key, a);
        pool.publish(key, b);
        pool.release(&[b]);
        assert_eq!(pool.share(&key), Some(a));
        pool.release(&[a, a]);
        assert_eq!(pool.available(), 2);
    }
}
