//! The embedded broker passes the suite of all brokers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::Broker;
use bul_broker::conformance::{Fixture, Setup, flow};
use bul_broker_embedded::{EmbeddedBroker, Options};

struct Embedded {
    broker: Arc<EmbeddedBroker>,
}

#[async_trait]
impl Fixture for Embedded {
    fn broker(&self) -> Arc<dyn Broker> {
        self.broker.clone()
    }

    async fn pass_ack_deadline(&self) {
        tokio::time::advance(Options::default().ack_wait + Duration::from_millis(1)).await;
    }

    fn is_limited(&self) -> bool {
        true
    }

    fn is_fair(&self) -> bool {
        true
    }

    fn makes_bundles(&self) -> bool {
        false
    }
}

async fn embedded(setup: Setup) -> Box<dyn Fixture> {
    // From here on time moves only when asked to, or when every task waits for it.
    tokio::time::pause();
    let defaults = Options::default();
    let messages_max = setup.messages_max.unwrap_or(defaults.messages_max);
    let partitions = setup.partitions.unwrap_or(defaults.partitions);
    let broker = Arc::new(EmbeddedBroker::new(Options { messages_max, partitions, ..defaults }));
    Box::new(Embedded { broker })
}

bul_broker::broker_conformance!(embedded);

/// The suite runs on one thread, where its clock can stand still; wake-ups race on several.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_several_threads() {
    for _ in 0..3 {
        let broker = Arc::new(EmbeddedBroker::default());
        flow::nothing_is_lost_or_doubled_under_load(Box::new(Embedded { broker })).await;
    }
}
