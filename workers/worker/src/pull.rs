//! Pulls work: as much as there are free slots, lanes in weighted turns; nothing while model or store are known to be down,
//! or while an attempt must be alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_broker::{BrokerError, Delivery};
use bul_job::{Lane, LaneWheel};
use bul_runtime::Shutdown;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Worker;

/// Pause after a broker error, so that a broker that is down is not hammered.
const BROKER_PAUSE: Duration = Duration::from_millis(500);
/// Messages taken at once. Too high: one worker holds what another could begin. Too low: a round trip for few.
const FETCH_MAX: usize = 256;
/// How long a lane may take to say what it has.
const LANE_WAIT: Duration = Duration::from_millis(1_500);
/// How long a lane that failed is left alone.
const LANE_PAUSE: Duration = Duration::from_secs(4);
/// Longest wait for work before all lanes are asked again.
const READY_WAIT: Duration = Duration::from_secs(4);
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
        let mut free = slots.clone().acquire_owned().await.ok()?;
        loop {
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

    /// Up to `max` messages, shared among the lanes by weight; what one lane lacks the others get. The lanes are asked
    /// at the same time, and one that does not answer is left alone for a while: it must not hold up the others.
    async fn fetch(&self, lanes: &mut Lanes, max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let mut open = lanes.healthy(&self.options.lanes);
        let (healthy, mut taken, mut failure) = (open.clone(), Vec::new(), None);
        while taken.len() < max && !open.is_empty() {
            let asked = lanes.share(&open, max - taken.len()).into_iter().map(|(lane, wanted)| async move {
                let fetched = tokio::time::timeout(LANE_WAIT, self.broker.fetch(lane, wanted)).await;
                (lane, wanted, fetched.unwrap_or_else(|_| Err(silent(lane))))
            });
            for (lane, wanted, fetched) in futures::future::join_all(asked).await {
                match fetched {
                    Ok(got) => {
                        if got.len() < wanted {
                            open.retain(|other| *other != lane);
                        }
                        taken.extend(got);
                    }
                    Err(error) => {
                        open.retain(|other| *other != lane);
                        lanes.leave_alone(lane);
                        failure = Some(error);
                    }
                }
            }
        }
        match failure {
            Some(error) if taken.is_empty() => return Err(error),
            Some(error) => warn!(%error, "a lane is left alone for a while"),
            None => {}
        }
        if taken.is_empty() {
            // Not for ever: a lane that was left alone is asked again.
            let ready = tokio::time::timeout(READY_WAIT, self.broker.ready(&healthy)).await;
            ready.unwrap_or(Ok(()))?;
        }
        Ok(taken)
    }
}

fn silent(lane: Lane) -> BrokerError {
    BrokerError::Unavailable(format!("lane {lane} does not answer"))
}

/// Whose turn it is, and which lanes are left alone.
#[derive(Default)]
struct Lanes {
    wheel: LaneWheel,
    until: [Option<Instant>; Lane::ALL.len()],
}

impl Lanes {
    fn healthy(&self, lanes: &[Lane]) -> Vec<Lane> {
        let now = Instant::now();
        let is_healthy = |lane: &Lane| self.until[lane.index()].is_none_or(|until| until <= now);
        let healthy: Vec<Lane> = lanes.iter().copied().filter(is_healthy).collect();
        // With none left the broker itself is away; then all of them are asked.
        if healthy.is_empty() { lanes.to_vec() } else { healthy }
    }

    fn leave_alone(&mut self, lane: Lane) {
        self.until[lane.index()] = Some(Instant::now() + LANE_PAUSE);
    }

    /// How many messages each lane is asked for, by weight.
    fn share(&mut self, open: &[Lane], max: usize) -> Vec<(Lane, usize)> {
        let mut turns = [0; Lane::ALL.len()];
        for _ in 0..max {
            if let Some(lane) = self.wheel.choose(|lane| open.contains(&lane)) {
                turns[lane.index()] += 1;
            }
        }
        let asked = Lane::ALL.into_iter().map(|lane| (lane, turns[lane.index()]));
        asked.filter(|(_, turns)| *turns > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_by_weight_and_a_silent_one_is_left_alone() {
        let mut lanes = Lanes::default();
        let all = Lane::ALL.to_vec();
        let shared = lanes.share(&all, 15);
        assert_eq!(shared, [(Lane::Critical, 8), (Lane::High, 4), (Lane::Normal, 2), (Lane::Low, 1)]);
        lanes.leave_alone(Lane::Low);
        assert_eq!(lanes.healthy(&all), [Lane::Critical, Lane::High, Lane::Normal]);
        Lane::ALL.into_iter().for_each(|lane| lanes.leave_alone(lane));
        assert_eq!(lanes.healthy(&all), all);
    }
}
