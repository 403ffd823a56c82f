//! What outlives every process: store, broker, the store's clock, and the watch over the rules.

use bul_job::JobCore;

use crate::broker::Broker;
use crate::clock::{Ms, StoreClock};
use crate::invariants::Invariants;
use crate::store::Store;
use crate::store_types::JobNo;

/// A time in which a side cannot be reached.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// From.
    pub from: Ms,
    /// Until.
    pub until: Ms,
    /// Whether callers wait in vain instead of being refused.
    pub black_hole: bool,
}

/// Everything that is not a process.
pub struct World {
    /// The record.
    pub store: Store,
    /// The queues.
    pub broker: Broker,
    /// The store's clock.
    pub clock: StoreClock,
    /// The rules.
    pub rules: Invariants,
    /// When the store is away.
    pub store_outages: Vec<Outage>,
    /// When the broker is away.
    pub broker_outages: Vec<Outage>,
    /// When the model is away.
    pub model_outages: Vec<Outage>,
    /// Ids given so far; whoever submits asks for one.
    pub ids: JobNo,
    /// Jobs from this number on are traffic: they need not be at an end when the run is.
    pub traffic_from: JobNo,
    /// Tasks of users and operators that are not done yet.
    pub open_errands: u32,
}

fn down(outages: &[Outage], now: Ms) -> Option<bool> {
    outages.iter().find(|o| (o.from..o.until).contains(&now)).map(|o| o.black_hole)
}

impl World {
    /// Whether the store is away, and how.
    pub fn store_down(&self, now: Ms) -> Option<bool> {
        down(&self.store_outages, now)
    }

    /// Whether the broker is away, and how.
    pub fn broker_down(&self, now: Ms) -> Option<bool> {
        down(&self.broker_outages, now)
    }

    /// Whether the model is away.
    pub fn is_model_down(&self, now: Ms) -> bool {
        down(&self.model_outages, now).is_some()
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        let open = |core: &JobCore| !core.state.is_final();
        self.open_errands == 0
            && (self.broker.held() == 0 || self.traffic_from < JobNo::MAX)
            && !self.store.rows().any(|(id, row)| self.must_settle(id) && open(&row.core))
    }

    /// An id for a job.
    pub fn new_id(&mut self) -> JobNo {
        self.ids += 1;
        self.ids
    }

    /// Whether this job must be at an end when the run is.
    pub fn must_settle(&self, id: JobNo) -> bool {
        id < self.traffic_from
    }
}
