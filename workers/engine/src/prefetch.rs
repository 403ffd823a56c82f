//! What the announced future needs next, brought to the device before it is asked for.
//!
//! Decides only; `engine` moves the bytes and `policies` replays it without any. What waiting requests need comes first,
//! in their order, and may take the place of anything that is needed later. What was merely announced takes free memory,
//! or the place of what is needed much less. What was brought and not yet used keeps to a budget. So the worst that a
//! wrong forecast costs is time between two steps.

use std::cmp::Reverse;

use crate::kv::key::{BlockKey, KeyMap};
use crate::kv::pool::{Pool, Taken};
use crate::kv::quota::TenantId;

/// Waiting requests that are looked at.
pub(crate) const QUEUE_MAX: usize = 4;
/// An announced prefix takes the place of one that is needed this many times less: closer calls are made again with each
/// forecast, and would move the same blocks to and fro.
const MARGIN: u32 = 2;
/// Keys looked at in one go: a long forecast must not hold up a step.
const WALK_MAX: usize = 4096;

/// Keys of one expected beginning of prompts.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub tenant: String,
    pub keys: Vec<BlockKey>,
    /// Keys from the start that hold no tenant's text.
    pub public: usize,
    pub times: u32,
}

/// A forecast in terms of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlook {
    /// How often each key will be needed from now on.
    pub needs: KeyMap<u32>,
    pub chains: Vec<Chain>,
}

/// The slower places, as far as looking ahead goes.
pub(crate) trait Below {
    /// Is the block of `key` here, and faster to read than to compute? Room is made for it then.
    fn has(&mut self, key: &BlockKey) -> bool;
    /// Some of these will be wanted, and are not here: have them come, if there is somewhere to have them from.
    fn ask(&mut self, keys: &[BlockKey]);
}

/// Blocks brought ahead of need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PrefetchCounts {
    pub brought: u64,
    /// Of these, found by a request.
    pub used: u64,
    /// Of these, evicted before any request came.
    pub wasted: u64,
}

/// A block to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub key: BlockKey,
    pub tenant: String,
    pub is_public: bool,
    need: u32,
    /// Place in the queue of the request that needs it; none when it was merely announced.
    place: Option<u32>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Prefetch {
    needs: KeyMap<u32>,
    /// The most needed first.
    chains: Vec<Chain>,
    /// Of waiting requests, the next one first.
    queue: Vec<Chain>,
    /// First place in the queue at which each of their keys is needed.
    soon: KeyMap<u32>,
    /// Chain and key that are looked at next.
    at: (usize, usize),
    /// Brought, not used yet.
    pending: KeyMap<()>,
    pending_max: usize,
    /// No block could be had, or the budget is full; until something changes there is no use in trying.
    is_stalled: bool,
    pub counts: PrefetchCounts,
}

impl Prefetch {
    /// At most `blocks_max` blocks that were brought and not yet used.
    pub fn new(blocks_max: usize) -> Self {
        Self {
            needs: KeyMap::default(),
            chains: Vec::new(),
            queue: Vec::new(),
            soon: KeyMap::default(),
            at: (0, 0),
            pending: KeyMap::default(),
            pending_max: blocks_max,
            is_stalled: false,
            counts: PrefetchCounts::default(),
        }
    }

    /// Replaces what was expected before.
    pub fn forecast(&mut self, outlook: Outlook) {
        self.needs = outlook.needs;
        self.chains = outlook.chains;
        self.chains.sort_by_key(|chain| Reverse(chain.times));
        self.forget_unwanted();
        self.again();
    }

    /// Replaces what waiting requests need, the next one first; at most [`QUEUE_MAX`].
    pub fn queue(&mut self, chains: Vec<Chain>) {
        self.soon.clear();
        for (place, chain) in chains.iter().enumerate() {
            for key in &chain.keys {
                self.soon.entry(*key).or_insert(place as u32);
            }
        }
        self.queue = chains;
        self.forget_unwanted();
        self.again();
    }

    /// Something has changed: blocks came, or memory got free.
    pub fn again(&mut self) {
        self.at = (0, 0);
        self.is_stalled = false;
    }

    /// A request with this key in its prompt has started.
    pub fn used(&mut self, key: &BlockKey) {
        if let Some(need) = self.needs.get_mut(key) {
            *need = need.saturating_sub(1);
        }
    }

    /// A request found the block of `key` on the device.
    pub fn found(&mut self, key: &BlockKey) {
        if self.pending.remove(key).is_some() {
            self.counts.used += 1;
            self.is_stalled = false;
        }
    }

    /// The block of `key` was evicted.
    pub fn evicted(&mut self, key: &BlockKey) {
        if self.pending.remove(key).is_some() {
            self.counts.wasted += 1;
        }
    }

    /// A block was brought.
    pub fn brought(&mut self, key: BlockKey) {
        self.pending.insert(key, ());
        self.counts.brought += 1;
    }

    /// The block that was wanted last cannot be read: what follows it in its chain is of no use either.
    pub fn unreadable(&mut self) {
        self.at = (self.at.0 + 1, 0);
    }

    /// The block to bring next; `None` when there is none for now.
    pub fn next(&mut self, pool: &Pool, below: &mut impl Below) -> Option<Wanted> {
        if self.is_stalled {
            return None;
        }
        if self.pending.len() >= self.pending_max {
            self.forget_expired(pool);
            if self.pending.len() >= self.pending_max {
                self.is_stalled = true;
                return None;
            }
        }
        for _ in 0..WALK_MAX {
            let place = (self.at.0 < self.queue.len()).then_some(self.at.0 as u32);
            let chain =
                self.queue.get(self.at.0).or_else(|| self.chains.get(self.at.0 - self.queue.len()))?;
            let Some(key) = chain.keys.get(self.at.1) else {
                self.at = (self.at.0 + 1, 0);
                continue;
            };
            let need = self.needs.get(key).copied().unwrap_or(0).max(u32::from(place.is_some()));
            if need > 0 && pool.is_published(key) {
                self.at.1 += 1;
            } else if need > 0 && !pool.is_computing(key) && below.has(key) {
                let is_public = self.at.1 < chain.public;
                return Some(Wanted { key: *key, tenant: chain.tenant.clone(), is_public, need, place });
            } else {
                // A prefix with a hole is of no use behind it.
                if need > 0 && !pool.is_computing(key) {
                    below.ask(&chain.keys[self.at.1..]);
                }
                self.at = (self.at.0 + 1, 0);
            }
        }
        None
    }

    /// A block for `wanted`: free, or of something needed later.
    pub fn take(&mut self, pool: &Pool, account: TenantId, wanted: &Wanted) -> Option<Taken> {
        let (needs, soon) = (&self.needs, &self.soon);
        let may_go = |key: &BlockKey| match (wanted.place, soon.get(key)) {
            (Some(place), Some(other)) => *other > place,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => needs.get(key).copied().unwrap_or(0).saturating_mul(MARGIN) < wanted.need,
        };
        let taken = pool.take_if(account, wanted.is_public, &may_go);
        self.is_stalled = taken.is_none();
        taken
    }

    /// What was brought for an announcement that was taken back, or for a request that was cancelled, takes no place in
    /// the budget any more.
    fn forget_unwanted(&mut self) {
        let (needs, soon, before) = (&self.needs, &self.soon, self.pending.len());
        let is_wanted = |key: &BlockKey| needs.get(key).is_some_and(|n| *n > 0) || soon.contains_key(key);
        self.pending.retain(|key, ()| is_wanted(key));
        self.counts.wasted += (before - self.pending.len()) as u64;
    }

    /// Blocks may also go without a word, when their time is over.
    fn forget_expired(&mut self, pool: &Pool) {
        let before = self.pending.len();
        self.pending.retain(|key, ()| pool.is_published(key));
        self.counts.wasted += (before - self.pending.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::policy::{Eviction, Segment};
    use crate::kv::quota::{ANYONE, Quotas};
    use crate::kv::table::Table;

    #[derive(Default)]
    struct Store {
        keys: KeyMap<()>,
        asked: Vec<BlockKey>,
    }

    impl Below for Store {
        fn has(&mut self, key: &BlockKey) -> bool {
            self.keys.contains_key(key)
        }

        fn ask(&mut self, keys: &[BlockKey]) {
            self.asked.extend_from_slice(keys);
        }
    }

    fn key(chain: usize, at: usize) -> BlockKey {
        BlockKey::root("m", "f32", chain * 100 + at)
    }

    fn outlook(chains: &[(usize, usize, u32)]) -> Outlook {
        let mut outlook = Outlook::default();
        for (chain, len, times) in chains.iter().copied() {
            let keys: Vec<BlockKey> = (0..len).map(|at| key(chain, at)).collect();
            outlook.needs.extend(keys.iter().map(|key| (*key, times)));
            outlook.chains.push(Chain { tenant: String::new(), public: len, keys, times });
        }
        outlook
    }

    fn store(chains: &[(usize, usize)]) -> Store {
        let keys = chains.iter().flat_map(|(chain, len)| (0..*len).map(|at| (key(*chain, at), ())));
        Store { keys: keys.collect(), asked: Vec::new() }
    }

    /// Brings all that can be brought; the keys that were evicted for it.
    fn run(prefetch: &mut Prefetch, pool: &Pool, store: &mut Store) -> Vec<BlockKey> {
        let (mut gone, mut brought) = (Vec::new(), Table::default());
        while let Some(wanted) = prefetch.next(pool, store) {
            let Some(taken) = prefetch.take(pool, ANYONE, &wanted) else { break };
            pool.publish(wanted.key, &taken.block, Segment::Public);
            prefetch.brought(wanted.key);
            if let Some(key) = taken.evicted {
                prefetch.evicted(&key);
                gone.push(key);
            }
            brought.push(taken.block);
        }
        gone
    }

    fn pool(blocks: usize, eviction: Eviction) -> Pool {
        Pool::with(blocks, eviction.policy(blocks), &Quotas::default())
    }

    fn on_device(pool: &Pool, chain: usize, len: usize) -> usize {
        (0..len).filter(|at| pool.is_published(&key(chain, *at))).count()
    }

    #[test]
    fn the_most_needed_comes_first_and_nothing_needed_as_often_goes() {
        for eviction in Eviction::ALL {
            let pool = pool(10, eviction);
            let mut prefetch = Prefetch::new(100);
            let mut below = store(&[(1, 6), (2, 6), (3, 6)]);
            let plan = outlook(&[(1, 6, 2), (2, 6, 5), (3, 6, 2)]);
            pool.forecast(&plan.needs);
            prefetch.forecast(plan);
            assert!(run(&mut prefetch, &pool, &mut below).is_empty());
            assert_eq!([1, 2, 3].map(|chain| on_device(&pool, chain, 6)), [4, 6, 0], "{eviction:?}");
            // Another one is needed much more than 1, and as much as 2.
            below.keys.extend((0..6).map(|at| (key(4, at), ())));
            let plan = outlook(&[(1, 6, 2), (2, 6, 5), (4, 6, 5)]);
            pool.forecast(&plan.needs);
            prefetch.forecast(plan);
            let gone = run(&mut prefetch, &pool, &mut below);
            assert!(gone.iter().all(|k| (0..6).any(|at| *k == key(1, at))), "{eviction:?}");
            assert_eq!([1, 2, 4].map(|chain| on_device(&pool, chain, 6)), [0, 6, 4], "{eviction:?}");
            assert_eq!(prefetch.counts, PrefetchCounts { brought: 14, used: 0, wasted: 4 });
        }
    }

    #[test]
    fn waiting_requests_come_before_all_that_is_announced_and_in_their_order() {
        let pool = pool(10, Eviction::Planned);
        let mut prefetch = Prefetch::new(100);
        let mut below = store(&[(1, 6), (2, 6), (3, 6)]);
        let plan = outlook(&[(1, 6, 9)]);
        pool.forecast(&plan.needs);
        prefetch.forecast(plan);
        run(&mut prefetch, &pool, &mut below);
        assert_eq!(on_device(&pool, 1, 6), 6);
        prefetch.queue(outlook(&[(2, 6, 1), (3, 6, 1)]).chains);
        run(&mut prefetch, &pool, &mut below);
        // The first one gets all, the second what is not needed earlier; what is announced gives way.
        assert_eq!([1, 2, 3].map(|chain| on_device(&pool, chain, 6)), [0, 6, 4]);
        prefetch.queue(outlook(&[(3, 6, 1), (2, 6, 1)]).chains);
        run(&mut prefetch, &pool, &mut below);
        assert_eq!([1, 2, 3].map(|chain| on_device(&pool, chain, 6)), [0, 4, 6]);
        prefetch.queue(Vec::new());
        run(&mut prefetch, &pool, &mut below);
        assert_eq!(on_device(&pool, 1, 6), 6, "nobody waits for the others any more");
    }

    #[test]
    fn what_is_held_stays_and_a_budget_is_kept() {
        let pool = pool(8, Eviction::Planned);
        let held: Vec<Taken> = (0..5).map(|_| pool.take(ANYONE, true).unwrap()).collect();
        let mut prefetch = Prefetch::new(2);
        let mut below = store(&[(1, 6)]);
        prefetch.forecast(outlook(&[(1, 6, 9)]));
        run(&mut prefetch, &pool, &mut below);
        assert_eq!(on_device(&pool, 1, 6), 2, "the budget");
        prefetch.found(&key(1, 0));
        prefetch.found(&key(1, 1));
        run(&mut prefetch, &pool, &mut below);
        assert_eq!((on_device(&pool, 1, 6), pool.held()), (3, 5), "three blocks are left");
        assert_eq!(prefetch.next(&pool, &mut below), None, "it does not try for ever");
        drop(held);
        prefetch.again();
        run(&mut prefetch, &pool, &mut below);
        assert_eq!((on_device(&pool, 1, 6), prefetch.counts.used), (4, 2));
    }

    #[test]
    fn a_hole_ends_a_chain_and_is_asked_for() {
        let pool = pool(20, Eviction::Planned);
        let mut prefetch = Prefetch::new(100);
        let mut below = store(&[(1, 2), (2, 3)]);
        prefetch.forecast(outlook(&[(1, 5, 9), (2, 3, 1), (3, 4, 0)]));
        run(&mut prefetch, &pool, &mut below);
        assert_eq!((on_device(&pool, 1, 5), on_device(&pool, 2, 3)), (2, 3));
        assert_eq!(below.asked, [key(1, 2), key(1, 3), key(1, 4)]);
        // What has been used as often as it was expected is not brought again.
        below.keys.insert(key(1, 2), ());
        (0..9).for_each(|_| prefetch.used(&key(1, 2)));
        prefetch.again();
        run(&mut prefetch, &pool, &mut below);
        assert_eq!(on_device(&pool, 1, 5), 2);
    }
}
