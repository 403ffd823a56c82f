//! Lifecycle events: core NATS messages without a promise.
//!
//! Invariant: publishing waits for nothing; a server that is slow or away costs the oldest events. A
//! listener's messages are always taken off the connection, so that a slow one loses events and holds
//! nobody up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use bul_broker::{BrokerError, EventFilter};
use bul_job::Event;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tracing::debug;

use crate::link::Link;

/// Room for most events, so that writing one takes memory once.
const EVENT_BYTES: usize = 256;
/// How long a new listener waits for events of before it to be sent.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Events on their way to the server.
pub(crate) struct Events {
    link: Arc<Link>,
    queue: Mutex<Queue>,
    added: Notify,
    sent: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Event>,
    /// One is out of the queue and not sent yet.
    is_sending: bool,
}

impl Events {
    pub(crate) fn start(link: &Arc<Link>) -> Arc<Self> {
        let events = Arc::new(Self {
            link: Arc::clone(link),
            queue: Mutex::default(),
            added: Notify::new(),
            sent: Notify::new(),
        });
        tokio::spawn(Arc::clone(&events).send_all());
        events
    }

    /// See `Broker::publish_event`.
    pub(crate) async fn publish(&self, event: Event) -> Result<(), BrokerError> {
        if self.link.is_closed() {
            return Err(BrokerError::Closed);
        }
        let max = self.link.options.events_max.max(1);
        let count = {
            let mut queue = self.queue.lock();
            if queue.waiting.len() >= max {
                queue.waiting.pop_front();
            }
            queue.waiting.push_back(event);
            queue.waiting.len()
        };
        self.added.notify_one();
        if count > max / 2 {
            // A loop that publishes without a pause would leave the sender no turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// See `Broker::events`.
    pub(crate) async fn listen(&self, filter: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        let session = self.link.session().await?;
        // Events of before are not for this listener.
        let _ = tokio::time::timeout(DRAIN_MAX, self.drained()).await;
        let subject = self.link.names.events_filter(&filter);
        let subscriber = self
            .link
            .client
            .subscribe(subject)
            .await
            .map_err(|error| self.link.unavailable(&error.to_string()))?;
        // Answered, the server knows of the subscription, which it read before.
        self.link.probe(session).await?;
        let (events, receiver) = broadcast::channel(self.link.options.events_max.max(1));
        tokio::spawn(pass_on(Arc::clone(&self.link), subscriber, filter, events));
        // A lag is an error of the stream; the listener looks at the store for the truth.
        Ok(BroadcastStream::new(receiver).filter_map(|event| std::future::ready(event.ok())).boxed())
    }

    async fn drained(&self) {
        loop {
            let sent = self.sent.notified();
            tokio::pin!(sent);
            sent.as_mut().enable();
            let is_drained = {
                let queue = self.queue.lock();
                queue.waiting.is_empty() && !queue.is_sending
            };
            if is_drained {
                return;
            }
            sent.await;
        }
    }

    fn take(&self) -> Option<Event> {
        let mut queue = self.queue.lock();
        let event = queue.waiting.pop_front();
        queue.is_sending = event.is_some();
        event
    }

    async fn send_all(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.added.notified() => {}
                () = self.link.closed() => return,
            }
            // While the link is down they wait here, the oldest making room.
            while let Ok(session) = self.link.session().await {
                let Some(event) = self.take() else { break };
                let subject = self.link.names.event_subject(&event);
                let mut body = Vec::with_capacity(EVENT_BYTES);
                if serde_json::to_writer(&mut body, &event).is_ok() {
                    let sending = self.link.client.publish(subject, Bytes::from(body));
                    if let Err(error) = self.link.send(session, sending).await {
                        debug!(%error, "an event is lost");
                    }
                }
            }
            self.queue.lock().is_sending = false;
            self.sent.notify_waiters();
        }
    }
}

/// Takes a listener's events off the connection for as long as it listens.
async fn pass_on(
    link: Arc<Link>,
    mut subscriber: Subscriber,
    filter: EventFilter,
    events: broadcast::Sender<Event>,
) {
    let closed = link.closed();
    tokio::pin!(closed);
    loop {
        let arrived = tokio::select! {
            arrived = subscriber.next() => arrived,
            () = &mut closed => return,
            () = events.closed() => return,
        };
        let Some(arrived) = arrived else { return };
        match serde_json::from_slice::<Event>(&arrived.payload) {
            Ok(event) if filter.matches(&event) => {
                let _ = events.send(event);
            }
            Ok(event) => debug!(job = %event.job, "an event lies on another's subject"),
            Err(error) => debug!(%error, "an event is not understood"),
        }
    }
}
