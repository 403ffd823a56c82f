//! How many blocks a tenant may hold (cap) and can always get (floor).
//!
//! Blocks of public text belong to nobody and are charged to nobody. Invariant: whatever the
//! others do, a tenant below its floor can take a block; a tenant never holds more than its cap,
//! idle blocks included. Called by `pool`; `sched` plans against a [`Ledger`].

use std::collections::{BTreeMap, HashMap};

/// Tenants with an account of their own. The rest share one, so that names made up by callers
/// cannot fill the memory.
const TENANTS_MAX: usize = 1 << 16;

/// Limits of one tenant, in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TenantQuota {
    /// Blocks that others cannot take away. The sum of all floors should stay well below the
    /// engine's blocks: what is reserved for one tenant is of no use to the others.
    pub floor_blocks: usize,
    /// Blocks it may have at most, cached ones included. Too low refuses long requests.
    pub cap_blocks: usize,
}

impl Default for TenantQuota {
    fn default() -> Self {
        Self { floor_blocks: 0, cap_blocks: usize::MAX }
    }
}

/// Limits by tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Quotas {
    /// Tenants with limits of their own.
    pub tenants: BTreeMap<String, TenantQuota>,
    /// Cap of all other tenants, blocks; `None` for no limit. They have no floor.
    pub default_cap_blocks: Option<usize>,
}

impl Quotas {
    /// Are there any limits?
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.default_cap_blocks.is_none()
    }
}

/// Number of a tenant's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TenantId(pub u32);

/// Where all tenants are booked without quotas, and those too many with them.
pub(crate) const ANYONE: TenantId = TenantId(0);

/// Blocks of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// Blocks with its text, idle ones included.
    pub used: usize,
    /// Of these, idle ones.
    pub idle: usize,
    pub limits: TenantQuota,
}

impl Account {
    fn new(limits: TenantQuota) -> Self {
        Self { used: 0, idle: 0, limits }
    }

    /// Blocks that others must leave alone: idle ones within the floor, and those still to come.
    fn shielded(&self) -> usize {
        let above = self.used.saturating_sub(self.limits.floor_blocks);
        self.idle.saturating_sub(above) + self.limits.floor_blocks.saturating_sub(self.used)
    }

    /// Must its next block be one of its own?
    pub fn is_full(&self) -> bool {
        self.used >= self.limits.cap_blocks
    }
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Book {
    accounts: Vec<Account>,
    by_name: HashMap<String, TenantId>,
    /// Accounts with a floor.
    floors: Vec<TenantId>,
    other: TenantQuota,
    limited: bool,
}

impl Book {
    /// Accounts for the tenants of `quotas`.
    pub fn new(quotas: &Quotas) -> Self {
        let cap_blocks = quotas.default_cap_blocks.unwrap_or(usize::MAX);
        let other = TenantQuota { floor_blocks: 0, cap_blocks };
        let mut book = Self {
            accounts: vec![Account::new(other)],
            by_name: HashMap::new(),
            floors: Vec::new(),
            other,
            limited: !quotas.is_empty(),
        };
        for (name, limits) in &quotas.tenants {
            let id = book.open(name, *limits);
            if limits.floor_blocks > 0 {
                book.floors.push(id);
            }
        }
        book
    }

    fn open(&mut self, name: &str, limits: TenantQuota) -> TenantId {
        let id = TenantId(self.accounts.len() as u32);
        self.accounts.push(Account::new(limits));
        self.by_name.insert(name.to_string(), id);
        id
    }

    /// The account of `name`.
    pub fn tenant(&mut self, name: &str) -> TenantId {
        match self.by_name.get(name) {
            Some(id) => *id,
            None if self.limited && self.accounts.len() < TENANTS_MAX => self.open(name, self.other),
            None => ANYONE,
        }
    }

    /// One account.
    pub fn account(&self, tenant: TenantId) -> Account {
        self.accounts[tenant.0 as usize]
    }

    /// One account, to change it.
    pub fn account_mut(&mut self, tenant: TenantId) -> &mut Account {
        &mut self.accounts[tenant.0 as usize]
    }

    /// Blocks that a block for `tenant` must leave to the floors of others; a block for public text
    /// (`None`) leaves all floors alone, or a tenant's templates would eat up its own.
    pub fn shielded_from(&self, tenant: Option<TenantId>) -> usize {
        self.floors.iter().filter(|id| Some(**id) != tenant).map(|id| self.account(*id).shielded()).sum()
    }

    /// Most blocks `tenant` can have when nobody else has more than a floor.
    pub fn most(&self, tenant: TenantId, capacity: usize) -> usize {
        let floors: usize = self
            .floors
            .iter()
            .filter(|id| **id != tenant)
            .map(|id| self.account(*id).limits.floor_blocks)
            .fold(0, usize::saturating_add);
        capacity.saturating_sub(floors).min(self.account(tenant).limits.cap_blocks)
    }

    /// May `tenant` evict an idle block of `owner`?
    pub fn may_evict(&self, tenant: TenantId, owner: Option<TenantId>, own_only: bool) -> bool {
        match owner {
            Some(owner) if owner == tenant => true,
            _ if own_only => false,
            None => true,
            Some(owner) => {
                let account = self.account(owner);
                account.used > account.limits.floor_blocks
            }
        }
    }

    /// A copy to plan with: `supply` blocks are free or idle, and `tenants` take part.
    pub fn ledger(&self, supply: usize, tenants: impl Iterator<Item = TenantId>) -> Ledger {
        let ids = tenants.chain(self.floors.iter().copied());
        Ledger {
            supply,
            accounts: ids.map(|id| (id, self.account(id))).collect(),
            floors: self.floors.clone(),
        }
    }
}

/// What is left, while a plan is being made. Never more generous than the pool itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger {
    supply: usize,
    accounts: BTreeMap<TenantId, Account>,
    floors: Vec<TenantId>,
}

/// Blocks to be taken or shared by one sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// New blocks for public text.
    pub public: usize,
    /// New blocks for the tenant's text.
    pub own: usize,
    /// Idle blocks of public text that become busy.
    pub idle_public: usize,
    /// Idle blocks of the tenant that become busy.
    pub idle_own: usize,
}

impl Demand {
    /// New blocks.
    pub fn new_blocks(&self) -> usize {
        self.public + self.own
    }
}

/// Why a demand cannot be met now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// The engine has too few blocks.
    Blocks,
    /// The tenant is at its cap.
    Cap,
}

impl Ledger {
    fn available(&self, tenant: Option<TenantId>) -> usize {
        let others = self.floors.iter().filter(|id| Some(**id) != tenant);
        let shielded: usize = others.map(|id| self.accounts[id].shielded()).sum();
        self.supply.saturating_sub(shielded)
    }

    /// Can `tenant` have this now?
    ///
    /// # Errors
    /// What is short.
    pub fn check(&self, tenant: TenantId, demand: Demand) -> Result<(), Short> {
        let account = &self.accounts[&tenant];
        // What it already has and nobody holds can be used again under the cap.
        let idle = account.idle.saturating_sub(demand.idle_own);
        let room = account.limits.cap_blocks.saturating_sub(account.used);
        if demand.own > room.saturating_add(idle) {
            return Err(Short::Cap);
        }
        let public = demand.public + demand.idle_public;
        let wanted = public + demand.own + demand.idle_own;
        let short = wanted > self.available(Some(tenant)) || (public > 0 && public > self.available(None));
        if short { Err(Short::Blocks) } else { Ok(()) }
    }

    /// Books a demand.
    ///
    /// # Errors
    /// What is short; then nothing is booked.
    pub fn take(&mut self, tenant: TenantId, demand: Demand) -> Result<(), Short> {
        self.check(tenant, demand)?;
        self.promise(tenant, demand);
        Ok(())
    }

    /// Books a demand that will come later, whether or not there is enough by now.
    pub fn promise(&mut self, tenant: TenantId, demand: Demand) {
        let Some(account) = self.accounts.get_mut(&tenant) else { return };
        account.idle = account.idle.saturating_sub(demand.idle_own);
        let room = account.limits.cap_blocks.saturating_sub(account.used);
        let reused = demand.own.saturating_sub(room);
        account.idle = account.idle.saturating_sub(reused);
        account.used += demand.own - reused;
        let taken = demand.new_blocks() + demand.idle_public + demand.idle_own;
        self.supply = self.supply.saturating_sub(taken);
    }
}
