//! Keeps the lease while the work goes on, and hears when it must end.

use std::time::Duration;

use bul_broker::Delivery;
use bul_store::{Attempt, StoreErrorClass};
use tokio::time::Instant;
use tracing::warn;

use crate::Worker;
use crate::outcome::Stop;

/// Longest time until a cancellation is heard.
const CANCEL_HEARD: Duration = Duration::from_secs(1);

impl Worker {
    /// Extends the lease and the delivery; returns only when the attempt must stop.
    pub(crate) async fn heartbeat(&self, attempt: &Attempt, delivery: &dyn Delivery) -> Stop {
        let lease = self.options.lease;
        let every = (lease / 3).min(CANCEL_HEARD).max(Duration::from_millis(10));
        let mut good_until = Instant::now() + lease;
        let mut is_told = false;
        loop {
            tokio::time::sleep(every).await;
            match self.store.extend(attempt.id, attempt.attempt, lease).await {
                Ok(extended) if extended.cancel_requested => return Stop::Cancelled,
                Ok(_) => good_until = Instant::now() + lease,
                Err(error) if error.is_fenced() => return Stop::Fenced,
                Err(error) if error.class() == StoreErrorClass::Transient && Instant::now() < good_until => {
                    warn!(%error, "the lease could not be extended; trying again");
                }
                Err(error) => {
                    // Whoever cannot show a lease must not go on: another may hold it.
                    warn!(%error, "the lease is lost");
                    return Stop::Fenced;
                }
            }
            if let Err(error) = delivery.extend().await {
                // Harmless: a second delivery finds the job running and is dropped. A broker that allows less time than an
                // attempt may take says so at every beat from then on.
                if !std::mem::replace(&mut is_told, true) {
                    warn!(%error, "the delivery could not be extended; the attempt goes on under its lease");
                }
            }
        }
    }
}
