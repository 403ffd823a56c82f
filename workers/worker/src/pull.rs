//! Pulls work: as much as there are free slots, lanes in weighted turns.

use std::sync::Arc;
use std::time::Duration;

use bul_broker::{BrokerError, Delivery};
use bul_job::LaneWheel;
use bul_runtime::Shutdown;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Worker;

/// Pause after a broker error, so that a broker that is down is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);

impl Worker {
    /// Runs until `shutdown` stops it and the attempts in hand have ended or been handed back.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
        let mut wheel = LaneWheel::default();
        let mut attempts = JoinSet::new();
        info!(worker = self.options.name, slots = self.options.concurrency, "worker ready");
        loop {
            while attempts.try_join_next().is_some() {}
            let slot = tokio::select! {
                () = shutdown.stopping().cancelled() => break,
                slot = slots.clone().acquire_owned() => match slot {
                    Ok(slot) => slot,
                    Err(_) => break,
                },
            };
            let delivery = tokio::select! {
                () = shutdown.stopping().cancelled() => break,
                delivery = self.next(&mut wheel) => delivery,
            };
            let worker = self.clone();
            let halting = shutdown.halting().clone();
            attempts.spawn(async move {
                worker.attempt(delivery, halting).await;
                drop(slot);
            });
        }
        while attempts.join_next().await.is_some() {}
        info!(worker = self.options.name, "worker stopped");
    }

    /// The next message. Messages that were fetched are never lost on cancellation: a delivery that
    /// is dropped goes back to the broker.
    async fn next(&self, wheel: &mut LaneWheel) -> Box<dyn Delivery> {
        loop {
            match self.fetch(wheel).await {
                Ok(Some(delivery)) => return delivery,
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, "no work can be fetched");
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
            }
        }
    }

    async fn fetch(&self, wheel: &mut LaneWheel) -> Result<Option<Box<dyn Delivery>>, BrokerError> {
        let mut open: Vec<_> = self.options.lanes.clone();
        while let Some(lane) = wheel.choose(|lane| open.contains(&lane)) {
            if let Some(delivery) = self.broker.fetch(lane, 1).await?.pop() {
                return Ok(Some(delivery));
            }
            open.retain(|other| *other != lane);
        }
        self.broker.ready(&self.options.lanes).await?;
        Ok(None)
    }
}
