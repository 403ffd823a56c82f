//! Pulls work: as much as there are free slots; nothing while model or store are known to be down, or while an attempt must be
//! alone. What is asked of which queue stands in `fetch`.

use std::sync::Arc;
use std::time::Duration;

use bul_broker::{BrokerError, Delivery};
use bul_runtime::Shutdown;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Worker;
use crate::fetch::Source;
use crate::lanes::Lanes;

/// Pause after a broker error, so that a broker that is down is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);
/// Messages taken at once. Too high: one worker holds what another could begin. Too low: a round trip for few.
const FETCH_MAX: usize = 256;
/// The part of all slots that is worth a fetch while there is more work than slots, and how long it is waited for: of a few slots,
/// and of so many that half of them keep the others busy. Jobs that are fetched together are begun and committed together, too. Too
/// long: slots stay empty.
const FEW_SLOTS: (usize, Duration) = (4, Duration::from_millis(2));
const HALF_THE_SLOTS: (usize, Duration) = (2, Duration::from_millis(4));
const MANY_SLOTS: usize = 64;
/// How often a dependency that is down is asked whether its next probe is due.
const GATE_LOOK: Duration = Duration::from_millis(200);

impl Worker {
    /// Runs until `shutdown` stops it and the attempts in hand have ended or been handed back.
    pub fn run(self: Arc<Self>, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        async move {
            let slots = Arc::new(Semaphore::new(self.options.concurrency.max(1)));
            let mut lanes = Lanes::default();
            let mut attempts = JoinSet::new();
            let mut reporting = JoinSet::new();
            let reporter = self.clone();
            reporting.spawn(async move { reporter.report_breakers().await });
            info!(worker = self.options.name, slots = self.options.concurrency, "worker ready");
            loop {
                while attempts.try_join_next().is_some() {}
                let taken = tokio::select! {
                    () = shutdown.stopping().cancelled() => break,
                    taken = self.pull(&slots, &mut lanes) => taken,
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
            // What has not begun is not kept for as long as the others take to end.
            drop(lanes);
            while attempts.join_next().await.is_some() {}
            info!(worker = self.options.name, "worker stopped");
        }
        .boxed()
    }

    /// Free slots and messages for them, never more messages than slots. Messages that were fetched are
    /// not lost on cancellation: a delivery that is dropped goes back to the broker.
    async fn pull(
        &self,
        slots: &Arc<Semaphore>,
        lanes: &mut Lanes,
    ) -> Option<(OwnedSemaphorePermit, Vec<Box<dyn Delivery>>)> {
        let mut free = self.free_slots(slots, lanes).await?;
        loop {
            if self.down().is_some() || !self.company.is_open() {
                lanes.stock.give_back();
            }
            self.wait_for_dependencies().await;
            self.company.open().await;
            let more = slots.available_permits().min(FETCH_MAX - free.num_permits());
            if let Ok(others) = slots.clone().try_acquire_many_owned(more as u32) {
                free.merge(others);
            }
            match self.fetch(lanes, free.num_permits()).await {
                Ok(deliveries) if !deliveries.is_empty() => return Some((free, deliveries)),
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, "no work can be fetched");
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
            }
        }
    }

    /// A free slot; where there was more work than slots, for a moment a few of them.
    async fn free_slots(&self, slots: &Arc<Semaphore>, lanes: &mut Lanes) -> Option<OwnedSemaphorePermit> {
        let mut free = lanes.stock.during(self.broker.as_ref(), slots.clone().acquire_owned()).await.ok()?;
        let all = self.options.concurrency;
        let (part, wait) = if all < MANY_SLOTS { FEW_SLOTS } else { HALF_THE_SLOTS };
        let few = (all / part).saturating_sub(1);
        if few > 0 && lanes.had_more() {
            let more = slots.clone().acquire_many_owned(few as u32);
            if let Ok(Ok(more)) = tokio::time::timeout(wait, more).await {
                free.merge(more);
            }
        }
        Some(free)
    }

    /// How long the circuit breaker of the model or the store stays open.
    fn down(&self) -> Option<Duration> {
        self.model.closed_for().or_else(|| self.gate.closed_for())
    }

    /// Waits while one of them is open.
    async fn wait_for_dependencies(&self) {
        let mut told = false;
        while let Some(wait) = self.down() {
            if !told {
                let what = if self.gate.closed_for().is_some() { "store" } else { "model" };
                warn!(what, wait_ms = wait.as_millis() as u64, "a dependency is down: no work is pulled");
                told = true;
            }
            tokio::time::sleep(wait.min(GATE_LOOK)).await;
        }
    }

    async fn fetch(&self, lanes: &mut Lanes, max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let view = self.affinity.view();
        let (broker, serves) = (self.broker.as_ref(), self.options.lanes.as_slice());
        Source { broker, serves, view: &view, metrics: &self.metrics }.fetch(lanes, max).await
    }
}
