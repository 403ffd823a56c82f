//! What the tests on real servers share.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

use std::time::{Duration, Instant};

pub use bul_broker::conformance::kit::{PATIENCE, eventually};
use bul_broker::{Broker, BrokerError, Delivery, Message};
use bul_broker_nats::{NatsBroker, Options};
pub use bul_harness::tools;
use bul_harness::{Nats, NatsOptions};
use bul_job::{JobId, Lane, PublishNo};
use serde_json::Value;

/// Short, so that outages are told soon.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Options for tests of outages.
pub fn options() -> Options {
    Options { request_timeout: REQUEST_TIMEOUT, ..Options::default() }
}

/// A server of the newest release, beside the old one of the distribution.
pub fn newest(options: NatsOptions) -> Nats {
    let program = Some(tools().join("python/bin/nats-server"));
    Nats::start_with(NatsOptions { program, ..options }).expect("the newest nats-server starts")
}

/// A server and a broker on it.
pub async fn start(options: Options) -> (Nats, NatsBroker) {
    let server = Nats::start().expect("nats-server starts");
    let broker = open(&server, options).await;
    (server, broker)
}

/// A further broker on a server.
pub async fn open(server: &Nats, options: Options) -> NatsBroker {
    NatsBroker::open(&server.url(), options).await.expect("the broker opens")
}

/// A first publication of a new job of acme.
pub fn message(lane: Lane) -> Message {
    Message { job: JobId::new(), tenant: "acme".parse().expect("valid"), lane, publish: PublishNo(1) }
}

/// Publishes again and again until it is confirmed, as a dispatcher does.
pub async fn publish_at_last(broker: &NatsBroker, messages: &[Message]) -> u32 {
    let end = Instant::now() + PATIENCE;
    let mut failures = 0;
    while let Err(error) = broker.publish(messages).await {
        assert!(matches!(error, BrokerError::Unavailable(_)), "{error}");
        assert!(Instant::now() < end, "{error}");
        failures += 1;
        // Returns once the link is there again, or after the time of a request.
        let _ = broker.check().await;
    }
    failures
}

/// Waits for one message of the lane.
pub async fn next(broker: &NatsBroker, lane: Lane) -> Box<dyn Delivery> {
    let wait = async {
        loop {
            if let Some(delivery) = broker.fetch(lane, 1).await.ok().and_then(|mut fetched| fetched.pop()) {
                return delivery;
            }
            // Waits for a message, and for the link where that is down.
            assert!(!matches!(broker.ready(&[lane]).await, Err(BrokerError::Closed)));
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a message was expected and none came")
}

/// What the server's own interface answers at `$JS.API.…`; no error.
pub async fn ask(server: &Nats, endpoint: &str, body: Value) -> Value {
    let operator = async_nats::connect(server.url()).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = operator.request(format!("$JS.API.{endpoint}"), body.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer.get("error"), None, "{endpoint}");
    answer
}
