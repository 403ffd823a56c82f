//! The least often used block goes first, the longest unused of equals.

use super::{Entry, Evict, Lists};
use crate::kv::pool::BlockId;

/// Uses that are told apart.
const LEVELS: usize = 16;
/// Matches per block after which all counts are halved, so that old fame fades.
const FADE_AFTER: usize = 8;

/// Least frequently used.
#[derive(Debug)]
pub(crate) struct Lfu {
    idle: Lists,
    uses: Vec<u8>,
    hits: usize,
}

impl Lfu {
    /// Nothing idle yet.
    pub fn new() -> Self {
        Self { idle: Lists::new(LEVELS), uses: Vec::new(), hits: 0 }
    }

    fn uses(&mut self, block: BlockId) -> &mut u8 {
        let at = block.0 as usize;
        if self.uses.len() <= at {
            self.uses.resize(at + 1, 0);
        }
        &mut self.uses[at]
    }

    fn fade(&mut self) {
        self.hits = 0;
        for uses in &mut self.uses {
            *uses /= 2;
        }
        for level in 1..LEVELS {
            let blocks: Vec<BlockId> = self.idle.iter(level).collect();
            for block in blocks {
                self.idle.push_back(level / 2, block);
            }
        }
    }
}

impl Evict for Lfu {
    fn publish(&mut self, block: BlockId, _: Entry) {
        *self.uses(block) = 0;
    }

    fn hit(&mut self, block: BlockId) {
        let uses = self.uses(block);
        *uses = uses.saturating_add(1).min(LEVELS as u8 - 1);
        self.hits += 1;
        if self.hits > FADE_AFTER * self.uses.len() {
            self.fade();
        }
    }

    fn idle(&mut self, block: BlockId, _: u64) {
        let level = usize::from(*self.uses(block));
        self.idle.push_back(level, block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        (0..LEVELS).find_map(|level| self.idle.pop(level, allowed))
    }
}
