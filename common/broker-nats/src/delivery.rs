//! A message in a worker's hands, and the way back for those that are dropped.
//!
//! Invariant: an answer that comes after the message's own deadline never disturbs whoever has it now:
//! the server would hand it to a third. Only an ack is sent late as well, since it follows a commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Subject};
use async_trait::async_trait;
use bul_broker::{BrokerError, Delivery, Payload};
use bul_job::Lane;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::link::{Link, Session, State};
use crate::wire;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const NAK: Bytes = Bytes::from_static(b"-NAK");
const PROGRESS: Bytes = Bytes::from_static(b"+WPI");
/// Longest delay of a nack; longer waits belong to the store.
const NACK_DELAY_MAX: Duration = Duration::from_secs(300);
/// Dropped messages on their way back. One that finds no place returns after its ack wait.
const RETURNS_MAX: usize = 16_384;
/// How long the end waits for them.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Sends answers.
pub(crate) struct Answers {
    pub(crate) link: Arc<Link>,
    returns: mpsc::Sender<Return>,
}

enum Return {
    Nak { reply: Subject, epoch: u64 },
    Flush(oneshot::Sender<()>),
}

impl Answers {
    pub(crate) fn new(link: Arc<Link>) -> Arc<Self> {
        let (returns, queue) = mpsc::channel(RETURNS_MAX);
        // Holds the client only: it ends when the last delivery and the broker are gone.
        tokio::spawn(send_back(link.client.clone(), link.states(), queue));
        Arc::new(Self { link, returns })
    }

    /// The delivery of a message that came by a lane in this session.
    pub(crate) fn delivery(
        self: &Arc<Self>,
        lane: Lane,
        session: Session,
        message: async_nats::Message,
    ) -> Option<NatsDelivery> {
        let payload = wire::payload(&self.link.names, lane, &message);
        let Some(reply) = message.reply else {
            warn!(
                subject = message.subject.as_str(),
                "a message without a reply subject is none of JetStream's"
            );
            return None;
        };
        let deliveries = wire::deliveries(&reply).unwrap_or(1);
        let until = Mutex::new(Instant::now() + self.link.ack_wait());
        Some(NatsDelivery {
            answers: Arc::clone(self),
            payload,
            deliveries,
            reply,
            session,
            until,
            answered: false,
        })
    }

    /// Returns when what was dropped before is on its way, or the time for it is over.
    pub(crate) async fn flush(&self) {
        let (done, heard) = oneshot::channel();
        let flush = async {
            if self.returns.send(Return::Flush(done)).await.is_ok() {
                let _ = heard.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_MAX, flush).await;
    }
}

async fn send_back(client: Client, mut states: watch::Receiver<State>, mut queue: mpsc::Receiver<Return>) {
    while let Some(next) = queue.recv().await {
        match next {
            Return::Nak { reply, epoch } => {
                let is_current =
                    match states.wait_for(|state| !matches!(state, State::Down(_))).await.as_deref() {
                        Ok(State::Up(session)) => session.epoch == epoch,
                        // The connection stays until this queue ends.
                        Ok(State::Closed | State::Down(_)) | Err(_) => true,
                    };
                if is_current && client.publish(reply, NAK).await.is_err() {
                    return;
                }
            }
            Return::Flush(done) => {
                let _ = client.flush().await;
                let _ = done.send(());
            }
        }
    }
}

/// See the module.
pub(crate) struct NatsDelivery {
    answers: Arc<Answers>,
    payload: Payload,
    deliveries: u32,
    reply: Subject,
    session: Session,
    until: Mutex<Instant>,
    answered: bool,
}

impl NatsDelivery {
    fn is_expired(&self) -> bool {
        *self.until.lock() <= Instant::now()
    }

    async fn answer(&self, answer: Bytes) -> Result<(), BrokerError> {
        let link = &self.answers.link;
        let session = link.session().await?;
        if session.epoch != self.session.epoch {
            return Err(link.unavailable("it has lost its data since this message was handed out"));
        }
        link.send(session, link.client.publish(self.reply.clone(), answer)).await
    }
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn payload(&self) -> &Payload {
        &self.payload
    }

    fn deliveries(&self) -> u32 {
        self.deliveries
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BrokerError> {
        // Not given back on an error: its work is done, and the next to get it finds that in the store.
        self.answered = !self.answers.link.is_closed();
        self.answer(ACK).await
    }

    async fn nack(mut self: Box<Self>, delay: Duration) -> Result<(), BrokerError> {
        if self.is_expired() {
            self.answered = true;
            return Ok(());
        }
        let answer = match delay.min(NACK_DELAY_MAX) {
            Duration::ZERO => NAK,
            delay => Bytes::from(format!("-NAK {{\"delay\": {}}}", delay.as_nanos())),
        };
        self.answer(answer).await?;
        self.answered = true;
        Ok(())
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        if self.is_expired() {
            return Err(BrokerError::Unavailable("the delivery has expired and gone back".into()));
        }
        let from = Instant::now();
        self.answer(PROGRESS).await?;
        *self.until.lock() = from + self.answers.link.ack_wait();
        Ok(())
    }
}

impl Drop for NatsDelivery {
    fn drop(&mut self) {
        if self.answered || self.is_expired() {
            return;
        }
        let back = Return::Nak { reply: self.reply.clone(), epoch: self.session.epoch };
        if self.answers.returns.try_send(back).is_err() {
            warn!("a dropped message returns after its ack wait only: too many are on their way back");
        }
    }
}
