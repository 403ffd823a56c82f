//! Evicted blocks in this process's memory, compressed, the longest unused dropped first.

use std::collections::VecDeque;

use crate::kv::key::{BlockKey, KeyMap};

/// Compressed blocks by key.
#[derive(Debug)]
pub(crate) struct Host {
    blocks: KeyMap<(u64, Vec<u8>)>,
    /// Keys by use; an entry whose stamp is not the block's own is old.
    order: VecDeque<(u64, BlockKey)>,
    stamp: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Host {
    /// At most `bytes_max` bytes of blocks.
    pub fn new(bytes_max: usize) -> Self {
        Self { blocks: KeyMap::default(), order: VecDeque::new(), stamp: 0, bytes: 0, bytes_max }
    }

    /// Bytes of blocks held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Length of the block of `key`, when it is here.
    pub fn find(&self, key: &BlockKey) -> Option<usize> {
        self.blocks.get(key).map(|(_, bytes)| bytes.len())
    }

    /// The block of `key`.
    pub fn get(&mut self, key: &BlockKey) -> Option<&[u8]> {
        self.stamp += 1;
        self.blocks.get_mut(key)?.0 = self.stamp;
        self.order.push_back((self.stamp, *key));
        if self.order.len() > 4 * self.blocks.len() + 64 {
            let blocks = &self.blocks;
            self.order.retain(|(stamp, key)| blocks.get(key).is_some_and(|(own, _)| own == stamp));
        }
        self.blocks.get(key).map(|(_, bytes)| bytes.as_slice())
    }

    /// Drops what turned out to be unreadable.
    pub fn remove(&mut self, key: &BlockKey) {
        if let Some((_, bytes)) = self.blocks.remove(key) {
            self.bytes -= bytes.len();
        }
    }

    /// Takes all blocks out.
    pub fn drain(&mut self) -> impl Iterator<Item = (BlockKey, Vec<u8>)> {
        self.order.clear();
        self.bytes = 0;
        std::mem::take(&mut self.blocks).into_iter().map(|(key, (_, bytes))| (key, bytes))
    }

    /// Keeps a block; gives back those that had to go for it.
    pub fn put(&mut self, key: BlockKey, block: Vec<u8>) -> Vec<(BlockKey, Vec<u8>)> {
        if block.len() > self.bytes_max {
            return vec![(key, block)];
        }
        self.remove(&key);
        self.stamp += 1;
        self.bytes += block.len();
        self.blocks.insert(key, (self.stamp, block));
        self.order.push_back((self.stamp, key));
        let mut dropped = Vec::new();
        while self.bytes > self.bytes_max {
            let Some((stamp, key)) = self.order.pop_front() else { break };
            if self.blocks.get(&key).is_some_and(|(own, _)| *own == stamp)
                && let Some((_, bytes)) = self.blocks.remove(&key)
            {
                self.bytes -= bytes.len();
                dropped.push((key, bytes));
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_when_the_budget_is_full() {
        let key = |n: usize| BlockKey::root("m", "f32", n);
        let mut host = Host::new(10);
        assert!(host.put(key(1), vec![1; 4]).is_empty());
        assert!(host.put(key(2), vec![2; 4]).is_empty());
        assert_eq!(host.get(&key(1)), Some(&[1; 4][..]));
        assert_eq!(host.put(key(3), vec![3; 4]), [(key(2), vec![2; 4])]);
        assert_eq!((host.find(&key(1)), host.find(&key(2)), host.bytes()), (Some(4), None, 8));
        // A block of the same key replaces the old one; one too large is given straight back.
        assert!(host.put(key(3), vec![4; 6]).is_empty());
        assert_eq!(host.get(&key(3)), Some(&[4; 6][..]));
        assert_eq!(host.bytes(), 10);
        assert_eq!(host.put(key(4), vec![0; 11]).len(), 1);
        for _ in 0..1000 {
            host.get(&key(1));
        }
        assert!(host.order.len() < 100);
    }
}
