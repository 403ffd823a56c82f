//! Which texts lie on disk, in the order of their last use. No I/O.
//!
//! Invariant: `bytes` is the sum of all sizes, and `order` holds each text exactly once. Called by `folder`, under its
//! lock.

use std::collections::{BTreeMap, HashMap};

use crate::Key;

#[derive(Debug, Clone, Copy)]
struct Place {
    bytes: u64,
    turn: i64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashMap<Key, Place>,
    order: BTreeMap<i64, Key>,
    bytes: u64,
    newest: i64,
    oldest: i64,
}

impl Index {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn entries(&self) -> usize {
        self.places.len()
    }

    /// Puts a text at the end of the order, as the one used last.
    pub(super) fn use_now(&mut self, key: Key, bytes: u64) {
        self.remove(&key);
        self.newest += 1;
        self.insert(key, bytes, self.newest);
    }

    /// Puts a text found by the scan at the start of the order, unless it has been used meanwhile. Called with the
    /// newest first.
    pub(super) fn found_older(&mut self, key: Key, bytes: u64) {
        if !self.places.contains_key(&key) {
            self.oldest -= 1;
            self.insert(key, bytes, self.oldest);
        }
    }

    fn insert(&mut self, key: Key, bytes: u64, turn: i64) {
        self.places.insert(key, Place { bytes, turn });
        self.order.insert(turn, key);
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place.turn);
            self.bytes = self.bytes.saturating_sub(place.bytes);
        }
    }

    /// Takes out the text used longest ago, if there is more than the limits allow.
    pub(super) fn surplus(&mut self, bytes_max: u64, entries_max: usize) -> Option<Key> {
        if self.bytes <= bytes_max && self.places.len() <= entries_max {
            return None;
        }
        let (_, key) = self.order.first_key_value()?;
        let key = *key;
        self.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kit::key;
    use proptest::prelude::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut index = Index::default();
        (1..=3).for_each(|n| index.use_now(key(n), 10));
        index.found_older(key(9), 10);
        index.found_older(key(8), 10);
        index.found_older(key(1), 10);
        index.use_now(key(1), 20);
        assert_eq!((index.bytes(), index.entries()), (60, 5));
        let gone: Vec<Key> = std::iter::from_fn(|| index.surplus(30, 10)).collect();
        assert_eq!(gone, [key(8), key(9), key(2)]);
        assert_eq!(index.surplus(30, 1), Some(key(3)));
        assert_eq!((index.surplus(30, 1), index.bytes()), (None, 20));
    }

    proptest! {
        #[test]
        fn sums_hold(steps in proptest::collection::vec((0..4_u8, 0..8_u64, 0..100_u64), 0..200)) {
            let mut index = Index::default();
            for (step, n, bytes) in steps {
                match step {
                    0 => index.use_now(key(n), bytes),
                    1 => index.found_older(key(n), bytes),
                    2 => index.remove(&key(n)),
                    _ => drop(index.surplus(150, 5)),
                }
                prop_assert_eq!(index.bytes, index.places.values().map(|p| p.bytes).sum::<u64>());
                prop_assert_eq!(index.order.len(), index.places.len());
                prop_assert!(index.order.iter().all(|(turn, key)| index.places[key].turn == *turn));
            }
        }
    }
}
