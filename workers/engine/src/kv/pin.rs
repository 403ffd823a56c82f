//! Blocks kept on purpose: of sessions that may go on, and of prefixes that were warmed up.
//!
//! Each is kept until its time is over or the memory is needed for running requests: a pin is a
//! wish, never a reason to refuse work. Invariant: all pins together hold at most `blocks_max`
//! entries of block tables. Owned by `engine`.

use std::collections::HashMap;

use super::key::BlockKey;
use super::table::Table;

/// What a pin is for. A new pin of the same name replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum PinName {
    /// A conversation of one tenant.
    Session {
        /// Tenant.
        tenant: String,
        /// The caller's name for it.
        session: String,
    },
    /// A beginning of prompts, by the key of its last full block.
    Prefix(BlockKey),
}

/// How long to keep the blocks of an answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keep {
    pub name: PinName,
    pub ttl_ms: u64,
}

#[derive(Debug)]
struct Pin {
    table: Table,
    until_ms: u64,
}

/// All pins of one engine.
#[derive(Debug)]
pub(crate) struct Pins {
    pins: HashMap<PinName, Pin>,
    blocks: usize,
    blocks_max: usize,
}

impl Pins {
    /// At most `blocks_max` blocks.
    pub fn new(blocks_max: usize) -> Self {
        Self { pins: HashMap::new(), blocks: 0, blocks_max }
    }

    /// Number of pins.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.pins.len()
    }

    /// Blocks held, those shared by several pins counted for each.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Holds `table` from now on. What is larger than the budget is not held; pins whose time
    /// is over soonest give way to a new one.
    pub fn insert(&mut self, keep: &Keep, table: Table, now_ms: u64) {
        self.remove(&keep.name);
        if table.len() == 0 || table.len() > self.blocks_max {
            return;
        }
        self.blocks += table.len();
        let until_ms = now_ms.saturating_add(keep.ttl_ms);
        self.pins.insert(keep.name.clone(), Pin { table, until_ms });
        while self.blocks > self.blocks_max && self.release(Some(&keep.name)) {}
    }

    fn remove(&mut self, name: &PinName) {
        if let Some(pin) = self.pins.remove(name) {
            self.blocks -= pin.table.len();
        }
    }

    /// Lets go of the pin whose time is over soonest; false when there is none.
    pub fn release_one(&mut self) -> bool {
        self.release(None)
    }

    fn release(&mut self, but: Option<&PinName>) -> bool {
        let others = self.pins.iter().filter(|(name, _)| Some(*name) != but);
        let Some(name) = others.min_by_key(|(_, pin)| pin.until_ms).map(|(name, _)| name.clone()) else {
            return false;
        };
        self.remove(&name);
        true
    }

    /// Lets go of pins whose time is over.
    pub fn expire(&mut self, now_ms: u64) {
        let blocks = &mut self.blocks;
        self.pins.retain(|_, pin| {
            let keep = pin.until_ms > now_ms;
            if !keep {
                *blocks -= pin.table.len();
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::pool::Pool;
    use crate::kv::quota::ANYONE;

    fn table(pool: &Pool, blocks: usize) -> Table {
        let mut table = Table::default();
        for _ in 0..blocks {
            table.push(pool.take(ANYONE, true).unwrap().block);
        }
        table
    }

    fn keep(n: usize, ttl_ms: u64) -> Keep {
        Keep { name: PinName::Prefix(BlockKey::root("m", "f32", n)), ttl_ms }
    }

    #[test]
    fn pins_keep_to_budget_and_time_and_give_everything_back() {
        let pool = Pool::new(20);
        let mut pins = Pins::new(10);
        pins.insert(&keep(1, 100), table(&pool, 4), 0);
        pins.insert(&keep(2, 50), table(&pool, 4), 0);
        assert_eq!((pins.len(), pins.blocks(), pool.held()), (2, 8, 8));
        pins.insert(&keep(3, 10), table(&pool, 4), 0);
        assert_eq!((pins.len(), pool.held()), (2, 8), "2 ends before 1");
        pins.insert(&keep(4, 10), table(&pool, 11), 0);
        assert_eq!(pool.held(), 8, "too large to be held");
        pins.insert(&keep(3, 200), table(&pool, 2), 5);
        assert_eq!((pins.blocks(), pool.held()), (6, 6), "replaced");
        pins.expire(99);
        assert_eq!(pins.len(), 2);
        pins.expire(100);
        assert_eq!((pins.len(), pool.held()), (1, 2));
        assert!(pins.release_one());
        assert!(!pins.release_one());
        assert_eq!((pins.blocks(), pool.held()), (0, 0));
    }
}
