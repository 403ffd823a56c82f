//! Publishing: send all, then wait for all confirmations.
//!
//! Invariant: `Ok` means that the server has confirmed each message; a number of messages in flight is
//! bounded over all callers. Confirmations come to one inbox, `<inbox>.<batch>`, and are counted by batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Message as Arrived, StatusCode, Subscriber};
use bul_broker::{BrokerError, Message, Parcel};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::api::Refusal;
use crate::link::{Link, Session};
use crate::topology::is_shortage;
use crate::wire;

/// Messages counted together.
const BATCH_MAX: usize = 1_000;
/// Longest wait of a call while the server confirms others' messages but not its own.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acks are worked off beside publications, so that the room they make may show a moment late.
const FULL_PAUSE: Duration = Duration::from_millis(100);
/// Tries of a call: one more when the connection was lost, the stream gone, or no room there.
const TRIES_MAX: u32 = 2;

/// Code of a message that the stream did not take in.
const STORE_FAILED: u64 = 10077;
/// Code of a server that has too much in its own queues.
const TOO_MANY_REQUESTS: u64 = 429;

/// Publishes for all callers.
pub(crate) struct Publisher {
    link: Arc<Link>,
    inbox: String,
    in_flight: Arc<Semaphore>,
    in_flight_max: usize,
    batches: Mutex<HashMap<u64, Arc<Batch>>>,
    next_batch: AtomicU64,
    /// Confirmations so far, of all batches.
    confirmed: AtomicU64,
}

struct Batch {
    left: AtomicUsize,
    /// Woken by the last confirmation.
    done: Notify,
    refusal: Mutex<Option<Failure>>,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Why a try failed, the more lasting the later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// The connection was lost meanwhile.
    Lost,
    /// The stream is not there, or not whole: 2.9 takes messages in while it removes it.
    Gone(String),
    Full(String),
    Refused(String),
    Down(String),
    Closed,
}

#[derive(Deserialize)]
struct Confirmation {
    error: Option<Refusal>,
    #[serde(default)]
    seq: u64,
}

/// A batch under way; forgotten when dropped, so that a cancelled call leaves nothing behind.
struct Ticket<'a> {
    publisher: &'a Publisher,
    number: u64,
    batch: Arc<Batch>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.publisher.batches.lock().remove(&self.number);
    }
}

impl Publisher {
    /// Subscribes to confirmations.
    pub(crate) async fn start(link: &Arc<Link>) -> Result<Arc<Self>, async_nats::SubscribeError> {
        let inbox = link.client.new_inbox();
        let confirmations = link.client.subscribe(format!("{inbox}.*")).await?;
        let in_flight_max = link.options.in_flight_max.max(1);
        let publisher = Arc::new(Self {
            link: Arc::clone(link),
            inbox,
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
            in_flight_max,
            batches: Mutex::default(),
            next_batch: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
        });
        tokio::spawn(Arc::clone(&publisher).hear(confirmations));
        Ok(publisher)
    }

    /// Publishes in order; see `Broker::publish`. A repeated message is dropped by the server.
    pub(crate) async fn publish(&self, messages: &[Message], bundle_max: usize) -> Result<(), BrokerError> {
        let parcels = bul_broker::parcels(messages, self.link.options.partitions, bundle_max);
        let mut tries = 1;
        loop {
            let session = self.link.session().await?;
            if messages.is_empty() {
                return Ok(());
            }
            let failure = match self.try_publish(session, &parcels).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let is_last = tries == TRIES_MAX;
            match failure {
                Failure::Gone(why) => {
                    self.link.doubt(session, &why);
                    if is_last {
                        return Err(self.link.unavailable(&why));
                    }
                }
                Failure::Lost if is_last => {
                    return Err(self.link.unavailable("the connection was lost twice"));
                }
                Failure::Lost => {}
                Failure::Full(_) if !is_last => tokio::time::sleep(FULL_PAUSE).await,
                Failure::Full(why) => return Err(BrokerError::Full(why)),
                Failure::Refused(why) => return Err(self.link.unavailable(&why)),
                Failure::Down(why) => return Err(BrokerError::Unavailable(why)),
                Failure::Closed => return Err(BrokerError::Closed),
            }
            tries += 1;
        }
    }

    async fn try_publish(&self, session: Session, parcels: &[Parcel<'_>]) -> Result<(), Failure> {
        let start = Instant::now();
        let mut tickets = Vec::with_capacity(parcels.len().div_ceil(BATCH_MAX));
        for chunk in parcels.chunks(BATCH_MAX.min(self.in_flight_max)) {
            let permit = self.room_for(chunk.len(), session, start).await?;
            let ticket = self.ticket(chunk.len(), permit);
            self.send(session, chunk, ticket.number).await?;
            tickets.push(ticket);
        }
        let mut worst = None;
        for ticket in tickets {
            self.confirmed(session, &ticket.batch, start).await?;
            worst = worst.max(ticket.batch.refusal.lock().take());
        }
        worst.map_or(Ok(()), Err)
    }

    async fn room_for(
        &self,
        count: usize,
        session: Session,
        start: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.in_flight).acquire_many_owned(count);
        tokio::pin!(room);
        loop {
            let before = self.confirmed.load(Ordering::Relaxed);
            match tokio::time::timeout(self.link.options.request_timeout, &mut room).await {
                Ok(Ok(permit)) => return Ok(permit),
                Ok(Err(_)) => return Err(Failure::Closed),
                Err(_) => self.is_alive(session, before, start)?,
            }
        }
    }

    fn ticket(&self, count: usize, permit: OwnedSemaphorePermit) -> Ticket<'_> {
        let number = self.next_batch.fetch_add(1, Ordering::Relaxed);
        let batch = Arc::new(Batch {
            left: AtomicUsize::new(count),
            done: Notify::new(),
            refusal: Mutex::new(None),
            permit: Mutex::new(Some(permit)),
        });
        self.batches.lock().insert(number, Arc::clone(&batch));
        Ticket { publisher: self, number, batch }
    }

    async fn send(&self, session: Session, chunk: &[Parcel<'_>], number: u64) -> Result<(), Failure> {
        let reply = async_nats::Subject::from(format!("{}.{number}", self.inbox));
        let sending = async {
            for parcel in chunk {
                let body = Bytes::from(parcel.body());
                let subject = self.link.names.subject(&parcel.route(self.link.options.partitions));
                let headers = wire::headers(parcel);
                self.link
                    .client
                    .publish_with_reply_and_headers(subject, reply.clone(), headers, body)
                    .await?;
            }
            Ok(())
        };
        self.link.send(session, sending).await.map_err(|error| match error {
            BrokerError::Unavailable(why) | BrokerError::Full(why) => Failure::Down(why),
            BrokerError::Closed => Failure::Closed,
        })
    }

    async fn confirmed(&self, session: Session, batch: &Batch, start: Instant) -> Result<(), Failure> {
        loop {
            let done = batch.done.notified();
            let left = batch.left.load(Ordering::Acquire);
            if left == 0 {
                return Ok(());
            }
            let before = self.confirmed.load(Ordering::Relaxed);
            let waited = tokio::select! {
                waited = tokio::time::timeout(self.link.options.request_timeout, done) => waited,
                // Confirmations of a lost connection never come.
                () = self.link.over(session) => return Err(Failure::Lost),
            };
            // Its own progress counts without a limit; that of others does for a while.
            if waited.is_err() && batch.left.load(Ordering::Acquire) == left {
                self.is_alive(session, before, start)?;
            }
        }
    }

    /// After a wait in vain: whether the server confirms anything at all.
    fn is_alive(&self, session: Session, confirmed_before: u64, start: Instant) -> Result<(), Failure> {
        let is_moving = self.confirmed.load(Ordering::Relaxed) != confirmed_before;
        if is_moving && start.elapsed() < PATIENCE {
            return Ok(());
        }
        let why = format!("no confirmation within {} ms", self.link.options.request_timeout.as_millis());
        self.link.doubt(session, &why);
        match self.link.unavailable(&why) {
            BrokerError::Unavailable(why) => Err(Failure::Down(why)),
            BrokerError::Full(_) | BrokerError::Closed => Err(Failure::Closed),
        }
    }

    async fn hear(self: Arc<Self>, mut confirmations: Subscriber) {
        let closed = self.link.closed();
        tokio::pin!(closed);
        loop {
            let arrived = tokio::select! {
                arrived = confirmations.next() => arrived,
                () = &mut closed => None,
            };
            let Some(arrived) = arrived else {
                self.in_flight.close();
                return;
            };
            self.count(&arrived);
        }
    }

    fn count(&self, arrived: &Arrived) {
        let number = arrived.subject.rsplit_once('.').and_then(|(_, number)| number.parse::<u64>().ok());
        // A batch that has given up is not there any more.
        let Some(batch) = number.and_then(|number| self.batches.lock().get(&number).cloned()) else { return };
        match read(arrived) {
            Ok(place) => self.link.confirm(place),
            Err(failure) => {
                let mut refusal = batch.refusal.lock();
                *refusal = refusal.take().max(Some(failure));
            }
        }
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        let freed = batch.permit.lock().as_mut().and_then(|permit| permit.split(1));
        drop(freed);
        if batch.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            batch.done.notify_one();
        }
    }
}

/// The message's place in the stream, or why it has none.
fn read(arrived: &Arrived) -> Result<u64, Failure> {
    if arrived.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Failure::Gone("the stream is not there".into()));
    }
    let confirmation: Confirmation = serde_json::from_slice(&arrived.payload)
        .map_err(|error| Failure::Refused(format!("a confirmation that is not understood: {error}")))?;
    let Some(refusal) = confirmation.error else { return Ok(confirmation.seq) };
    let why = refusal.description;
    let is_limit = why.contains("maximum") || why.contains("no space");
    Err(match refusal.err_code {
        STORE_FAILED if is_limit => Failure::Full(why),
        STORE_FAILED => Failure::Gone(why),
        code if refusal.code == TOO_MANY_REQUESTS || is_shortage(code) => Failure::Full(why),
        _ => Failure::Refused(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Option<StatusCode>, body: &str, expected: Result<u64, Failure>) {
        let arrived = Arrived {
            subject: "_INBOX.a.7".into(),
            reply: None,
            payload: Bytes::copy_from_slice(body.as_bytes()),
            headers: None,
            status,
            description: None,
            length: 0,
        };
        assert_eq!(read(&arrived), expected, "{body}");
    }

    #[test]
    fn confirmations_are_told_from_refusals() {
        check(None, r#"{"stream":"BUL_JOBS","seq":7}"#, Ok(7));
        check(None, r#"{"stream":"BUL_JOBS","seq":7,"duplicate":true}"#, Ok(7));
        check(Some(StatusCode::NO_RESPONDERS), "", Err(Failure::Gone("the stream is not there".into())));
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#;
        check(None, full, Err(Failure::Full("maximum messages exceeded".into())));
        let refused =
            r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        check(None, refused, Err(Failure::Refused("message size exceeds maximum allowed".into())));
    }

    #[test]
    fn the_most_lasting_failure_counts() {
        let failures = [Failure::Gone("b".into()), Failure::Full("a".into()), Failure::Refused("a".into())];
        assert_eq!(failures.iter().max(), Some(&Failure::Refused("a".into())));
        assert!(Some(Failure::Lost) > None);
    }
}
