//! The broker knows *who*: it holds work that is ready now and hands it out.
//!
//! Delivery is at least once and in no promised order; delays, retries and uniqueness belong to the
//! store. `conformance` (a feature) is the suite that every implementation must pass.

mod bundle;
mod part;
mod payload;

use std::time::Duration;

use async_trait::async_trait;
use bul_job::{Event, JobId, Lane, Partition, PublishNo, Queue, TenantId};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use bundle::{Parcel, is_newer, parcels, read};
pub use part::unpack;
pub use payload::{Foreign, Payload, Route};

#[cfg(feature = "conformance")]
pub mod conformance;

/// What a broker is and promises.
#[derive(Debug, Clone, Serialize)]
pub struct BrokerInfo {
    /// `embedded`, `nats` or `rabbitmq`.
    pub kind: &'static str,
    /// Version of the server, or of this program.
    pub version: String,
    /// Where it is, without credentials.
    pub location: String,
    /// Whether a confirmed message outlives the broker's process. Where not, the store publishes
    /// everything queued again at start.
    pub durable: bool,
    /// What a confirmed publication survives, in a sentence.
    pub durability: String,
    /// What an operator should know, a sentence each: settings that the server ignored or that differ
    /// from ours, releases known to lose messages.
    pub notes: Vec<String>,
}

/// A message: which job is ready. What the job is stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Job.
    pub job: JobId,
    /// Tenant.
    pub tenant: TenantId,
    /// Lane.
    pub lane: Lane,
    /// Publication; `(job, publish)` is unique, and the broker drops a second one of both as far as
    /// its memory reaches: embedded and NATS for everybody within a window, RabbitMQ for the process
    /// that published the first; of jobs that travel together NATS does so only if they travel with the same ones again. What
    /// counts is the fence in the store.
    pub publish: PublishNo,
}

impl Message {
    /// Where it lies at a broker whose lanes have so many partitions.
    pub fn partition(&self, partitions: u8) -> Partition {
        self.job.group().partition(partitions)
    }
}

/// A failed broker operation.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Not reachable; every call may be repeated.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It takes no more for now: back-pressure. The store keeps the rows and tries again.
    #[error("the broker is full: {0}")]
    Full(String),
    /// Closed by this process.
    #[error("the broker is closed")]
    Closed,
}

/// A message in a worker's hands. Dropping it without an answer gives it back.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// What it carries.
    fn payload(&self) -> &Payload;

    /// Whether it is one of several jobs that came together.
    fn is_part(&self) -> bool {
        false
    }

    /// How often this publication was handed out, from 1, as far as the broker counts.
    fn deliveries(&self) -> u32;

    /// Done with it: it is never handed out again. After the store's commit only.
    async fn ack(self: Box<Self>) -> Result<(), BrokerError>;

    /// Not now: hand it out again after `delay` (seconds at most; longer waits belong to the store).
    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), BrokerError>;

    /// Still at it: keep it from being handed to another.
    async fn extend(&self) -> Result<(), BrokerError>;
}

/// Which events to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this tenant's.
    pub tenant: TenantId,
    /// Only this job's.
    pub job: Option<JobId>,
}

impl EventFilter {
    /// Whether the event passes.
    pub fn matches(&self, event: &Event) -> bool {
        event.tenant == self.tenant && self.job.is_none_or(|job| job == event.job)
    }
}

/// Messages waiting and in workers' hands; a bundle counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Depth {
    /// Waiting.
    pub ready: u64,
    /// Handed out, not answered.
    pub unacked: u64,
}

/// Hands out ready work.
#[async_trait]
pub trait Broker: Send + Sync {
    /// What this broker is.
    fn info(&self) -> BrokerInfo;

    /// Publishes; `Ok` means confirmed, in the order given within a tenant and lane, a second one of a `(job, publish)` dropped
    /// where [`Message::publish`] says so.
    /// On an error any part may have been published. Many may travel as one: see [`parcels`].
    async fn publish(&self, messages: &[Message]) -> Result<(), BrokerError>;

    /// Publishes each for itself what came in a bundle, also where this process has published it before. What was published singly
    /// must not be given: a broker may drop it, since it knows it.
    async fn publish_apart(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.publish(messages).await
    }

    /// Whether messages of a lane wait where every worker may take them, or will be able to shortly: then none that serves the
    /// lane idles.
    async fn waits(&self, lane: Lane) -> Result<bool, BrokerError> {
        Ok(self.depths().await?[lane.index()].ready > 0)
    }

    /// How many partitions each lane has here: at least as many as this broker publishes to. A message lies in that of its
    /// [`Message::partition`], what other programs publish in the first.
    fn partitions(&self) -> u8 {
        1
    }

    /// Takes up to `max` messages of these queues without waiting, from each about the same; what one lacks the others give.
    /// One may be a bundle of several jobs: [`unpack`] makes a delivery of each. Queues beyond [`Self::partitions`] are empty.
    async fn fetch_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError>;

    /// The same of queues that another process serves first: no more messages come here than are asked for, and none lies waiting.
    async fn help_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        self.fetch_from(queues, max).await
    }

    /// Returns when one of the queues may have work; early wake-ups are allowed, missed ones not.
    async fn ready_in(&self, queues: &[Queue]) -> Result<(), BrokerError>;

    /// Takes up to `max` messages of a lane, whatever their partition.
    async fn fetch(&self, lane: Lane, max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let queues: Vec<Queue> = Queue::of(lane, self.partitions()).collect();
        self.fetch_from(&queues, max).await
    }

    /// Returns when one of the lanes may have work, whatever its partition.
    async fn ready(&self, lanes: &[Lane]) -> Result<(), BrokerError> {
        let queues: Vec<Queue> = lanes.iter().flat_map(|lane| Queue::of(*lane, self.partitions())).collect();
        self.ready_in(&queues).await
    }

    /// Depth per lane, in the order of [`Lane::ALL`].
    async fn depths(&self) -> Result<[Depth; 4], BrokerError>;

    /// Messages that are said to be handed out although nothing else lies in their queue and workers wait there: were they to be
    /// had, or on their way back, one of these would have them. A broker that cannot be wrong about it knows of none.
    async fn stuck(&self) -> Result<u64, BrokerError> {
        Ok(0)
    }

    /// Names the data that the broker holds. It stays the same across calls, connections and restarts;
    /// once it has changed, messages that were confirmed before may be gone, and whoever keeps the record
    /// publishes everything queued again.
    async fn incarnation(&self) -> Result<String, BrokerError> {
        Ok(String::from("constant"))
    }

    /// Sends a lifecycle event to whoever listens; best effort, never blocks on slow listeners.
    async fn publish_event(&self, event: Event) -> Result<(), BrokerError>;

    /// Events from now on. A listener that lags behind loses events and is not told: it must look at
    /// the store for the truth.
    async fn events(&self, filter: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError>;

    /// Whether it works; for `/readyz` and `bul doctor`.
    async fn check(&self) -> Result<(), BrokerError>;

    /// Stops; unanswered deliveries return.
    async fn close(&self);
}
