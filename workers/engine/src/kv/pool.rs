//! Block ids, their holders and the free list. The bytes live in `KvStore`.
//!
//! Invariant: `free + idle + held = capacity`; a held block is never handed out or evicted; a
//! block is shared only through the index. Holding is a value, [`BlockRef`]: dropping it gives
//! the block back, so no path through the engine can forget to. Knows nothing of models.

use std::cell::RefCell;
use std::rc::Rc;

use super::index::Index;
use super::key::{BlockKey, KeyMap};
use super::policy::{Entry, Evict, Segment};
use super::quota::{Book, Ledger, Quotas, TenantId};

/// Number of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

#[derive(Debug, Clone, Default)]
struct Slot {
    holders: u32,
    /// Whose text it holds; nobody's for public text and for free blocks.
    owner: Option<TenantId>,
    /// Set while published.
    key: Option<BlockKey>,
    /// What it holds, while published.
    segment: Option<Segment>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    free: Vec<BlockId>,
    index: Index,
    policy: Box<dyn Evict>,
    book: Book,
    idle: usize,
    evicted: u64,
    now_ms: u64,
}

/// All blocks of one engine. Clones are handles to the same blocks.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    state: Rc<RefCell<State>>,
}

/// A share in a block; dropping it gives the share back.
#[derive(Debug)]
pub(crate) struct BlockRef {
    id: BlockId,
    state: Rc<RefCell<State>>,
}

/// A block to write into.
#[derive(Debug)]
pub(crate) struct Taken {
    pub block: BlockRef,
    /// What it held until now: its bytes are still there and may be saved elsewhere.
    pub evicted: Option<BlockKey>,
}

/// How far a chain of keys is in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// Keys published, from the first on.
    pub blocks: usize,
    /// Idle blocks of public text among them.
    pub idle_public: usize,
    /// Idle blocks of a tenant among them.
    pub idle_own: usize,
}

impl Pool {
    /// `capacity` free blocks, the longest unused evicted first, without quotas.
    #[cfg(test)]
    pub fn new(capacity: usize) -> Self {
        Self::with(capacity, super::policy::Eviction::Lru.policy(capacity), &Quotas::default())
    }

    /// `capacity` free blocks.
    pub fn with(capacity: usize, policy: Box<dyn Evict>, quotas: &Quotas) -> Self {
        // Low ids are handed out first, so that memory is touched only when needed.
        let free = (0..capacity as u32).rev().map(BlockId).collect();
        let state = State {
            slots: vec![Slot::default(); capacity],
            free,
            index: Index::default(),
            policy,
            book: Book::new(quotas),
            idle: 0,
            evicted: 0,
            now_ms: 0,
        };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// Number of blocks in all.
    pub fn capacity(&self) -> usize {
        self.state.borrow().slots.len()
    }

    /// Blocks that are free or idle.
    pub fn available(&self) -> usize {
        let state = self.state.borrow();
        state.free.len() + state.idle
    }

    /// Blocks held by somebody.
    pub fn held(&self) -> usize {
        self.capacity() - self.available()
    }

    /// Published blocks.
    pub fn cached(&self) -> usize {
        self.state.borrow().index.len()
    }

    /// Keys that running sequences compute.
    #[cfg(test)]
    pub fn computing(&self) -> usize {
        self.state.borrow().index.computing()
    }

    /// Blocks evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.state.borrow().evicted
    }

    /// Tells the pool the time, milliseconds since the engine's start. Blocks whose time is over
    /// become free.
    pub fn set_now(&self, now_ms: u64) {
        let mut state = self.state.borrow_mut();
        state.now_ms = now_ms;
        while let Some(block) = state.policy.expire(now_ms) {
            state.forget(block);
            state.free.push(block);
        }
    }

    /// A request with this key in its prompt has started.
    pub fn used(&self, key: &BlockKey) {
        self.state.borrow_mut().policy.used(key);
    }

    /// How often each key will be needed from now on.
    pub fn forecast(&self, needs: &KeyMap<u32>) {
        self.state.borrow_mut().policy.forecast(needs);
    }

    /// The account of a tenant.
    pub fn tenant(&self, name: &str) -> TenantId {
        self.state.borrow_mut().book.tenant(name)
    }

    /// What a tenant has.
    #[cfg(test)]
    pub fn account(&self, tenant: TenantId) -> super::quota::Account {
        self.state.borrow().book.account(tenant)
    }

    /// Most blocks one request of `tenant` can ever get.
    pub fn most(&self, tenant: TenantId) -> usize {
        self.state.borrow().book.most(tenant, self.capacity())
    }

    /// A copy of the accounts to plan with.
    pub fn ledger(&self, tenants: impl Iterator<Item = TenantId>) -> Ledger {
        let state = self.state.borrow();
        state.book.ledger(state.free.len() + state.idle, tenants)
    }

    /// Takes a block for text of `tenant`, or for public text computed on its behalf. Evicts an
    /// idle block if need be. `None` when there is none that it may have.
    pub fn take(&self, tenant: TenantId, public: bool) -> Option<Taken> {
        self.take_if(tenant, public, &|_| true)
    }

    /// The same, but evicts only a block whose key `may_go`.
    pub fn take_if(
        &self,
        tenant: TenantId,
        public: bool,
        may_go: &dyn Fn(&BlockKey) -> bool,
    ) -> Option<Taken> {
        let (id, evicted) = self.state.borrow_mut().take(tenant, public, may_go)?;
        Some(Taken { block: self.guard(id), evicted })
    }

    /// Does a block hold `key`?
    pub fn is_published(&self, key: &BlockKey) -> bool {
        self.state.borrow().index.get(key).is_some()
    }

    /// How many of `keys`, from the first on, are published.
    pub fn probe(&self, keys: &[BlockKey]) -> Match {
        let state = self.state.borrow();
        let mut found = Match::default();
        for key in keys {
            let Some(block) = state.index.get(key) else { break };
            found.blocks += 1;
            let slot = &state.slots[block.0 as usize];
            if slot.holders == 0 {
                match slot.owner {
                    None => found.idle_public += 1,
                    Some(_) => found.idle_own += 1,
                }
            }
        }
        found
    }

    /// All published blocks.
    pub fn published(&self) -> Vec<(BlockKey, BlockId)> {
        let state = self.state.borrow();
        let slots = state.slots.iter().enumerate();
        slots.filter_map(|(at, slot)| Some((slot.key?, BlockId(at as u32)))).collect()
    }

    /// Takes a share in the block that holds `key`.
    pub fn share(&self, key: &BlockKey) -> Option<BlockRef> {
        let id = self.state.borrow_mut().share(key)?;
        Some(self.guard(id))
    }

    /// Publishes a held block whose keys and values are written. When the same key was published
    /// meanwhile, the block stays private.
    pub fn publish(&self, key: BlockKey, block: &BlockRef, segment: Segment) {
        self.state.borrow_mut().publish(key, block.id, segment);
    }

    /// A running sequence will compute `key`.
    pub fn begin(&self, key: BlockKey) {
        self.state.borrow_mut().index.begin(key);
    }

    /// A running sequence has published `key`, or has given up.
    pub fn end(&self, key: &BlockKey) {
        self.state.borrow_mut().index.end(key);
    }

    /// Does a running sequence compute `key`?
    pub fn is_computing(&self, key: &BlockKey) -> bool {
        self.state.borrow().index.is_computing(key)
    }

    /// Changes the eviction policy. The new one learns of all blocks, the idle ones in the order in which the old one would have
    /// let go of them; what that knew of their use is lost.
    pub fn set_policy(&self, policy: Box<dyn Evict>) {
        self.state.borrow_mut().set_policy(policy);
    }

    fn guard(&self, id: BlockId) -> BlockRef {
        BlockRef { id, state: self.state.clone() }
    }
}

impl BlockRef {
    /// The block.
    pub fn id(&self) -> BlockId {
        self.id
    }
}

impl Drop for BlockRef {
    fn drop(&mut self) {
        self.state.borrow_mut().release(self.id);
    }
}

impl State {
    fn take(
        &mut self,
        tenant: TenantId,
        public: bool,
        may_go: &dyn Fn(&BlockKey) -> bool,
    ) -> Option<(BlockId, Option<BlockKey>)> {
        let owner = (!public).then_some(tenant);
        if self.free.len() + self.idle <= self.book.shielded_from(owner) {
            return None;
        }
        let own_only = !public && self.book.account(tenant).is_full();
        let free = if own_only { None } else { self.free.pop() };
        let (block, evicted) = match free {
            Some(block) => (block, None),
            None => {
                let (slots, book) = (&self.slots, &self.book);
                let block = self.policy.evict(&|b| {
                    let slot = &slots[b.0 as usize];
                    book.may_evict(tenant, slot.owner, own_only) && slot.key.as_ref().is_none_or(may_go)
                })?;
                (block, self.forget(block))
            }
        };
        if let Some(owner) = owner {
            self.book.account_mut(owner).used += 1;
        }
        self.slots[block.0 as usize] = Slot { holders: 1, owner, ..Slot::default() };
        Some((block, evicted))
    }

    fn set_policy(&mut self, policy: Box<dyn Evict>) {
        let mut old = std::mem::replace(&mut self.policy, policy);
        let idle: Vec<BlockId> = std::iter::from_fn(|| old.evict(&|_| true)).collect();
        for (at, slot) in self.slots.iter().enumerate() {
            if let (Some(key), Some(segment)) = (slot.key, slot.segment) {
                self.policy.publish(BlockId(at as u32), Entry { key, segment });
            }
        }
        debug_assert_eq!(idle.len(), self.idle, "a policy has lost idle blocks");
        idle.into_iter().for_each(|block| self.policy.idle(block, self.now_ms));
    }

    /// Books an idle block out, after its policy let go of it.
    fn forget(&mut self, block: BlockId) -> Option<BlockKey> {
        let slot = std::mem::take(&mut self.slots[block.0 as usize]);
        debug_assert_eq!(slot.holders, 0, "a held block was evicted");
        if let Some(key) = &slot.key {
            self.index.remove(key);
        }
        if let Some(owner) = slot.owner {
            let account = self.book.account_mut(owner);
            account.used -= 1;
            account.idle -= 1;
        }
        self.idle -= 1;
        self.evicted += 1;
        slot.key
    }

    fn share(&mut self, key: &BlockKey) -> Option<BlockId> {
        let block = self.index.get(key)?;
        let slot = &mut self.slots[block.0 as usize];
        if slot.holders == 0 {
            self.idle -= 1;
            if let Some(owner) = slot.owner {
                self.book.account_mut(owner).idle -= 1;
            }
            self.policy.busy(block);
        }
        slot.holders += 1;
        self.policy.hit(block);
        Some(block)
    }

    fn publish(&mut self, key: BlockKey, block: BlockId, segment: Segment) {
        let slot = &mut self.slots[block.0 as usize];
        debug_assert!(slot.holders > 0, "a block that nobody holds was published");
        if slot.key.is_none() && self.index.insert(key, block) {
            (slot.key, slot.segment) = (Some(key), Some(segment));
            self.policy.publish(block, Entry { key, segment });
        }
    }

    fn release(&mut self, block: BlockId) {
        let slot = &mut self.slots[block.0 as usize];
        debug_assert!(slot.holders > 0, "a block was given back twice");
        slot.holders -= 1;
        if slot.holders > 0 {
            return;
        }
        if slot.key.is_some() {
            self.idle += 1;
            if let Some(owner) = slot.owner {
                self.book.account_mut(owner).idle += 1;
            }
            self.policy.idle(block, self.now_ms);
        } else {
            if let Some(owner) = slot.owner.take() {
                self.book.account_mut(owner).used -= 1;
            }
            self.free.push(block);
        }
    }
}
