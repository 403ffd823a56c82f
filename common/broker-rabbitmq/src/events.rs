//! Lifecycle events: out through a ring that drops the oldest, in through a queue per listener that does too.
//!
//! Invariant: no publisher waits for a listener, and a slow listener costs a bounded number of events
//! here and on the server. Events are transient; the truth is in the store. Called by `lib`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bul_broker::{BrokerError, EventFilter};
use bul_job::Event;
use futures::StreamExt;
use futures::stream::BoxStream;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer, ExchangeKind};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tracing::debug;

use crate::Shared;
use crate::message::{encode_event, event_key};
use crate::options::{LISTENER_PREFETCH, RETRY_MAX};
use crate::topology::{TopologyError, within};

/// Events written to the socket at once.
const WRITES_MAX: usize = 256;

/// Events on their way out.
pub(crate) struct Outbox {
    ring: Mutex<Ring>,
    wake: Notify,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<Event>,
    /// Told when all events before are with the server.
    flushes: Vec<oneshot::Sender<()>>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), wake: Notify::new() }
    }

    /// Never waits: the oldest gives way.
    pub(crate) fn post(&self, event: Event, events_max: usize) {
        let mut ring = self.ring.lock();
        if ring.events.len() >= events_max.max(1) {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        drop(ring);
        self.wake.notify_one();
    }

    /// Returns when the server has routed what was posted before.
    async fn flush(&self, limit: Duration) -> Result<(), BrokerError> {
        let (sender, done) = oneshot::channel();
        self.ring.lock().flushes.push(sender);
        self.wake.notify_one();
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BrokerError::Unavailable("events cannot be sent".into())),
        }
    }
}

/// Sends what is posted, for ever. What cannot be sent is lost.
pub(crate) async fn run(shared: &Shared) {
    let mut channel = None;
    loop {
        shared.outbox.wake.notified().await;
        loop {
            let Ring { events, flushes } = std::mem::take(&mut *shared.outbox.ring.lock());
            if events.is_empty() && flushes.is_empty() {
                break;
            }
            if let Err(error) = send(shared, &mut channel, events, flushes).await {
                debug!(%error, "events were lost");
                channel = None;
            }
        }
    }
}

async fn send(
    shared: &Shared,
    channel: &mut Option<Channel>,
    events: VecDeque<Event>,
    flushes: Vec<oneshot::Sender<()>>,
) -> Result<(), BrokerError> {
    let limit = shared.options.call_timeout;
    let lost = |error: TopologyError| BrokerError::Unavailable(error.to_string());
    let channel = match channel.take().filter(|channel| channel.status().connected()) {
        Some(living) => channel.insert(living),
        None => {
            let connection = shared.publishing.get().await?;
            channel.insert(within(limit, connection.create_channel()).await.map_err(lost)?)
        }
    };
    let (channel, exchange) = (&*channel, &shared.recipe.names.events);
    let write = |event: Event| async move {
        // An event that cannot be written as JSON does not exist; there is nobody to tell.
        let Ok((key, properties, body)) = encode_event(&event) else { return Ok(()) };
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange.clone(), key, options, &body, properties).await.map(drop)
    };
    let mut writes = futures::stream::iter(events.into_iter().map(write)).buffered(WRITES_MAX);
    while within(limit, async { writes.next().await.transpose() }).await.map_err(lost)?.is_some() {}
    if !flushes.is_empty() {
        // The channel's answer comes after everything written before on it was routed.
        let look = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let answer =
            channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, look, FieldTable::default());
        within(limit, answer).await.map_err(lost)?;
        for flush in flushes {
            // The listener may have gone.
            let _ = flush.send(());
        }
    }
    Ok(())
}

/// A listener's queue.
struct Source {
    channel: Channel,
    consumer: Consumer,
    unacked: u16,
}

async fn subscribe(shared: &Shared, filter: &EventFilter) -> Result<Source, BrokerError> {
    let connection = shared.consuming.get().await?;
    let (limit, names) = (shared.options.call_timeout, &shared.recipe.names);
    let key =
        event_key(filter.tenant.as_str(), &filter.job.map_or_else(|| "*".into(), |job| job.to_string()));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments
        .insert("x-max-length".into(), AMQPValue::LongLongInt(i64::from(shared.options.events_max.max(1))));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    let made = async {
        let channel = within(limit, connection.create_channel()).await?;
        within(limit, channel.basic_qos(LISTENER_PREFETCH, BasicQosOptions { global: false })).await?;
        let options = QueueDeclareOptions::exclusive().auto_delete();
        let queue = within(limit, channel.queue_declare("".into(), options, arguments)).await?.name().clone();
        let bind = channel.queue_bind(
            queue.clone(),
            names.events.clone(),
            key,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(limit, bind).await?;
        let start =
            channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = within(limit, start).await?;
        Ok(Source { channel, consumer, unacked: 0 })
    };
    made.await.map_err(|error: TopologyError| BrokerError::Unavailable(error.to_string()))
}

impl Source {
    /// The next event; an error when the queue is gone.
    async fn next(&mut self) -> Result<Option<Event>, ()> {
        let delivery = self.consumer.next().await.ok_or(())?.map_err(drop)?;
        self.unacked += 1;
        if self.unacked >= LISTENER_PREFETCH / 2 {
            let all = BasicAckOptions { multiple: true };
            self.channel.basic_ack(delivery.delivery_tag, all).await.map_err(drop)?;
            self.unacked = 0;
        }
        Ok(serde_json::from_slice(&delivery.data).ok())
    }
}

/// A listener over all connections to come.
struct Listener {
    shared: Arc<Shared>,
    filter: EventFilter,
    source: Option<Source>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        let closed = self.shared.closed.clone();
        loop {
            let Some(source) = &mut self.source else {
                tokio::select! {
                    () = closed.cancelled() => return None,
                    again = subscribe(&self.shared, &self.filter) => match again {
                        Ok(source) => self.source = Some(source),
                        Err(_) => tokio::time::sleep(RETRY_MAX).await,
                    },
                }
                continue;
            };
            tokio::select! {
                () = closed.cancelled() => return None,
                event = source.next() => match event {
                    Ok(Some(event)) if self.filter.matches(&event) => return Some(event),
                    Ok(_) => {}
                    // What happens until the next queue is made is lost; a listener knows that it may be.
                    Err(()) => self.source = None,
                },
            }
        }
    }
}

/// Events from now on.
pub(crate) async fn listen(
    shared: &Arc<Shared>,
    filter: EventFilter,
) -> Result<BoxStream<'static, Event>, BrokerError> {
    let permit = Arc::clone(&shared.listeners)
        .try_acquire_owned()
        .map_err(|_| BrokerError::Full("too many listeners to events in this process".into()))?;
    // What this process posted before must not be taken for something from now on.
    shared.outbox.flush(shared.options.call_timeout).await?;
    let source = Some(subscribe(shared, &filter).await?);
    let listener = Listener { shared: Arc::clone(shared), filter, source, _permit: permit };
    let next = |mut listener: Listener| async move { listener.next().await.map(|event| (event, listener)) };
    Ok(futures::stream::unfold(listener, next).boxed())
}
