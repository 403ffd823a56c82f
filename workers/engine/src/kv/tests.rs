//! Sharing, eviction and conservation of blocks.

use proptest::prelude::*;

use super::key::{BlockKey, BlockScope, chain};
use super::policy::{Eviction, Segment};
use super::pool::{BlockRef, Match, Pool};
use super::quota::{ANYONE, Quotas};
use super::table::Table;

fn keys(n: usize) -> Vec<BlockKey> {
    let tokens: Vec<u32> = (0..n as u32).collect();
    chain(BlockKey::root("m", "f32", 1), 1, &tokens, n, "")
}

fn take(pool: &Pool) -> Option<BlockRef> {
    pool.take(ANYONE, true).map(|taken| taken.block)
}

fn found(blocks: usize, idle_public: usize) -> Match {
    Match { blocks, idle_public, idle_own: 0 }
}

#[test]
fn blocks_are_shared_evicted_oldest_first_and_conserved() {
    let pool = Pool::new(4);
    let keys = keys(3);
    let mut table = Table::default();
    for key in &keys {
        let block = take(&pool).unwrap();
        pool.publish(*key, &block, Segment::Public);
        table.push(block);
    }
    let ids = table.ids().to_vec();
    assert_eq!((pool.held(), pool.cached(), pool.available()), (3, 3, 1));
    assert_eq!(pool.probe(&keys), found(3, 0));
    drop(table);
    assert_eq!((pool.held(), pool.available()), (0, 4));
    assert_eq!(pool.probe(&keys), found(3, 3));

    let shared = pool.share(&keys[0]).unwrap();
    assert_eq!(shared.id(), ids[0]);
    // One is free, two are idle: the tail of the chain goes before its middle.
    let _first = take(&pool).unwrap();
    let second = pool.take(ANYONE, true).unwrap();
    assert_eq!((second.block.id(), second.evicted), (ids[2], Some(keys[2])));
    assert_eq!(pool.probe(&keys), found(2, 1));
    let third = take(&pool).unwrap();
    assert_eq!(third.id(), ids[1]);
    assert!(take(&pool).is_none(), "a held block is never evicted");
    assert_eq!(pool.evicted(), 2);
    assert_eq!(pool.probe(&keys), found(1, 0));
}

#[test]
fn a_key_published_twice_keeps_its_first_block() {
    let pool = Pool::new(2);
    let key = BlockKey::root("m", "f32", 1).child(BlockScope::Public, &[1]);
    let (a, b) = (take(&pool).unwrap(), take(&pool).unwrap());
    pool.publish(key, &a, Segment::Public);
    pool.publish(key, &b, Segment::Public);
    drop(b);
    assert_eq!(pool.share(&key).unwrap().id(), a.id());
    drop(a);
    assert_eq!((pool.available(), pool.cached()), (2, 1));
}

#[test]
fn keys_under_way_are_counted() {
    let pool = Pool::new(1);
    let key = keys(1)[0];
    pool.begin(key);
    pool.begin(key);
    pool.end(&key);
    assert!(pool.is_computing(&key));
    pool.end(&key);
    assert!(!pool.is_computing(&key));
    assert_eq!(pool.computing(), 0);
}

/// What a holder of a block did to it.
#[derive(Debug, Clone)]
enum Op {
    Take,
    Share(u8),
    Publish(u8, u8),
    Drop(u8),
    Policy(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Take),
        2 => any::<u8>().prop_map(Op::Share),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Op::Publish(a, b)),
        3 => any::<u8>().prop_map(Op::Drop),
        1 => any::<u8>().prop_map(Op::Policy),
    ]
}

proptest! {
    /// Contents are tracked beside the pool: whoever holds a block finds what was in it when it
    /// was taken or shared, so it was not handed out meanwhile.
    #[test]
    fn no_block_is_handed_out_while_it_is_held(
        ops in proptest::collection::vec(op(), 0..200),
        capacity in 1usize..8,
        policy in 0usize..Eviction::ALL.len(),
    ) {
        let policy = Eviction::ALL[policy];
        let pool = Pool::with(capacity, policy.policy(capacity), &Quotas::default());
        let keys = keys(6);
        let mut contents = vec![0u64; capacity];
        // A key's contents, once published, are the same for ever.
        let mut of_key = std::collections::HashMap::new();
        let mut held: Vec<(BlockRef, u64)> = Vec::new();
        for (stamp, op) in ops.into_iter().enumerate() {
            let stamp = stamp as u64 + 1;
            pool.set_now(stamp * 40_000);
            pool.used(&keys[stamp as usize % keys.len()]);
            if stamp.is_multiple_of(16) {
                pool.forecast(&keys.iter().map(|key| (*key, stamp as u32 % 5)).collect());
            }
            match op {
                Op::Take => match pool.take(ANYONE, true) {
                    Some(taken) => {
                        contents[taken.block.id().0 as usize] = stamp;
                        held.push((taken.block, stamp));
                    }
                    None => prop_assert_eq!(pool.held(), capacity),
                },
                Op::Share(key) => {
                    let key = keys[key as usize % keys.len()];
                    if let Some(block) = pool.share(&key) {
                        let content = contents[block.id().0 as usize];
                        prop_assert_eq!(Some(&content), of_key.get(&key));
                        held.push((block, content));
                    }
                }
                Op::Publish(at, key) if !held.is_empty() => {
                    let (block, content) = &held[at as usize % held.len()];
                    let key = keys[key as usize % keys.len()];
                    let before = pool.probe(&[key]).blocks;
                    let cached = pool.cached();
                    pool.publish(key, block, Segment::Public);
                    if before == 0 && pool.cached() > cached {
                        of_key.insert(key, *content);
                    }
                }
                Op::Drop(at) if !held.is_empty() => {
                    held.swap_remove(at as usize % held.len());
                }
                Op::Policy(which) => {
                    let (available, cached) = (pool.available(), pool.cached());
                    let policy = Eviction::ALL[which as usize % Eviction::ALL.len()];
                    pool.set_policy(policy.policy(capacity));
                    prop_assert_eq!((pool.available(), pool.cached()), (available, cached));
                }
                Op::Publish(..) | Op::Drop(_) => {}
            }
            for (block, content) in &held {
                prop_assert_eq!(contents[block.id().0 as usize], *content);
            }
            let distinct: std::collections::HashSet<_> = held.iter().map(|(b, _)| b.id()).collect();
            prop_assert_eq!(pool.held(), distinct.len());
        }
        drop(held);
        prop_assert_eq!((pool.held(), pool.available()), (0, capacity));
    }

    /// Keys of different tenants, publics, precisions or models meet only where they may.
    #[test]
    fn no_key_matches_across_scopes(
        a in proptest::collection::vec(0u32..3, 0..40),
        b in proptest::collection::vec(0u32..3, 0..40),
        public_a in 0usize..40,
        public_b in 0usize..40,
        same_tenant in any::<bool>(),
    ) {
        let root = BlockKey::root("m", "f32", 2);
        let (public_a, public_b) = (public_a.min(a.len()), public_b.min(b.len()));
        let of_a = chain(root, 2, &a, public_a, "a");
        let of_b = chain(root, 2, &b, public_b, if same_tenant { "a" } else { "b" });
        for (i, x) in of_a.iter().enumerate() {
            for (j, y) in of_b.iter().enumerate() {
                let (end_a, end_b) = ((i + 1) * 2, (j + 1) * 2);
                let (is_public_a, is_public_b) = (end_a <= public_a, end_b <= public_b);
                let scopes = is_public_a == is_public_b && (is_public_a || same_tenant);
                let same_text = a[..end_a] == b[..end_b];
                // The breakpoint is part of the chain once it is passed.
                let same_break = is_public_a || public_a / 2 == public_b / 2;
                prop_assert_eq!(x == y, scopes && same_text && same_break);
            }
        }
    }
}
