//! A message in a worker's hands, and the timer that takes it away from a hand that shows no life.
//!
//! AMQP has no deadline and no delay per message: both are kept here. If this process dies, its
//! connection closes, and the server requeues everything at once. Made by `lib`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::{BrokerError, Delivery, Payload};
use tokio::time::Instant;

use crate::Shared;
use crate::acks::Acks;
use crate::held::{Tag, Taken};
use crate::options::NACK_DELAY_MAX;

/// How long the timer sleeps when nothing is due; whoever brings a deadline nearer wakes it.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(3600);

/// What answers the server for one message.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) acks: Arc<Acks>,
    pub(crate) tag: u64,
}

/// Gives messages back. An error means that their channel is gone, and the server has them already.
pub(crate) async fn requeue(answers: Vec<Answer>) {
    futures::future::join_all(answers.iter().map(|answer| answer.acks.requeue(answer.tag))).await;
}

/// Gives back what has passed its deadline or delay, for ever.
pub(crate) async fn keep_time(shared: &Shared) {
    loop {
        let next = shared.held.lock().next_deadline();
        tokio::select! {
            () = shared.earlier.notified() => {}
            () = tokio::time::sleep_until(next.unwrap_or_else(|| Instant::now() + IDLE_WAIT_MAX)) => {}
        }
        let due = shared.held.lock().due(Instant::now());
        if !due.is_empty() {
            requeue(due).await;
        }
    }
}

/// A message in a worker's hands.
pub(crate) struct RabbitDelivery {
    shared: Arc<Shared>,
    taken: Taken,
}

impl RabbitDelivery {
    pub(crate) fn new(shared: Arc<Shared>, taken: Taken) -> Self {
        Self { shared, taken }
    }

    /// Takes the message out of this hand; an error when it has left it already.
    fn answer(&self) -> Result<Answer, BrokerError> {
        if self.shared.closed.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        self.shared.held.lock().answer(self.taken.tag).ok_or_else(too_late)
    }
}

fn too_late() -> BrokerError {
    BrokerError::Unavailable(
        "the message was held too long or its channel was lost: another may have it".into(),
    )
}

impl Shared {
    /// Sets a message's return; `false` when it has left that hand already.
    fn give_back(&self, tag: Tag, at: Instant) -> bool {
        let is_held = self.held.lock().give_back(tag, at);
        if is_held {
            self.earlier.notify_one();
        }
        is_held
    }
}

#[async_trait]
impl Delivery for RabbitDelivery {
    fn payload(&self) -> &Payload {
        &self.taken.payload
    }

    fn deliveries(&self) -> u32 {
        self.taken.deliveries
    }

    async fn ack(self: Box<Self>) -> Result<(), BrokerError> {
        let Answer { acks, tag } = self.answer()?;
        acks.ack(tag);
        Ok(())
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), BrokerError> {
        if delay.is_zero() {
            let Answer { acks, tag } = self.answer()?;
            return acks.requeue(tag).await;
        }
        if self.shared.closed.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        let at = Instant::now() + delay.min(NACK_DELAY_MAX);
        if self.shared.give_back(self.taken.tag, at) { Ok(()) } else { Err(too_late()) }
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        if self.shared.closed.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        let ack_wait = self.shared.options.ack_wait;
        let is_held = self.shared.held.lock().extend(self.taken.tag, Instant::now(), ack_wait);
        if is_held { Ok(()) } else { Err(too_late()) }
    }
}

impl Drop for RabbitDelivery {
    fn drop(&mut self) {
        // Finds nothing when it was answered.
        self.shared.give_back(self.taken.tag, Instant::now());
    }
}
