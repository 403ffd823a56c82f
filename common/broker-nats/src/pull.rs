//! Inboxes for pulls, and one pull at a time over each.
//!
//! A message of a pull bears its own subject, so that only its subscription tells which pull it answers:
//! each pull under way has an inbox for itself. Inboxes are used again, since a subscription costs more
//! than a pull. Invariant: only an inbox whose last pull has ended on the server is used again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bul_broker::BrokerError;
use bul_job::Queue;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::link::{Link, Session};

/// Idle inboxes kept.
const IDLE_MAX: usize = 64;

/// A subscription for pulls.
pub(crate) struct Inbox {
    subscriber: Subscriber,
    subject: String,
    /// Numbers the pulls, so that a late status of one does not end the next.
    pull: u64,
}

/// What arrives at an inbox.
pub(crate) enum Arrival {
    Message(Message),
    /// The pull has ended, with what the server has.
    Ended,
    /// The pull has ended since something is wrong with it, which may pass.
    Refused(String),
    /// The consumer or stream is not there, or not on this server.
    Gone(String),
    /// The client has ended.
    Closed,
}

impl Inbox {
    async fn new(link: &Link, session: Session) -> Result<Self, BrokerError> {
        let subject = link.client.new_inbox();
        let subscribing =
            tokio::time::timeout(link.options.request_timeout, link.client.subscribe(format!("{subject}.*")));
        match subscribing.await {
            Ok(Ok(subscriber)) => Ok(Self { subscriber, subject, pull: 0 }),
            Ok(Err(error)) => Err(link.unavailable(&error.to_string())),
            Err(_) => {
                link.doubt(session, "the connection takes nothing in");
                Err(link.unavailable("the connection takes nothing in"))
            }
        }
    }

    /// Asks for messages of a queue. Without `wait` the server answers at once.
    pub(crate) async fn ask(
        &mut self,
        link: &Link,
        session: Session,
        queue: Queue,
        count: usize,
        wait: Option<Duration>,
    ) -> Result<(), BrokerError> {
        self.pull += 1;
        let subject = format!(
            "{}.CONSUMER.MSG.NEXT.{}.{}",
            link.names.api,
            link.names.stream,
            link.names.consumer(queue)
        );
        let body = match wait {
            Some(wait) => format!(r#"{{"batch":{count},"expires":{}}}"#, wait.as_nanos()),
            None => format!(r#"{{"batch":{count},"no_wait":true}}"#),
        };
        let reply = format!("{}.{}", self.subject, self.pull);
        link.send(session, link.client.publish_with_reply(subject, reply, Bytes::from(body))).await
    }

    /// The next message, or how the pull ended.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            let Some(message) = self.subscriber.next().await else { return Arrival::Closed };
            if let Some(arrival) = self.read(message) {
                return arrival;
            }
        }
    }

    /// The same, if it is here already.
    pub(crate) fn try_next(&mut self) -> Option<Arrival> {
        self.next().now_or_never()
    }

    fn read(&self, message: Message) -> Option<Arrival> {
        let Some(status) = message.status else { return Some(Arrival::Message(message)) };
        let is_this = message.subject.rsplit_once('.').is_some_and(|(_, pull)| pull.parse() == Ok(self.pull));
        if !is_this {
            return None;
        }
        let why = message.description.unwrap_or_else(|| "no reason given".into());
        match status {
            StatusCode::IDLE_HEARTBEAT => None,
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Some(Arrival::Ended),
            StatusCode::NO_RESPONDERS => Some(Arrival::Gone("the consumer is not there".into())),
            // "Consumer Deleted", "Leadership Change", "Server Shutdown".
            _ if ["Deleted", "Leadership", "Shutdown"].iter().any(|word| why.contains(word)) => {
                Some(Arrival::Gone(why))
            }
            _ => Some(Arrival::Refused(why)),
        }
    }
}

/// Inboxes whose last pull has ended.
#[derive(Default)]
pub(crate) struct Idle {
    inboxes: Mutex<Vec<Inbox>>,
}

impl Idle {
    pub(crate) async fn take(&self, link: &Arc<Link>, session: Session) -> Result<Inbox, BrokerError> {
        let kept = self.inboxes.lock().pop();
        match kept {
            Some(inbox) => Ok(inbox),
            None => Inbox::new(link, session).await,
        }
    }

    /// Keeps it, or drops it, which unsubscribes.
    pub(crate) fn put(&self, inbox: Inbox) {
        let mut inboxes = self.inboxes.lock();
        if inboxes.len() < IDLE_MAX {
            inboxes.push(inbox);
        }
    }
}
