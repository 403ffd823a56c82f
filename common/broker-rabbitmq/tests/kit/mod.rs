//! What the tests on a real server share.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

use std::time::Duration;

pub use bul_broker::conformance::kit::{PATIENCE, eventually};
use bul_broker::{Broker, Delivery, Message};
use bul_broker_rabbitmq::{Options, RabbitBroker};
use bul_job::{JobId, Lane, PublishNo};

/// Settings of a test: an outage is noticed soon.
pub fn options() -> Options {
    Options {
        call_timeout: Duration::from_secs(2),
        heartbeat: Duration::from_secs(1),
        watchdog: Duration::from_secs(2),
        ..Options::default()
    }
}

pub async fn open(url: &str) -> RabbitBroker {
    RabbitBroker::open(url, options()).await.expect("the server is there")
}

pub fn message(lane: Lane) -> Message {
    Message { job: JobId::new(), tenant: "acme".parse().unwrap(), lane, publish: PublishNo(1) }
}

pub fn messages(lane: Lane, number: usize) -> Vec<Message> {
    (0..number).map(|_| message(lane)).collect()
}

/// Publishes until it is confirmed, as a dispatcher does.
pub async fn publish(broker: &RabbitBroker, messages: &[Message]) {
    eventually("a publication is confirmed", async || broker.publish(messages).await.is_ok()).await;
}

/// The next message of a lane, over all outages.
pub async fn next(broker: &RabbitBroker, lane: Lane) -> Box<dyn Delivery> {
    let wait = async {
        loop {
            if let Ok(mut taken) = broker.fetch(lane, 1).await
                && let Some(delivery) = taken.pop()
            {
                return delivery;
            }
            let _ = broker.ready(&[lane]).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a message was expected and none came")
}

/// Takes and acks everything of a lane until nothing comes for a while; the jobs.
pub async fn drain(broker: &RabbitBroker, lane: Lane, number: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    while jobs.len() < number {
        let delivery = next(broker, lane).await;
        let job = delivery.payload().ready().expect("one of ours").job;
        if delivery.ack().await.is_ok() {
            jobs.push(job);
        }
    }
    jobs
}

/// A test on the distribution's release and the same on RabbitMQ 4, which is left out where it is not installed.
#[macro_export]
macro_rules! on_both_releases {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        mod distribution {
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(bul_harness::RabbitMq::start().expect("RabbitMQ starts")).await;
                }
            )*
        }
        mod newest {
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(server) = bul_harness::RabbitMq::start_newest().expect("RabbitMQ 4 starts") {
                        super::$name(server).await;
                    }
                }
            )*
        }
    };
}
