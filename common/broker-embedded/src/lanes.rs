//! The state of the broker: plain data behind one lock, with the time as an argument.
//!
//! Invariant: every held message is in exactly one place: ready in its queue, delayed, or in a hand.
//! Inside a queue tenants take turns, so that a thousand jobs of one do not make another wait.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bul_broker::{Depth, Message};
use bul_job::{JobId, Lane, Partition, PublishNo, Queue, TenantId};
use tokio::time::Instant;

/// Names one handing-out of a message; an answer to an older one has no effect.
pub(crate) type Tag = u64;

type Key = (JobId, PublishNo);

/// A message and how often it was handed out.
struct Held {
    message: Message,
    deliveries: u32,
}

/// What happens at a deadline.
enum Timer {
    /// The delay of a nack ends.
    Delayed(Held),
    /// A worker has shown no life.
    Unacked(Tag),
}

/// What lies in one partition of a lane.
#[derive(Default)]
struct Waiting {
    by_tenant: HashMap<TenantId, VecDeque<Held>>,
    /// Tenants with ready messages, next in turn first.
    turns: VecDeque<TenantId>,
    ready: usize,
    delayed: usize,
    unacked: usize,
}

impl Waiting {
    fn push(&mut self, held: Held) {
        let waiting = self.by_tenant.entry(held.message.tenant.clone()).or_default();
        if waiting.is_empty() {
            self.turns.push_back(held.message.tenant.clone());
        }
        waiting.push_back(held);
        self.ready += 1;
    }

    fn pop(&mut self) -> Option<Held> {
        let tenant = self.turns.pop_front()?;
        let waiting = self.by_tenant.get_mut(&tenant)?;
        let held = waiting.pop_front()?;
        if waiting.is_empty() {
            // An idle tenant leaves nothing behind.
            self.by_tenant.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.ready -= 1;
        Some(held)
    }
}

/// A message in a hand.
struct InHand {
    held: Held,
    /// Its place among the timers.
    timer: (Instant, u64),
}

/// All lanes.
pub(crate) struct Lanes {
    /// By [`Queue::index`].
    queues: Vec<Waiting>,
    partitions: u8,
    in_hand: HashMap<Tag, InHand>,
    /// By deadline; the number makes equal instants distinct.
    timers: BTreeMap<(Instant, u64), Timer>,
    /// Publications held now.
    held: HashSet<Key>,
    /// Publications done with, oldest first, and the same as a set.
    recent: VecDeque<Key>,
    recent_set: HashSet<Key>,
    next_number: u64,
    messages_max: usize,
    recent_max: usize,
    closed: bool,
}

/// What is held, and for how many partitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) messages_max: usize,
    pub(crate) recent_max: usize,
    pub(crate) partitions: u8,
}

fn key(message: &Message) -> Key {
    (message.job, message.publish)
}

impl Lanes {
    pub(crate) fn new(Size { messages_max, recent_max, partitions }: Size) -> Self {
        Self {
            queues: Queue::all(partitions).map(|_| Waiting::default()).collect(),
            partitions,
            in_hand: HashMap::new(),
            timers: BTreeMap::new(),
            held: HashSet::new(),
            recent: VecDeque::new(),
            recent_set: HashSet::new(),
            next_number: 0,
            messages_max,
            recent_max,
            closed: false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Forgets everything.
    pub(crate) fn close(&mut self) {
        let Self { messages_max, recent_max, partitions, .. } = *self;
        *self = Self::new(Size { messages_max, recent_max, partitions });
        self.closed = true;
    }

    /// Takes a message in, or drops it as a second one; `false` when full.
    pub(crate) fn publish(&mut self, message: &Message) -> bool {
        let key = key(message);
        if self.held.contains(&key) || self.recent_set.contains(&key) {
            return true;
        }
        if self.held.len() >= self.messages_max {
            return false;
        }
        self.held.insert(key);
        self.home(message).push(Held { message: message.clone(), deliveries: 0 });
        true
    }

    /// Hands out up to `max` messages of the queues, which take turns, until `deadline`.
    pub(crate) fn take(&mut self, from: &[Queue], max: usize, deadline: Instant) -> Vec<(Tag, Message, u32)> {
        let mut open: Vec<usize> = from.iter().filter_map(|queue| self.place(*queue)).collect();
        let ready = open.iter().map(|place| self.queues[*place].ready).sum();
        let mut taken = Vec::with_capacity(max.min(ready));
        while taken.len() < max && !open.is_empty() {
            open.retain(|place| {
                if taken.len() == max {
                    return true;
                }
                let Some(mut held) = self.queues[*place].pop() else { return false };
                held.deliveries = held.deliveries.saturating_add(1);
                self.queues[*place].unacked += 1;
                self.next_number += 1;
                let tag = self.next_number;
                taken.push((tag, held.message.clone(), held.deliveries));
                let timer = (deadline, tag);
                self.timers.insert(timer, Timer::Unacked(tag));
                self.in_hand.insert(tag, InHand { held, timer });
                true
            });
        }
        taken
    }

    /// Done. An answer that comes too late changes nothing: the message is elsewhere by now, and
    /// whoever gets it finds the job finished in the store.
    pub(crate) fn ack(&mut self, tag: Tag) {
        if let Some(held) = self.take_back(tag) {
            let key = key(&held.message);
            self.held.remove(&key);
            self.remember(key);
        }
    }

    /// Back behind the others of its tenant, at once or after a delay: at the front, a message that
    /// nobody can handle would block them.
    pub(crate) fn give_back(&mut self, tag: Tag, now: Instant, delay: Duration) {
        let Some(held) = self.take_back(tag) else { return };
        if delay.is_zero() {
            return self.home(&held.message).push(held);
        }
        self.home(&held.message).delayed += 1;
        let number = self.number();
        self.timers.insert((now + delay, number), Timer::Delayed(held));
    }

    /// A sign of life; `false` when it comes too late.
    pub(crate) fn extend(&mut self, tag: Tag, deadline: Instant) -> bool {
        let Some(in_hand) = self.in_hand.get_mut(&tag) else { return false };
        self.timers.remove(&in_hand.timer);
        in_hand.timer = (deadline, tag);
        self.timers.insert(in_hand.timer, Timer::Unacked(tag));
        true
    }

    /// Makes ready what has passed its deadline.
    pub(crate) fn sweep(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Timer::Delayed(held) => {
                    let queue = self.home(&held.message);
                    queue.delayed -= 1;
                    queue.push(held);
                }
                Timer::Unacked(tag) => self.give_back(tag, now, Duration::ZERO),
            }
        }
    }

    /// When [`Self::sweep`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn has_ready(&self, queue: Queue) -> bool {
        self.place(queue).is_some_and(|place| self.queues[place].ready > 0)
    }

    /// By lane. A delayed message counts as waiting.
    pub(crate) fn depths(&self) -> [Depth; 4] {
        Lane::ALL.map(|lane| {
            let queues =
                Queue::of(lane, self.partitions).map(|queue| &self.queues[queue.index(self.partitions)]);
            queues.fold(Depth::default(), |sum, queue| Depth {
                ready: sum.ready + (queue.ready + queue.delayed) as u64,
                unacked: sum.unacked + queue.unacked as u64,
            })
        })
    }

    /// Where a queue lies, if there is one.
    fn place(&self, queue: Queue) -> Option<usize> {
        let is_there = queue.partition.number() < self.partitions.max(1);
        is_there.then(|| queue.index(self.partitions))
    }

    /// Where a message lies.
    fn home(&mut self, message: &Message) -> &mut Waiting {
        let partition: Partition = message.partition(self.partitions);
        &mut self.queues[Queue { lane: message.lane, partition }.index(self.partitions)]
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes a message out of a hand, unless it has left it already.
    fn take_back(&mut self, tag: Tag) -> Option<Held> {
        let in_hand = self.in_hand.remove(&tag)?;
        self.timers.remove(&in_hand.timer);
        self.home(&in_hand.held.message).unacked -= 1;
        Some(in_hand.held)
    }

    fn remember(&mut self, key: Key) {
        if self.recent_max == 0 {
            return;
        }
        if self.recent.len() >= self.recent_max
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_set.remove(&oldest);
        }
        self.recent.push_back(key);
        self.recent_set.insert(key);
    }
}
