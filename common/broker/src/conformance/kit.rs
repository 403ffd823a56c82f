//! What the cases share.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_job::{JobId, Lane, PublishNo, TenantId};

use futures::FutureExt;

use super::Setup;
use crate::{Broker, Delivery, Depth, Message};

/// No case takes this long: a broker that hangs fails its test instead of the whole run.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Limit of the case about a full broker.
pub const FULL_AT: usize = 8;

/// Partitions in the cases about them.
pub const PARTITIONS: u8 = 4;

/// Jobs of a bundle in the cases about them.
pub const BUNDLE_MAX: usize = 8;

/// What the case of this name wants.
pub fn setup_of(case: &str) -> Setup {
    let messages_max = (case == "a_full_broker_refuses_and_recovers").then_some(FULL_AT);
    let partitions = case.contains("partition").then_some(PARTITIONS);
    let bundle_max = case.contains("bundle").then_some(BUNDLE_MAX);
    Setup { messages_max, partitions, bundle_max }
}

/// A tenant.
pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("the test's tenant is valid")
}

/// A first publication of a new job.
pub fn message(lane: Lane) -> Message {
    message_of("acme", lane)
}

/// A first publication of a new job of a tenant.
pub fn message_of(owner: &str, lane: Lane) -> Message {
    Message { job: JobId::new(), tenant: tenant(owner), lane, publish: PublishNo(1) }
}

/// Publishes a new message of acme.
pub async fn publish(broker: &Arc<dyn Broker>, lane: Lane) -> Message {
    let message = message(lane);
    broker.publish(std::slice::from_ref(&message)).await.expect("publish");
    message
}

/// Waits for one message of the lane.
pub async fn next(broker: &Arc<dyn Broker>, lane: Lane) -> Box<dyn Delivery> {
    let wait = async {
        loop {
            if let Some(delivery) = broker.fetch(lane, 1).await.expect("fetch").pop() {
                return delivery;
            }
            broker.ready(&[lane]).await.expect("ready");
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a message was expected and none came")
}

/// Whether the lane has nothing to hand out now.
pub async fn is_empty(broker: &Arc<dyn Broker>, lane: Lane) -> bool {
    // What was fetched goes back when it is dropped.
    broker.fetch(lane, 1).await.expect("fetch").is_empty()
}

/// Asks again and again until it is so: for what a server tells nobody.
///
/// # Panics
/// When it is not so in time.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the depths are these. A server counts a returned message when it has stored it, a
/// moment after the answer was sent, and one on its way to a client a moment late.
pub async fn depths_become(broker: &Arc<dyn Broker>, expected: [Depth; 4]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let depths = broker.depths().await.expect("depths");
        if depths == expected {
            return;
        }
        assert!(Instant::now() < end, "depths are {depths:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a lane holds this many messages, waiting or in hands.
pub async fn total_becomes(broker: &Arc<dyn Broker>, lane: Lane, expected: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let depth = broker.depths().await.expect("depths")[lane.index()];
        if depth.ready + depth.unacked == expected {
            return;
        }
        assert!(Instant::now() < end, "the depth is {depth:?}, {expected} in all were expected");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a case among others: its panic does not end them, and it is told which one it was.
pub async fn passes(case: &str, run: impl Future<Output = ()>) -> bool {
    let start = Instant::now();
    let passed = AssertUnwindSafe(run).catch_unwind().await.is_ok();
    let outcome = if passed { "ok" } else { "FAILED" };
    println!("{case}: {outcome} in {} ms", start.elapsed().as_millis());
    passed
}
