//! Pulls work: as much as there are free slots, lanes in weighted turns; nothing while model or store are known to be down.

use std::sync::Arc;
use std::time::Duration;

use bul_broker::{BrokerError, Delivery};
use bul_job::{Lane, LaneWheel};
use bul_runtime::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Worker;

/// Pause after a broker error, so that a broker that is down is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);
/// Messages taken at once. Too high: one worker holds what another could begin. Too low: a round trip for few.
const FETCH_MAX: usize = 256;
/// How often a dependency that is down is asked whether its next probe is due.
const GATE_LOOK: Duration = Duration::from_millis(200);

impl Worker {
    /// Runs until `shutdown` stops it and the attempts in hand have ended or been handed back.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
        let mut wheel = LaneWheel::default();
        let mut attempts = JoinSet::new();
        info!(worker = self.options.name, slots = self.options.concurrency, "worker ready");
        loop {
            while attempts.try_join_next().is_some() {}
            let taken = tokio::select! {
                () = shutdown.stopping().cancelled() => break,
                taken = self.pull(&slots, &mut wheel) => taken,
            };
            let Some((mut free, deliveries)) = taken else { break };
            for delivery in deliveries {
                let Some(slot) = free.split(1) else { break };
                let worker = self.clone();
                let halting = shutdown.halting().clone();
                attempts.spawn(async move {
                    worker.attempt(delivery, halting).await;
                    drop(slot);
                });
            }
        }
        while attempts.join_next().await.is_some() {}
        info!(worker = self.options.name, "worker stopped");
    }

    /// Free slots and messages for them, never more messages than slots. Messages that were fetched are
    /// not lost on cancellation: a delivery that is dropped goes back to the broker.
    async fn pull(
        &self,
        slots: &Arc<Semaphore>,
        wheel: &mut LaneWheel,
    ) -> Option<(OwnedSemaphorePermit, Vec<Box<dyn Delivery>>)> {
        let mut free = slots.clone().acquire_owned().await.ok()?;
        loop {
            self.wait_for_dependencies().await;
            let more = slots.available_permits().min(FETCH_MAX - free.num_permits());
            if let Ok(others) = slots.clone().try_acquire_many_owned(more as u32) {
                free.merge(others);
            }
            match self.fetch(wheel, free.num_permits()).await {
                Ok(deliveries) if !deliveries.is_empty() => return Some((free, deliveries)),
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "no work can be fetched");
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
            }
        }
    }

    /// Waits while the circuit breaker of the model or the store is open.
    async fn wait_for_dependencies(&self) {
        let mut told = false;
        while let Some(wait) = self.model.closed_for().or_else(|| self.gate.closed_for()) {
            if !told {
                let what = if self.gate.closed_for().is_some() { "store" } else { "model" };
                warn!(what, wait_ms = wait.as_millis() as u64, "a dependency is down: no work is pulled");
                told = true;
            }
            tokio::time::sleep(wait.min(GATE_LOOK)).await;
        }
    }

    /// Up to `max` messages, shared among the lanes by weight; what one lane lacks the others get.
    async fn fetch(&self, wheel: &mut LaneWheel, max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let mut open: Vec<Lane> = self.options.lanes.clone();
        let mut taken = Vec::new();
        while taken.len() < max && !open.is_empty() {
            let mut turns = [0; Lane::ALL.len()];
            for _ in taken.len()..max {
                if let Some(lane) = wheel.choose(|lane| open.contains(&lane)) {
                    turns[lane.index()] += 1;
                }
            }
            for lane in Lane::ALL.into_iter().filter(|lane| turns[lane.index()] > 0) {
                let wanted = turns[lane.index()];
                let got = match self.broker.fetch(lane, wanted).await {
                    Ok(got) => got,
                    // What is in hand already must run; the error comes again with the next pull.
                    Err(_) if !taken.is_empty() => return Ok(taken),
                    Err(error) => return Err(error),
                };
                if got.len() < wanted {
                    open.retain(|other| *other != lane);
                }
                taken.extend(got);
            }
        }
        if taken.is_empty() {
            self.broker.ready(&self.options.lanes).await?;
        }
        Ok(taken)
    }
}
