//! The broker inside the process: lanes in memory, for `bul up` without a server.
//!
//! Forgets with the process (`durable: false`): the store publishes everything queued again at start.
//! No task runs in the background; deadlines are looked at by whoever fetches, waits or asks for the
//! depth. Time is tokio's clock, so that tests may move it. Passes the suite `bul_broker::conformance`.

mod lanes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::{Broker, BrokerError, BrokerInfo, Delivery, Depth, EventFilter, Message, Payload};
use bul_job::{Event, PARTITIONS_MAX, Queue};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use lanes::{Lanes, Size, Tag};

/// Settings of an [`EmbeddedBroker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Messages held at once, in all lanes and hands. Too low: the dispatcher meets back-pressure
    /// while workers idle. Too high: memory, about 200 bytes each.
    pub messages_max: usize,
    /// How long a worker may hold a message without a sign of life before another gets it.
    pub ack_wait: Duration,
    /// Publications remembered after their end, so that a late second one is dropped.
    pub recent_max: usize,
    /// Events a slow listener may lag behind before it loses the oldest.
    pub events_max: usize,
    /// Partitions of each lane, 1 to [`PARTITIONS_MAX`]. More than one is of use where several engines share the process.
    pub partitions: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            messages_max: 100_000,
            ack_wait: Duration::from_secs(60),
            recent_max: 16_384,
            events_max: 4_096,
            partitions: 1,
        }
    }
}

/// Longest delay of a nack; longer waits belong to the store.
const NACK_DELAY_MAX: Duration = Duration::from_secs(300);
/// How long a waiter sleeps at most when nothing is scheduled; it is woken by any publication.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(3600);

/// The broker. Clones share it.
#[derive(Clone)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: Mutex<Lanes>,
    /// Woken whenever a message may have become ready, or a deadline nearer.
    changed: Notify,
    /// `None` once closed, which ends all listeners.
    events: Mutex<Option<broadcast::Sender<Arc<Event>>>>,
    ack_wait: Duration,
    messages_max: usize,
    partitions: u8,
}

impl EmbeddedBroker {
    /// An empty broker.
    pub fn new(options: Options) -> Self {
        let (events, _) = broadcast::channel(options.events_max.max(1));
        let Options { messages_max, recent_max, .. } = options;
        let partitions = options.partitions.clamp(1, PARTITIONS_MAX);
        Self {
            shared: Arc::new(Shared {
                lanes: Mutex::new(Lanes::new(Size { messages_max, recent_max, partitions })),
                changed: Notify::new(),
                events: Mutex::new(Some(events)),
                ack_wait: options.ack_wait,
                messages_max,
                partitions,
            }),
        }
    }
}

impl Default for EmbeddedBroker {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Shared {
    /// Works on the lanes as they are now: what has passed its deadline is back first.
    fn with<T>(&self, work: impl FnOnce(&mut Lanes, Instant) -> T) -> Result<T, BrokerError> {
        let now = Instant::now();
        let mut lanes = self.lanes.lock();
        if lanes.is_closed() {
            return Err(BrokerError::Closed);
        }
        lanes.sweep(now);
        Ok(work(&mut lanes, now))
    }

    fn wake(&self) {
        self.changed.notify_waiters();
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    fn info(&self) -> BrokerInfo {
        BrokerInfo {
            kind: "embedded",
            version: env!("CARGO_PKG_VERSION").into(),
            location: "in this process".into(),
            durable: false,
            durability: "nothing: messages end with the process, and the store publishes them again".into(),
            notes: Vec::new(),
        }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), BrokerError> {
        let all_taken = self.shared.with(|lanes, _| messages.iter().all(|message| lanes.publish(message)));
        self.shared.wake();
        if all_taken? {
            return Ok(());
        }
        Err(BrokerError::Full(format!("it holds {} messages", self.shared.messages_max)))
    }

    fn partitions(&self) -> u8 {
        self.shared.partitions
    }

    async fn fetch_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        let deadline_after = self.shared.ack_wait;
        let taken = self.shared.with(|lanes, now| lanes.take(queues, max, now + deadline_after))?;
        let delivery = |(tag, message, deliveries)| -> Box<dyn Delivery> {
            Box::new(EmbeddedDelivery {
                shared: Arc::clone(&self.shared),
                tag,
                payload: Payload::Ready(message),
                deliveries,
                answered: false,
            })
        };
        Ok(taken.into_iter().map(delivery).collect())
    }

    async fn ready_in(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        loop {
            // Registered before the look: a publication in between is not missed.
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (has_work, wake_at) = self.shared.with(|state, now| {
                let has_work = queues.iter().any(|queue| state.has_ready(*queue));
                (has_work, state.next_deadline().unwrap_or(now + IDLE_WAIT_MAX))
            })?;
            if has_work {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    async fn depths(&self) -> Result<[Depth; 4], BrokerError> {
        self.shared.with(|lanes, _| lanes.depths())
    }

    async fn publish_event(&self, event: Event) -> Result<(), BrokerError> {
        match self.shared.events.lock().as_ref() {
            // An error means that nobody listens.
            Some(events) => {
                let _ = events.send(Arc::new(event));
                Ok(())
            }
            None => Err(BrokerError::Closed),
        }
    }

    async fn events(&self, filter: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        let receiver = match self.shared.events.lock().as_ref() {
            Some(events) => events.subscribe(),
            None => return Err(BrokerError::Closed),
        };
        let passing = move |received: Result<Arc<Event>, _>| {
            // A lag is an error of the stream; the listener looks at the store for the truth.
            let event = received.ok().filter(|event| filter.matches(event));
            futures::future::ready(event.map(Arc::unwrap_or_clone))
        };
        Ok(BroadcastStream::new(receiver).filter_map(passing).boxed())
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.shared.with(|_, _| ())
    }

    async fn close(&self) {
        self.shared.lanes.lock().close();
        self.shared.events.lock().take();
        self.shared.wake();
    }
}

/// A message in a worker's hands.
struct EmbeddedDelivery {
    shared: Arc<Shared>,
    tag: Tag,
    payload: Payload,
    deliveries: u32,
    answered: bool,
}

#[async_trait]
impl Delivery for EmbeddedDelivery {
    fn payload(&self) -> &Payload {
        &self.payload
    }

    fn deliveries(&self) -> u32 {
        self.deliveries
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BrokerError> {
        self.answered = true;
        self.shared.with(|lanes, _| lanes.ack(self.tag))
    }

    async fn nack(mut self: Box<Self>, delay: Duration) -> Result<(), BrokerError> {
        self.answered = true;
        let delay = delay.min(NACK_DELAY_MAX);
        let result = self.shared.with(|lanes, now| lanes.give_back(self.tag, now, delay));
        self.shared.wake();
        result
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        let ack_wait = self.shared.ack_wait;
        match self.shared.with(|lanes, now| lanes.extend(self.tag, now + ack_wait))? {
            true => Ok(()),
            false => Err(BrokerError::Unavailable("the delivery has expired and gone back".into())),
        }
    }
}

impl Drop for EmbeddedDelivery {
    fn drop(&mut self) {
        if !self.answered {
            // On a closed broker there is nowhere to go back to.
            let _ = self.shared.with(|lanes, now| lanes.give_back(self.tag, now, Duration::ZERO));
            self.shared.wake();
        }
    }
}
