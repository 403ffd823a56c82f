//! One scheduler works at a time.
//!
//! The lease only saves double work: should two believe they lead (a paused process wakes up), every
//! effect is still guarded by the store itself — state transitions and the uniqueness of fires.

use std::time::Duration;

use bul_store::Store;
use tokio::time::Instant;
use tracing::{info, warn};

const ROLE: &str = "scheduler";

pub(crate) struct Leader {
    name: String,
    lease: Duration,
    held: bool,
    renew_at: Instant,
}

impl Leader {
    pub(crate) fn new(name: String, lease: Duration) -> Self {
        Self { name, lease, held: false, renew_at: Instant::now() }
    }

    /// Whether this process leads; asks the store every third of the lease.
    pub(crate) async fn holds(&mut self, store: &dyn Store) -> bool {
        if Instant::now() < self.renew_at {
            return self.held;
        }
        self.renew_at = Instant::now() + self.lease / 3;
        let held = match store.lead(ROLE, &self.name, self.lease).await {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "the leader's lease could not be renewed");
                false
            }
        };
        if held != self.held {
            info!(scheduler = self.name, leads = held, "leadership changed");
        }
        self.held = held;
        held
    }

    pub(crate) async fn resign(&self, store: &dyn Store) {
        if self.held
            && let Err(error) = store.resign(ROLE, &self.name).await
        {
            warn!(%error, "the lease could not be given up; a successor waits for its end");
        }
    }
}
