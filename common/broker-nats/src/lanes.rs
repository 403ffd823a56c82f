//! What the queues share: messages that came without being fetched, and their way back.
//!
//! Invariant: a message that the server has handed to this process is in a caller's hands, kept here for
//! a moment, or on its way back; whether callers are cancelled does not matter. `fetch` and `wait` work
//! on this.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bul_job::Queue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::{Answers, NatsDelivery};
use crate::link::Link;
use crate::pull::Idle;

/// How long a message waits here for a fetch, when somebody waits for work.
const HELD: Duration = Duration::from_millis(1_000);
/// The same when nobody does: just long enough for who was woken a moment ago.
const HELD_IDLE: Duration = Duration::from_millis(100);
/// Messages kept per queue; more go back at once.
const HELD_MAX: usize = 1_024;

/// All lanes.
pub(crate) struct Lanes {
    pub(crate) link: Arc<Link>,
    pub(crate) answers: Arc<Answers>,
    /// Woken whenever a queue may have work.
    pub(crate) changed: Notify,
    pub(crate) idle: Idle,
    /// Pulls that nobody waits for any more and that may still bring messages.
    pub(crate) parked: AtomicUsize,
    /// As at opening; by [`Queue::index`].
    pub(crate) partitions: u8,
    queues: Vec<Held>,
    /// Woken when something is kept that must not stay long.
    kept: Notify,
}

/// What is kept of a queue.
#[derive(Default)]
pub(crate) struct Held {
    /// With the time at which each goes back.
    messages: Mutex<VecDeque<(NatsDelivery, Instant)>>,
    /// Callers that wait for work.
    pub(crate) waiters: AtomicUsize,
    /// Woken when somebody begins to wait.
    pub(crate) wanted: Notify,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.lock().is_empty()
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }
}

impl Lanes {
    /// Starts what waits for work and what sends back.
    pub(crate) fn start(answers: &Arc<Answers>) -> Arc<Self> {
        let partitions = answers.link.partitions();
        let lanes = Arc::new(Self {
            link: Arc::clone(&answers.link),
            answers: Arc::clone(answers),
            changed: Notify::new(),
            idle: Idle::default(),
            parked: AtomicUsize::new(0),
            partitions,
            queues: Queue::all(partitions).map(|_| Held::default()).collect(),
            kept: Notify::new(),
        });
        for queue in Queue::all(partitions) {
            tokio::spawn(Arc::clone(&lanes).poll(queue));
        }
        tokio::spawn(Arc::clone(&lanes).sweep());
        lanes
    }

    /// What is kept of a queue, if there is such a queue.
    pub(crate) fn held(&self, queue: Queue) -> Option<&Held> {
        let is_there = queue.partition.number() < self.partitions;
        is_there.then(|| &self.queues[queue.index(self.partitions)])
    }

    /// Keeps a message for the next fetch of its queue.
    pub(crate) fn keep(&self, queue: Queue, message: NatsDelivery) {
        // Dropped, it goes back at once.
        let Some(held) = self.held(queue) else { return };
        let until = Instant::now() + if held.is_wanted() { HELD } else { HELD_IDLE };
        {
            let mut messages = held.messages.lock();
            if messages.len() >= HELD_MAX || self.link.is_closed() {
                return;
            }
            messages.push_back((message, until));
        }
        self.changed.notify_waiters();
        self.kept.notify_one();
    }

    /// Takes up to `max` of what is kept.
    pub(crate) fn take_held(&self, queue: Queue, max: usize) -> Vec<NatsDelivery> {
        let Some(held) = self.held(queue) else { return Vec::new() };
        let mut messages = held.messages.lock();
        let count = messages.len().min(max);
        messages.drain(..count).map(|(message, _)| message).collect()
    }

    /// Gives back all that is kept; the link is closed already.
    pub(crate) fn give_back(&self) {
        for held in &self.queues {
            held.messages.lock().clear();
        }
    }

    /// Gives back what nobody has fetched in time: its deadline burns, and others may be free.
    async fn sweep(self: Arc<Self>) {
        let closed = self.link.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = self.kept.notified() => {}
                () = &mut closed => return,
            }
            while let Some(next) = self.give_back_overdue() {
                tokio::time::sleep_until(next.into()).await;
            }
        }
    }

    /// When the next is due.
    fn give_back_overdue(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for held in &self.queues {
            let mut messages = held.messages.lock();
            let before = messages.len();
            messages.retain(|(_, until)| *until > now);
            if messages.len() < before && held.is_wanted() {
                held.wanted.notify_one();
            }
            let earliest = messages.iter().map(|(_, until)| *until).min();
            next = [next, earliest].into_iter().flatten().min();
        }
        next
    }
}
