//! Each kind of text has a share of the idle blocks; the kind furthest above its share loses its
//! longest unused block. Keeps a flood of customers' data from washing the templates out.

use super::{Entry, Evict, Lists, Segment};
use crate::kv::pool::BlockId;

/// Shares of public text, tenants' prompts, answers.
const SHARES: [usize; 3] = [8, 3, 1];

/// Shares by segment.
#[derive(Debug)]
pub(crate) struct Segmented {
    idle: Lists,
    segment: Vec<usize>,
}

impl Segmented {
    /// Nothing idle yet.
    pub fn new() -> Self {
        Self { idle: Lists::new(SHARES.len()), segment: Vec::new() }
    }
}

impl Evict for Segmented {
    fn publish(&mut self, block: BlockId, entry: Entry) {
        let at = block.0 as usize;
        if self.segment.len() <= at {
            self.segment.resize(at + 1, 0);
        }
        self.segment[at] = match entry.segment {
            Segment::Public => 0,
            Segment::Tenant => 1,
            Segment::Answer => 2,
        };
    }

    fn hit(&mut self, _: BlockId) {}

    fn idle(&mut self, block: BlockId, _: u64) {
        let list = self.segment.get(block.0 as usize).copied().unwrap_or(0);
        self.idle.push_back(list, block);
    }

    fn busy(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    fn evict(&mut self, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let mut order = [2, 1, 0];
        // Lengths over shares, compared without division; of equals, answers go first.
        order.sort_by(|a, b| (self.idle.len(*b) * SHARES[*a]).cmp(&(self.idle.len(*a) * SHARES[*b])));
        order.into_iter().find_map(|list| self.idle.pop(list, allowed))
    }
}
