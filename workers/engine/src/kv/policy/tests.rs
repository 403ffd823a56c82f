//! Each policy by example, on a pool of a few blocks.

use super::*;
use crate::kv::key::BlockKey;
use crate::kv::pool::Pool;
use crate::kv::quota::{ANYONE, Quotas};

fn key(n: usize) -> BlockKey {
    BlockKey::root("m", "f32", n)
}

fn pool(eviction: Eviction, capacity: usize) -> Pool {
    Pool::with(capacity, eviction.policy(capacity), &Quotas::default())
}

fn add(pool: &Pool, n: usize, segment: Segment) {
    let taken = pool.take(ANYONE, true).unwrap();
    pool.publish(key(n), &taken.block, segment);
}

fn touch(pool: &Pool, n: usize) {
    assert!(pool.share(&key(n)).is_some(), "{n} is gone");
}

fn there(pool: &Pool, keys: &[usize]) -> Vec<usize> {
    keys.iter().copied().filter(|n| pool.probe(&[key(*n)]).blocks == 1).collect()
}

#[test]
fn lfu_keeps_what_is_used_often() {
    let pool = pool(Eviction::Lfu, 3);
    for n in 0..3 {
        add(&pool, n, Segment::Public);
    }
    touch(&pool, 0);
    touch(&pool, 0);
    touch(&pool, 2);
    add(&pool, 3, Segment::Public);
    assert_eq!(there(&pool, &[0, 1, 2, 3]), [0, 2, 3]);
    add(&pool, 4, Segment::Public);
    assert_eq!(there(&pool, &[0, 1, 2, 3, 4]), [0, 2, 4], "a new one goes before one used again");
}

#[test]
fn adaptive_is_not_washed_out_by_a_scan() {
    let pool = pool(Eviction::Adaptive, 4);
    add(&pool, 0, Segment::Public);
    add(&pool, 1, Segment::Public);
    touch(&pool, 0);
    touch(&pool, 1);
    for n in 10..40 {
        add(&pool, n, Segment::Public);
    }
    assert_eq!(there(&pool, &[0, 1]), [0, 1]);
    // What comes again soon after its eviction is kept from then on.
    add(&pool, 37, Segment::Public);
    for n in 50..53 {
        add(&pool, n, Segment::Public);
    }
    assert_eq!(there(&pool, &[37]), [37]);
}

#[test]
fn ttl_drops_what_is_unused_for_long() {
    let pool = pool(Eviction::Ttl(100), 4);
    pool.set_now(0);
    add(&pool, 0, Segment::Tenant);
    add(&pool, 1, Segment::Tenant);
    pool.set_now(60);
    touch(&pool, 0);
    pool.set_now(99);
    assert_eq!(pool.cached(), 2);
    pool.set_now(100);
    assert_eq!(there(&pool, &[0, 1]), [0]);
    pool.set_now(160);
    assert_eq!((pool.cached(), pool.available()), (0, 4));
}

#[test]
fn segments_keep_their_shares() {
    let pool = pool(Eviction::Segmented, 6);
    add(&pool, 0, Segment::Public);
    add(&pool, 1, Segment::Public);
    for n in 10..60 {
        add(&pool, n, if n % 2 == 0 { Segment::Tenant } else { Segment::Answer });
    }
    assert_eq!(there(&pool, &[0, 1]), [0, 1]);
    assert_eq!(pool.cached(), 6);
}

#[test]
fn planned_keeps_what_was_announced_until_it_is_used_up() {
    let pool = pool(Eviction::Planned, 3);
    for n in 0..3 {
        add(&pool, n, Segment::Public);
    }
    pool.forecast(&[(key(0), 1), (key(1), 40)].into_iter().collect());
    add(&pool, 3, Segment::Public);
    add(&pool, 4, Segment::Public);
    assert_eq!(there(&pool, &[0, 1, 2, 3, 4]), [0, 1, 4]);
    pool.used(&key(0));
    add(&pool, 5, Segment::Public);
    add(&pool, 6, Segment::Public);
    assert_eq!(there(&pool, &[0, 1, 4, 5, 6]), [1, 5, 6], "0 was needed once");
    pool.forecast(&[(key(6), 2), (key(1), 1)].into_iter().collect());
    pool.used(&key(1));
    add(&pool, 7, Segment::Public);
    add(&pool, 8, Segment::Public);
    assert_eq!(there(&pool, &[1, 5, 6, 7, 8]), [6, 7, 8], "a new announcement replaces the old one");
}
