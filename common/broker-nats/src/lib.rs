//! The broker on NATS JetStream, from nats-server 2.9 on.
//!
//! One work-queue stream, one durable pull consumer per partition of a lane, whatever the release offers beyond that. It
//! speaks JetStream's own requests over the core client: a pull's inbox must outlive its caller so that a
//! late message is not lost, and a configuration must survive being read and written by an older program.
//! Delivery is at least once: an ack is not confirmed, and one that is lost with a connection or a killed
//! server brings its message again. Passes the suite `bul_broker::conformance`.

mod api;
mod connect;
mod delivery;
mod events;
mod fetch;
mod lanes;
mod link;
mod options;
mod publish;
mod pull;
mod server;
mod topology;
mod wait;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use bul_broker::{Broker, BrokerError, BrokerInfo, Delivery, Depth, EventFilter, Message};
use bul_job::{Event, Lane, Queue};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use serde_json::Value;

use delivery::Answers;
use events::Events;
use lanes::Lanes;
use link::Link;
use options::Address;
use publish::Publisher;
use wire::Names;

pub use options::{OpenError, Options};

/// Longest wait for work before the caller looks for itself.
const READY_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// The broker. Dropped, it is closed.
pub struct NatsBroker {
    link: Arc<Link>,
    answers: Arc<Answers>,
    lanes: Arc<Lanes>,
    publisher: Arc<Publisher>,
    events: Arc<Events>,
}

impl NatsBroker {
    /// Connects to `nats://[user:password@]host:port` (several joined by commas; `tls://` as well) and sees
    /// to stream and consumers.
    pub fn open<'a>(url: &'a str, options: Options) -> BoxFuture<'a, Result<Self, OpenError>> {
        async move {
            let address = Address::parse(url)?;
            let names = Names::new(&options.prefix, options.domain.as_deref())
                .ok_or_else(|| OpenError::Prefix(options.prefix.clone()))?;
            let location = address.location.clone();
            let link = Link::open(address, options, names).await?;
            let publisher = match Publisher::start(&link).await {
                Ok(publisher) => publisher,
                Err(error) => {
                    link.close();
                    return Err(OpenError::Unreachable { location, reason: error.to_string() });
                }
            };
            let answers = Answers::new(Arc::clone(&link));
            let lanes = Lanes::start(&answers);
            let events = Events::start(&link);
            Ok(Self { link, answers, lanes, publisher, events })
        }
        .boxed()
    }

    async fn depth(&self, queue: Queue) -> Result<Depth, BrokerError> {
        let [ready, unacked, _] = self.counts(queue).await?;
        Ok(Depth { ready, unacked })
    }

    /// Messages waiting and handed out, and pulls that wait for one.
    async fn counts(&self, queue: Queue) -> Result<[u64; 3], BrokerError> {
        let endpoint =
            format!("CONSUMER.INFO.{}.{}", self.link.names.stream, self.link.names.consumer(queue));
        let session = self.link.session().await?;
        match self.link.api(&endpoint, Bytes::new()).await {
            Ok(info) => {
                let count = |key| info.get(key).and_then(Value::as_u64).unwrap_or(0);
                Ok(["num_pending", "num_ack_pending", "num_waiting"].map(count))
            }
            Err(error) => {
                self.link.doubt(session, &error.to_string());
                Err(self.link.unavailable(&error.to_string()))
            }
        }
    }
}

#[async_trait]
impl Broker for NatsBroker {
    fn info(&self) -> BrokerInfo {
        let version = self.link.client.server_info().version;
        BrokerInfo {
            kind: "nats",
            location: self.link.location.clone(),
            durable: true,
            durability: server::durability(&version),
            notes: self.link.notes(),
            version,
        }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.publisher.publish(messages, self.link.options.bundle_max).await
    }

    async fn publish_apart(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.publisher.publish(messages, 1).await
    }

    fn partitions(&self) -> u8 {
        self.lanes.partitions
    }

    async fn fetch_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let taken = self.lanes.fetch(queues, max).await?;
        Ok(taken.into_iter().map(|delivery| -> Box<dyn Delivery> { Box::new(delivery) }).collect())
    }

    async fn ready_in(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        // A pull that waits on a stream which was removed and made again hears nothing; early wake-ups are allowed, missed
        // ones not.
        tokio::time::timeout(READY_MAX, self.lanes.ready(queues)).await.unwrap_or(Ok(()))
    }

    async fn depths(&self) -> Result<[Depth; 4], BrokerError> {
        let queues: Vec<Queue> = Queue::all(self.lanes.partitions).collect();
        let depths = try_join_all(queues.iter().map(|queue| self.depth(*queue))).await?;
        let mut by_lane = [Depth::default(); Lane::ALL.len()];
        for (queue, depth) in queues.iter().zip(depths) {
            let sum = &mut by_lane[queue.lane.index()];
            (sum.ready, sum.unacked) = (sum.ready + depth.ready, sum.unacked + depth.unacked);
        }
        Ok(by_lane)
    }

    async fn waits(&self, lane: Lane) -> Result<bool, BrokerError> {
        let counts = Queue::of(lane, self.lanes.partitions).map(|queue| self.counts(queue));
        Ok(try_join_all(counts).await?.iter().any(|[ready, ..]| *ready > 0))
    }

    async fn stuck(&self) -> Result<u64, BrokerError> {
        let counts = Queue::all(self.lanes.partitions).map(|queue| self.counts(queue));
        let counts = try_join_all(counts).await?;
        let is_stuck = |[ready, _, pulls]: &&[u64; 3]| *ready == 0 && *pulls > 0;
        Ok(counts.iter().filter(is_stuck).map(|[_, unacked, _]| unacked).sum())
    }

    async fn incarnation(&self) -> Result<String, BrokerError> {
        self.link.incarnation().await
    }

    async fn publish_event(&self, event: Event) -> Result<(), BrokerError> {
        self.events.publish(event).await
    }

    async fn events(&self, filter: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        self.events.listen(filter).await
    }

    async fn check(&self) -> Result<(), BrokerError> {
        let session = self.link.session_now()?;
        self.link.probe(session).await
    }

    async fn close(&self) {
        self.link.close();
        self.lanes.give_back();
        self.answers.flush().await;
    }
}

impl Drop for NatsBroker {
    fn drop(&mut self) {
        self.link.close();
        self.lanes.give_back();
    }
}
