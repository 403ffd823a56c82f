//! The blocks that one sequence holds.

use super::pool::{BlockId, BlockRef};

/// The blocks of one sequence, in order. Dropping it gives back the last one first, so that
/// prefixes stay matchable longest.
#[derive(Debug, Default)]
pub(crate) struct Table {
    blocks: Vec<BlockRef>,
    ids: Vec<BlockId>,
}

impl Table {
    /// Appends a block.
    pub fn push(&mut self, block: BlockRef) {
        self.ids.push(block.id());
        self.blocks.push(block);
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Ids, in order.
    pub fn ids(&self) -> &[BlockId] {
        &self.ids
    }

    /// The block at `index`.
    pub fn get(&self, index: usize) -> Option<&BlockRef> {
        self.blocks.get(index)
    }

    /// Gives back all but the first `len` blocks.
    pub fn truncate(&mut self, len: usize) {
        while self.blocks.len() > len {
            self.blocks.pop();
            self.ids.pop();
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.truncate(0);
    }
}
