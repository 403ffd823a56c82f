//! Writing to the slower tiers behind the caller's back.
//!
//! Invariant: a write never waits. What does not fit the queue, by number or by bytes, is dropped and counted; a
//! cache may lose a text, a document may not be late for it. A removal goes through the queue too, behind the writes
//! it must undo. Called by `cache`; if the process dies, what is queued is lost, and is only computed again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::meter::Meter;
use crate::{Entry, Kept, Key, Tier};

/// Room is counted in units of this many bytes.
const ROOM_BYTES: usize = 1024;
/// Time the queue of a tier may take to empty when the process stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Time a removal or a flush waits for its place in a full queue.
const PLACE: Duration = Duration::from_secs(1);

enum Order {
    Put { key: Key, entry: Entry, until: Instant, _room: OwnedSemaphorePermit },
    Remove { key: Key, done: oneshot::Sender<bool> },
    Flush { done: oneshot::Sender<()> },
}

/// The queue before one tier.
pub(crate) struct Queue {
    orders: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    meter: Meter,
}

/// The other end.
pub(crate) struct Drain {
    orders: mpsc::Receiver<Order>,
    tier: Arc<dyn Tier>,
}

/// A queue of at most `entries_max` texts and `bytes_max` bytes.
pub(crate) fn queue(
    tier: Arc<dyn Tier>,
    entries_max: usize,
    bytes_max: usize,
    meter: Meter,
) -> (Queue, Drain) {
    let (sender, orders) = mpsc::channel(entries_max.max(1));
    let room = Arc::new(Semaphore::new((bytes_max / ROOM_BYTES).min(Semaphore::MAX_PERMITS)));
    (Queue { orders: sender, room, meter }, Drain { orders, tier })
}

impl Queue {
    /// Queues a write, or drops it.
    pub(crate) fn put(&self, key: Key, entry: &Entry, ttl: Duration) {
        let units = u32::try_from(entry.body.len() / ROOM_BYTES + 1).unwrap_or(u32::MAX);
        let queued = self.room.clone().try_acquire_many_owned(units).ok().is_some_and(|room| {
            // The time runs from now, not from when the queue gets to it.
            let put = Order::Put { key, entry: entry.clone(), until: Instant::now() + ttl, _room: room };
            self.orders.try_send(put).is_ok()
        });
        if !queued {
            self.meter.wrote(Kept::Dropped, entry.body.len());
        }
    }

    /// Removes a text behind all writes queued before; `false` when it is not known to be gone.
    pub(crate) async fn remove(&self, key: Key) -> bool {
        let (done, gone) = oneshot::channel();
        self.wait(Order::Remove { key, done }, gone).await.unwrap_or(false)
    }

    /// Returns when all that was queued before has been written or dropped.
    pub(crate) async fn flush(&self) -> bool {
        let (done, flushed) = oneshot::channel();
        self.wait(Order::Flush { done }, flushed).await.is_some()
    }

    async fn wait<T>(&self, order: Order, done: oneshot::Receiver<T>) -> Option<T> {
        let answered = async {
            self.orders.send(order).await.ok()?;
            done.await.ok()
        };
        tokio::time::timeout(PLACE, answered).await.ok().flatten()
    }
}

impl Drain {
    /// Writes what is queued until `stopping`, then what is left, as far as the time allows.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                order = self.orders.recv() => match order {
                    Some(order) => carry_out(&*self.tier, order).await,
                    None => return,
                },
            }
        }
        self.orders.close();
        let rest = async {
            while let Some(order) = self.orders.recv().await {
                carry_out(&*self.tier, order).await;
            }
        };
        // Late is as good as lost here: the texts can be computed again.
        let _ = tokio::time::timeout(DRAIN, rest).await;
    }
}

async fn carry_out(tier: &dyn Tier, order: Order) {
    match order {
        Order::Put { key, entry, until, _room } => {
            let ttl = until.saturating_duration_since(Instant::now());
            if !ttl.is_zero() {
                tier.put(&key, &entry, ttl).await;
            }
        }
        Order::Remove { key, done } => {
            let _ = done.send(tier.remove(&key).await);
        }
        Order::Flush { done } => {
            let _ = done.send(());
        }
    }
}
