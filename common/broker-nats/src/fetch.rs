//! Fetching: pulls that do not wait, one for each queue.
//!
//! Invariant: it returns as soon as the server has said what it has, and never later than the client's
//! own timeouts. Server 2.9 leaves some pulls open without an answer (when another took the last message,
//! or too many are unacked); those are recognised by their silence and listened to for a while.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bul_broker::BrokerError;
use bul_job::Queue;
use tokio::time::Instant;
use tracing::debug;

use crate::delivery::NatsDelivery;
use crate::lanes::Lanes;
use crate::link::Session;
use crate::pull::{Arrival, Inbox};

/// Messages of one fetch. More are fetched with the next.
const FETCH_MAX: usize = 1_024;
/// Tries of a fetch: one more when the consumer was gone and is made anew.
const TRIES_MAX: usize = 2;
/// A pull without an answer for so long asks whether the server is there.
const QUIET: Duration = Duration::from_millis(100);
/// A pull that has brought something and then nothing for so long is not waited for: what it has brought is in nobody's
/// hands meanwhile. What comes yet is kept for the next fetch.
const GAP: Duration = Duration::from_millis(5);
/// Pulls nobody waits for: how long and how many are listened to. A message of one that is not listened
/// to returns after its ack wait.
const PARKED: Duration = Duration::from_secs(60);
const PARKED_MAX: usize = 64;

/// How a pull went.
enum Pulled {
    /// The server has said all, or is silent and there.
    Done,
    /// The consumer was not there.
    Gone,
}

/// A pull under way. Dropped before its end, what it brings is kept for the next fetch.
pub(crate) struct Pulling {
    lanes: Arc<Lanes>,
    queue: Queue,
    session: Session,
    inbox: Option<Inbox>,
}

impl Pulling {
    /// Asks for `count` messages; the server waits for the first for as long as `wait` says.
    pub(crate) async fn begin(
        lanes: &Arc<Lanes>,
        queue: Queue,
        session: Session,
        count: usize,
        wait: Option<Duration>,
    ) -> Result<Self, BrokerError> {
        let inbox = lanes.idle.take(&lanes.link, session).await?;
        let mut pulling = Self { lanes: Arc::clone(lanes), queue, session, inbox: Some(inbox) };
        if let Some(inbox) = &mut pulling.inbox {
            inbox.ask(&lanes.link, session, queue, count, wait).await?;
        }
        Ok(pulling)
    }

    /// What comes next; pending for ever when nothing does.
    pub(crate) async fn next(&mut self) -> Arrival {
        match &mut self.inbox {
            Some(inbox) => inbox.next().await,
            None => Arrival::Ended,
        }
    }

    /// The same, behind what it has brought; `None` when nothing follows.
    async fn next_or_gap(&mut self) -> Option<Arrival> {
        tokio::time::timeout(GAP, self.next()).await.ok()
    }

    /// The same; `None` when the server is there and says nothing.
    async fn next_or_quiet(&mut self) -> Option<Arrival> {
        if let Ok(arrival) = tokio::time::timeout(QUIET, self.next()).await {
            return Some(arrival);
        }
        let probed = self.lanes.link.probe(self.session).await;
        let arrival = self.inbox.as_mut().and_then(Inbox::try_next);
        match probed {
            Ok(()) => arrival,
            Err(error) => arrival.or_else(|| Some(Arrival::Gone(error.to_string()))),
        }
    }

    /// The server has ended it: its inbox may be used again.
    pub(crate) fn end(mut self) {
        if let Some(inbox) = self.inbox.take() {
            self.lanes.idle.put(inbox);
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        let Some(inbox) = self.inbox.take() else { return };
        // Outside of a runtime there is nobody to listen.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.lanes.parked.fetch_add(1, Ordering::Relaxed) < PARKED_MAX {
            runtime.spawn(Arc::clone(&self.lanes).listen(self.queue, self.session, inbox));
        } else {
            self.lanes.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Lanes {
    /// See `Broker::fetch_from`. All queues are asked at the same time, each for its share; those that had it are asked for
    /// what the others lacked.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        queues: &[Queue],
        max: usize,
    ) -> Result<Vec<NatsDelivery>, BrokerError> {
        let max = max.min(FETCH_MAX);
        let mut open: Vec<Queue> =
            queues.iter().copied().filter(|queue| self.held(*queue).is_some()).collect();
        let mut taken = Vec::new();
        for queue in &open {
            taken.extend(self.take_held(*queue, max - taken.len()));
        }
        if max == 0 {
            self.link.session().await?;
        }
        while taken.len() < max && !open.is_empty() {
            let left = max - taken.len();
            let asked = shares(&open, left).map(|(queue, wanted)| async move {
                let mut got = Vec::new();
                let fetched = self.fetch_one(queue, wanted, &mut got).await;
                (queue, wanted, got, fetched)
            });
            let mut failed = None;
            for (queue, wanted, got, fetched) in futures::future::join_all(asked).await {
                if got.len() < wanted {
                    open.retain(|other| *other != queue);
                }
                taken.extend(got);
                failed = failed.or(fetched.err());
            }
            match failed {
                // What is in hand already is handed out; the error comes again with the next call.
                Some(error) if taken.is_empty() => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        Ok(taken)
    }

    async fn fetch_one(
        self: &Arc<Self>,
        queue: Queue,
        max: usize,
        taken: &mut Vec<NatsDelivery>,
    ) -> Result<(), BrokerError> {
        for _ in 0..TRIES_MAX {
            match self.pull(queue, max, taken).await {
                Ok(Pulled::Done) => return Ok(()),
                Ok(Pulled::Gone) if !taken.is_empty() => return Ok(()),
                Ok(Pulled::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.link.unavailable("the consumer is not there"))
    }

    /// One pull that fills `taken`.
    async fn pull(
        self: &Arc<Self>,
        queue: Queue,
        max: usize,
        taken: &mut Vec<NatsDelivery>,
    ) -> Result<Pulled, BrokerError> {
        let session = self.link.session().await?;
        let mut pulling = Pulling::begin(self, queue, session, max - taken.len(), None).await?;
        loop {
            let arrival = match taken.is_empty() {
                true => pulling.next_or_quiet().await,
                false => pulling.next_or_gap().await,
            };
            let Some(arrival) = arrival else { return Ok(Pulled::Done) };
            match arrival {
                Arrival::Message(message) => {
                    taken.extend(self.answers.delivery(queue.lane, session, message));
                    if taken.len() < max {
                        continue;
                    }
                }
                Arrival::Ended => {}
                Arrival::Refused(why) => debug!(%queue, why, "a pull is refused"),
                // Dropped, not ended: a server that was only silent may still answer.
                Arrival::Gone(why) => {
                    self.link.doubt(session, &why);
                    return Ok(Pulled::Gone);
                }
                Arrival::Closed => return Err(BrokerError::Closed),
            }
            pulling.end();
            return Ok(Pulled::Done);
        }
    }

    /// Keeps what a pull brings that nobody waits for any more. Also over a doubt: a server that was
    /// frozen answers at last.
    async fn listen(self: Arc<Self>, queue: Queue, session: Session, mut inbox: Inbox) {
        let end = Instant::now() + PARKED;
        loop {
            let arrival = tokio::select! {
                arrival = tokio::time::timeout_at(end, inbox.next()) => arrival,
                () = self.link.closed() => break,
            };
            match arrival {
                Ok(Arrival::Message(message)) => {
                    if let Some(message) = self.answers.delivery(queue.lane, session, message) {
                        self.keep(queue, message);
                    }
                }
                Ok(Arrival::Ended | Arrival::Refused(_) | Arrival::Gone(_)) => {
                    self.idle.put(inbox);
                    break;
                }
                Ok(Arrival::Closed) | Err(_) => break,
            }
        }
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// About the same for each queue; those that would get nothing are not asked.
fn shares(queues: &[Queue], wanted: usize) -> impl Iterator<Item = (Queue, usize)> {
    let (each, more) = (wanted / queues.len().max(1), wanted % queues.len().max(1));
    let share = move |(at, queue): (usize, &Queue)| (*queue, each + usize::from(at < more));
    queues.iter().enumerate().map(share).filter(|(_, share)| *share > 0)
}

#[cfg(test)]
mod tests {
    use bul_job::Lane;

    use super::*;

    #[test]
    fn queues_share_what_is_wanted() {
        let queues: Vec<Queue> = Queue::of(Lane::High, 4).collect();
        for (wanted, expected) in [(10, vec![3, 3, 2, 2]), (4, vec![1; 4]), (2, vec![1; 2]), (0, vec![])] {
            let asked: Vec<usize> = shares(&queues, wanted).map(|(_, share)| share).collect();
            assert_eq!(asked, expected);
        }
        assert_eq!(shares(&[], 3).count(), 0);
    }
}
