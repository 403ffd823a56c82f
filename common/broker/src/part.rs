//! A bundle in a worker's hands: one delivery for each of its jobs, and one answer to the broker for all of them.
//!
//! Invariant: the broker's message is acknowledged once every part is, and given back as soon as one part is: what has begun by
//! then goes on, and whoever gets the bundle next finds those jobs running or done, as with any message that comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::{BrokerError, Delivery, Payload};

/// Parts show life each for itself; the broker hears of one of them in this time.
const EXTEND_EVERY: Duration = Duration::from_millis(500);

/// Takes a bundle apart; anything else stays as it is.
pub fn unpack(delivery: Box<dyn Delivery>) -> Vec<Box<dyn Delivery>> {
    let Payload::Bundle(messages) = delivery.payload() else { return vec![delivery] };
    let (messages, deliveries) = (messages.clone(), delivery.deliveries());
    let whole = Arc::new(Whole {
        left: AtomicUsize::new(messages.len()),
        is_dropped: AtomicBool::new(false),
        held: Mutex::new(Some(Held { delivery, extended: None })),
    });
    let part = |message| {
        let payload = Payload::Ready(message);
        Box::new(Part { whole: Arc::clone(&whole), payload, deliveries, is_answered: false })
            as Box<dyn Delivery>
    };
    messages.into_iter().map(part).collect()
}

/// What the parts share.
struct Whole {
    /// Parts that are not acknowledged.
    left: AtomicUsize,
    /// A part was dropped without an answer.
    is_dropped: AtomicBool,
    /// Absent once it is answered.
    held: Mutex<Option<Held>>,
}

struct Held {
    delivery: Box<dyn Delivery>,
    extended: Option<Instant>,
}

/// One job of a bundle.
struct Part {
    whole: Arc<Whole>,
    payload: Payload,
    deliveries: u32,
    is_answered: bool,
}

impl Whole {
    async fn take(&self) -> Option<Box<dyn Delivery>> {
        self.held.lock().await.take().map(|held| held.delivery)
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        let mut held = self.held.lock().await;
        let Some(held) = held.as_mut() else { return Ok(()) };
        if held.extended.is_some_and(|at| at.elapsed() < EXTEND_EVERY) {
            return Ok(());
        }
        held.delivery.extend().await?;
        held.extended = Some(Instant::now());
        Ok(())
    }

    /// Gives it back if a part was dropped. Whoever has it locked does so when done.
    fn settle(&self) {
        if self.is_dropped.load(Ordering::SeqCst)
            && let Ok(mut held) = self.held.try_lock()
        {
            held.take();
        }
    }
}

#[async_trait]
impl Delivery for Part {
    fn payload(&self) -> &Payload {
        &self.payload
    }

    fn is_part(&self) -> bool {
        true
    }

    fn deliveries(&self) -> u32 {
        self.deliveries
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BrokerError> {
        self.is_answered = true;
        if self.whole.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            // Whoever was to give it back after a sign of life may have gone away meanwhile.
            self.whole.settle();
            return Ok(());
        }
        match self.whole.take().await {
            Some(delivery) => delivery.ack().await,
            None => Ok(()),
        }
    }

    async fn nack(mut self: Box<Self>, delay: Duration) -> Result<(), BrokerError> {
        let Some(delivery) = self.whole.take().await else {
            self.is_answered = true;
            return Ok(());
        };
        self.is_answered = true;
        delivery.nack(delay).await
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        let extended = self.whole.extend().await;
        self.whole.settle();
        extended
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_answered {
            self.whole.is_dropped.store(true, Ordering::SeqCst);
            self.whole.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Plain;

    use bul_job::{JobId, Lane, PublishNo};
    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::Message;

    type Log = Arc<Plain<Vec<&'static str>>>;

    /// A broker's delivery that writes down what it is told.
    struct Told {
        payload: Payload,
        log: Log,
        /// Without a permit a sign of life takes for ever.
        gate: Arc<Semaphore>,
        is_answered: bool,
    }

    #[async_trait]
    impl Delivery for Told {
        fn payload(&self) -> &Payload {
            &self.payload
        }

        fn deliveries(&self) -> u32 {
            3
        }

        async fn ack(mut self: Box<Self>) -> Result<(), BrokerError> {
            self.is_answered = true;
            self.log.lock().unwrap().push("ack");
            Ok(())
        }

        async fn nack(mut self: Box<Self>, _: Duration) -> Result<(), BrokerError> {
            self.is_answered = true;
            self.log.lock().unwrap().push("nack");
            Ok(())
        }

        async fn extend(&self) -> Result<(), BrokerError> {
            self.gate.acquire().await.expect("open").forget();
            self.log.lock().unwrap().push("extend");
            Ok(())
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            if !self.is_answered {
                self.log.lock().unwrap().push("drop");
            }
        }
    }

    fn bundle(jobs: usize, gate: &Arc<Semaphore>) -> (Vec<Box<dyn Delivery>>, Log) {
        let message = |_| Message {
            job: JobId::new(),
            tenant: "acme".parse().unwrap(),
            lane: Lane::High,
            publish: PublishNo(1),
        };
        let messages: Vec<Message> = (0..jobs).map(message).collect();
        let log = Log::default();
        let payload = Payload::Bundle(messages.clone());
        let parts = unpack(Box::new(Told {
            payload,
            log: Arc::clone(&log),
            gate: Arc::clone(gate),
            is_answered: false,
        }));
        let ready: Vec<_> = parts.iter().map(|part| part.payload().ready().unwrap().clone()).collect();
        assert_eq!(ready, messages);
        assert!(parts.iter().all(|part| part.deliveries() == 3));
        (parts, log)
    }

    fn open() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(9))
    }

    fn said(log: &Log) -> Vec<&'static str> {
        log.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn the_last_ack_is_the_broker_s() {
        let (mut parts, log) = bundle(3, &open());
        for _ in 0..2 {
            parts.remove(1).ack().await.unwrap();
        }
        assert!(said(&log).is_empty());
        parts.remove(0).ack().await.unwrap();
        assert_eq!(said(&log), ["ack"]);
    }

    #[tokio::test]
    async fn one_part_given_back_gives_back_the_whole_at_once() {
        for is_dropped in [true, false] {
            let (mut parts, log) = bundle(3, &open());
            parts.remove(0).ack().await.unwrap();
            if is_dropped {
                drop(parts.remove(0));
            } else {
                parts.remove(0).nack(Duration::ZERO).await.unwrap();
            }
            let expected = if is_dropped { "drop" } else { "nack" };
            assert_eq!(said(&log), [expected]);
            parts[0].extend().await.unwrap();
            parts.remove(0).ack().await.unwrap();
            assert_eq!(said(&log), [expected], "it is another's by now");
        }
    }

    #[tokio::test]
    async fn the_broker_hears_of_one_sign_of_life_for_all() {
        let (parts, log) = bundle(3, &open());
        for part in &parts {
            part.extend().await.unwrap();
        }
        assert_eq!(said(&log), ["extend"]);
        tokio::time::sleep(EXTEND_EVERY).await;
        parts[2].extend().await.unwrap();
        assert_eq!(said(&log), ["extend", "extend"]);
        drop(parts);
        assert_eq!(said(&log), ["extend", "extend", "drop"], "once");
    }

    #[tokio::test]
    async fn what_is_dropped_during_a_sign_of_life_goes_back_after_it() {
        let gate = Arc::new(Semaphore::new(0));
        let (mut parts, log) = bundle(3, &gate);
        let (dropped, other) = (parts.remove(0), parts.remove(0));
        {
            let extending = parts[0].extend();
            tokio::pin!(extending);
            assert!(extending.as_mut().now_or_never().is_none());
            drop(dropped);
            assert!(said(&log).is_empty());
            gate.add_permits(1);
            extending.await.unwrap();
        }
        assert_eq!(said(&log), ["extend", "drop"]);
        other.ack().await.unwrap();
        assert_eq!(said(&log), ["extend", "drop"]);
    }
}
