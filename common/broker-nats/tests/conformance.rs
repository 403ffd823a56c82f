//! The NATS broker passes the suite of all brokers: each case on a server of its own of the old release
//! that distributions ship, and all of them on one server of the newest.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::Broker;
use bul_broker::conformance::{Fixture, Setup, flow, pass_ack_deadline_of};
use bul_broker_nats::{NatsBroker, Options};
use bul_harness::{Nats, NatsOptions};

/// Short, so that a case may wait for it, and long enough for a busy machine.
const ACK_WAIT: Duration = Duration::from_secs(3);

struct OnNats {
    broker: Arc<NatsBroker>,
    _server: Option<Nats>,
}

#[async_trait]
impl Fixture for OnNats {
    fn broker(&self) -> Arc<dyn Broker> {
        self.broker.clone()
    }

    async fn pass_ack_deadline(&self) {
        pass_ack_deadline_of(&self.broker()).await;
    }

    fn is_limited(&self) -> bool {
        true
    }

    /// Messages of a lane come in the order of their publication.
    fn is_fair(&self) -> bool {
        false
    }

    fn makes_bundles(&self) -> bool {
        true
    }
}

async fn nats(setup: Setup) -> Box<dyn Fixture> {
    let server = Nats::start().expect("nats-server starts");
    let messages_max = setup.messages_max.map(|max| max as u64);
    let partitions = setup.partitions.unwrap_or(1);
    let bundle_max = setup.bundle_max.unwrap_or(1);
    let options = Options { ack_wait: ACK_WAIT, messages_max, partitions, bundle_max, ..Options::default() };
    let broker = NatsBroker::open(&server.url(), options).await.expect("the broker opens");
    Box::new(OnNats { broker: Arc::new(broker), _server: Some(server) })
}

bul_broker::broker_conformance!(nats);

/// The suite runs on one thread; wake-ups race on several.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_several_threads() {
    let options = Options { ack_wait: Duration::from_secs(30), ..Options::default() };
    let server = Nats::start().expect("nats-server starts");
    let broker = Arc::new(NatsBroker::open(&server.url(), options).await.expect("the broker opens"));
    flow::nothing_is_lost_or_doubled_under_load(Box::new(OnNats { broker, _server: Some(server) })).await;
}

/// A short name for each case, so that the cases share a server.
fn next_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("case{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn newest_server() -> Option<Nats> {
    Some(kit::newest(NatsOptions::default()))
}

async fn on_newest(server: &Nats, setup: Setup) -> Box<dyn Fixture> {
    let messages_max = setup.messages_max.map(|max| max as u64);
    let partitions = setup.partitions.unwrap_or(1);
    let bundle_max = setup.bundle_max.unwrap_or(1);
    let prefix = next_prefix();
    let options =
        Options { prefix, ack_wait: ACK_WAIT, messages_max, partitions, bundle_max, ..Options::default() };
    Box::new(OnNats { broker: Arc::new(kit::open(server, options).await), _server: None })
}

/// On the newest release.
mod newest {
    use super::{newest_server, on_newest};

    bul_broker::broker_conformance_in_one!(newest_server, on_newest);
}
