//! The conservation equation: every job accepted is in exactly one state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{State, TenantId};

/// Jobs of one tenant by state, beside the independently kept number of accepted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Counted when a job is accepted, in the same transaction.
    pub accepted: u64,
    /// Finished with documents.
    pub completed: u64,
    /// Ended by the user.
    pub cancelled: u64,
    /// In the dead-letter list.
    pub dead: u64,
    /// Delayed or retrying.
    pub waiting: u64,
    /// Ready, in the broker's hands.
    pub queued: u64,
    /// With a worker.
    pub running: u64,
}

impl Counts {
    /// Adds `n` jobs in `state`.
    pub fn add(&mut self, state: State, n: u64) {
        match state {
            State::Waiting => self.waiting += n,
            State::Queued => self.queued += n,
            State::Running => self.running += n,
            State::Completed => self.completed += n,
            State::Cancelled => self.cancelled += n,
            State::Dead => self.dead += n,
        }
    }

    /// Jobs not yet at an end.
    pub fn open(&self) -> u64 {
        self.waiting + self.queued + self.running
    }

    /// Whether `accepted = completed + cancelled + dead + (queued + running + waiting)`.
    pub fn balances(&self) -> bool {
        self.accepted == self.completed + self.cancelled + self.dead + self.open()
    }
}

/// The equation in total and per tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Sum over all tenants.
    pub total: Counts,
    /// By tenant.
    pub tenants: BTreeMap<TenantId, Counts>,
}

impl Ledger {
    /// Sums up the tenants.
    pub fn from_tenants(tenants: BTreeMap<TenantId, Counts>) -> Self {
        let mut total = Counts::default();
        for c in tenants.values() {
            total.accepted += c.accepted;
            total.completed += c.completed;
            total.cancelled += c.cancelled;
            total.dead += c.dead;
            total.waiting += c.waiting;
            total.queued += c.queued;
            total.running += c.running;
        }
        Self { total, tenants }
    }

    /// Whether the equation holds for every tenant (and therefore in total).
    pub fn balances(&self) -> bool {
        self.total.balances() && self.tenants.values().all(Counts::balances)
    }
}
