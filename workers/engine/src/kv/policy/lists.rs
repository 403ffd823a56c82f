//! Doubly linked lists over block numbers: every operation takes constant time, whatever the
//! number of blocks. A block stands in at most one list. Called by the policies.

use crate::kv::pool::BlockId;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    before: u32,
    after: u32,
    list: u32,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    front: u32,
    back: u32,
    len: usize,
}

/// A fixed number of lists that share one table of nodes.
#[derive(Debug)]
pub(crate) struct Lists {
    nodes: Vec<Node>,
    ends: Vec<Ends>,
}

impl Lists {
    /// `lists` empty lists.
    pub fn new(lists: usize) -> Self {
        Self { nodes: Vec::new(), ends: vec![Ends { front: NONE, back: NONE, len: 0 }; lists] }
    }

    /// Appends `block` to `list`; it leaves the list that it stood in.
    pub fn push_back(&mut self, list: usize, block: BlockId) {
        self.remove(block);
        let at = block.0 as usize;
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, Node { before: NONE, after: NONE, list: NONE });
        }
        let ends = &mut self.ends[list];
        self.nodes[at] = Node { before: ends.back, after: NONE, list: list as u32 };
        match ends.back {
            NONE => ends.front = block.0,
            back => self.nodes[back as usize].after = block.0,
        }
        ends.back = block.0;
        ends.len += 1;
    }

    /// Takes `block` out of its list, if it stands in one; gives the list's number.
    pub fn remove(&mut self, block: BlockId) -> Option<usize> {
        let node = *self.nodes.get(block.0 as usize)?;
        if node.list == NONE {
            return None;
        }
        let ends = &mut self.ends[node.list as usize];
        match node.before {
            NONE => ends.front = node.after,
            before => self.nodes[before as usize].after = node.after,
        }
        match node.after {
            NONE => ends.back = node.before,
            after => self.nodes[after as usize].before = node.before,
        }
        ends.len -= 1;
        self.nodes[block.0 as usize].list = NONE;
        Some(node.list as usize)
    }

    /// Length of `list`.
    pub fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    /// Blocks of `list` from the front.
    pub fn iter(&self, list: usize) -> impl Iterator<Item = BlockId> + '_ {
        let mut next = self.ends[list].front;
        std::iter::from_fn(move || {
            let block = (next != NONE).then_some(BlockId(next))?;
            next = self.nodes[next as usize].after;
            Some(block)
        })
    }

    /// Takes the first block of `list` that may go.
    pub fn pop(&mut self, list: usize, allowed: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let block = self.iter(list).find(|block| allowed(*block))?;
        self.remove(block);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against plain vectors.
        #[test]
        fn lists_behave_like_vectors(steps in proptest::collection::vec((0u8..3, 0usize..3, 0u32..12), 0..120)) {
            let mut lists = Lists::new(3);
            let mut plain: [Vec<u32>; 3] = Default::default();
            for (kind, list, block) in steps {
                match kind {
                    0 => {
                        lists.push_back(list, BlockId(block));
                        for other in &mut plain {
                            other.retain(|b| *b != block);
                        }
                        plain[list].push(block);
                    }
                    1 => {
                        let expected = plain.iter().position(|l| l.contains(&block));
                        prop_assert_eq!(lists.remove(BlockId(block)), expected);
                        for other in &mut plain {
                            other.retain(|b| *b != block);
                        }
                    }
                    _ => {
                        let found = lists.pop(list, &|b| b.0 % 2 == 0).map(|b| b.0);
                        let at = plain[list].iter().position(|b| b % 2 == 0);
                        prop_assert_eq!(found, at.map(|at| plain[list].remove(at)));
                    }
                }
                for (list, plain) in plain.iter().enumerate() {
                    prop_assert_eq!(lists.iter(list).map(|b| b.0).collect::<Vec<_>>(), plain.clone());
                    prop_assert_eq!(lists.len(list), plain.len());
                }
            }
        }
    }
}
