//! The suite of all brokers on a real RabbitMQ, the distribution's and RabbitMQ 4, each case on a virtual host of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::Broker;
use bul_broker::conformance::{Fixture, Setup, pass_ack_deadline_of};
use bul_broker_rabbitmq::{Options, RabbitBroker};
use bul_harness::RabbitMq;

/// Short enough to be waited for, long enough for a busy machine.
const ACK_WAIT: Duration = Duration::from_secs(3);

struct Rabbit {
    broker: Arc<dyn Broker>,
}

#[async_trait]
impl Fixture for Rabbit {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker)
    }

    async fn pass_ack_deadline(&self) {
        pass_ack_deadline_of(&self.broker()).await;
    }

    /// A quorum queue's limit is per lane and not exact; `faults` has a test of its own.
    fn is_limited(&self) -> bool {
        false
    }

    fn is_fair(&self) -> bool {
        false
    }

    fn makes_bundles(&self) -> bool {
        true
    }
}

async fn start() -> Option<RabbitMq> {
    Some(RabbitMq::start().expect("RabbitMQ starts"))
}

async fn start_newest() -> Option<RabbitMq> {
    RabbitMq::start_newest().expect("RabbitMQ 4 starts")
}

async fn make(server: &RabbitMq, setup: Setup) -> Box<dyn Fixture> {
    let url = server.new_vhost().expect("a virtual host");
    let partitions = setup.partitions.unwrap_or(1);
    let bundle_max = setup.bundle_max.unwrap_or(1);
    let options = Options { ack_wait: ACK_WAIT, partitions, bundle_max, ..Options::default() };
    let broker = RabbitBroker::open(&url, options).await.expect("the server is there");
    Box::new(Rabbit { broker: Arc::new(broker) })
}

bul_broker::broker_conformance_in_one!(start, make);

/// On RabbitMQ 4.
mod newest {
    use super::{make, start_newest};

    bul_broker::broker_conformance_in_one!(start_newest, make);
}
