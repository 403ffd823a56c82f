//! What of the server's messages is in this process: plain data behind one lock, time as an argument.
//!
//! Invariant: every message is in exactly one place: in its feed's buffer, in a hand, or in a delay;
//! taking its answer out ends it here. `A` is what answers the server; a number in tests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bul_broker::Payload;
use tokio::time::Instant;

use crate::feed::Feed;

/// Names one handing-out; an answer to an older one finds nothing.
pub(crate) type Tag = u64;

/// A message as the server has handed it to this process.
#[derive(Debug)]
pub(crate) struct Arrival<A> {
    pub(crate) payload: Payload,
    pub(crate) deliveries: u32,
    pub(crate) answer: A,
}

/// A message on its way into a worker's hands.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) tag: Tag,
    pub(crate) payload: Payload,
    pub(crate) deliveries: u32,
}

/// How long a hand may hold a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) ack_wait: Duration,
    pub(crate) hold_max: Duration,
}

/// What this process holds of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) buffered: usize,
    pub(crate) in_hand: usize,
    pub(crate) delayed: usize,
}

struct InHand<A> {
    feed: Feed,
    answer: A,
    timer: (Instant, u64),
    /// No sign of life moves the deadline beyond this.
    until: Instant,
}

enum Timer<A> {
    /// Back to the server at that time.
    Delayed(Feed, A),
    /// A worker has shown no life.
    Unanswered(Tag),
}

/// What this process holds of one feed.
struct Stock<A> {
    buffer: VecDeque<Arrival<A>>,
    in_hand: usize,
    delayed: usize,
}

/// All feeds.
pub(crate) struct Held<A> {
    partitions: u8,
    /// By [`Feed::index`].
    stocks: Vec<Stock<A>>,
    in_hand: HashMap<Tag, InHand<A>>,
    /// By deadline; the number makes equal instants distinct.
    timers: BTreeMap<(Instant, u64), Timer<A>>,
    next_number: u64,
}

impl<A> Held<A> {
    /// Of a broker whose lanes have so many partitions.
    pub(crate) fn new(partitions: u8) -> Self {
        let empty = |_| Stock { buffer: VecDeque::new(), in_hand: 0, delayed: 0 };
        Self {
            partitions,
            stocks: Feed::all(partitions).map(empty).collect(),
            in_hand: HashMap::new(),
            timers: BTreeMap::new(),
            next_number: 0,
        }
    }

    fn stock(&self, feed: Feed) -> &Stock<A> {
        &self.stocks[feed.index(self.partitions)]
    }

    fn stock_mut(&mut self, feed: Feed) -> &mut Stock<A> {
        &mut self.stocks[feed.index(self.partitions)]
    }

    pub(crate) fn arrive(&mut self, feed: Feed, arrival: Arrival<A>) {
        self.stock_mut(feed).buffer.push_back(arrival);
    }

    /// Hands out up to `max` messages.
    pub(crate) fn take(&mut self, feed: Feed, max: usize, now: Instant, hold: Hold) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(max.min(self.stock(feed).buffer.len()));
        while taken.len() < max {
            let stock = self.stock_mut(feed);
            let Some(arrival) = stock.buffer.pop_front() else { break };
            stock.in_hand += 1;
            let tag = self.number();
            let until = now + hold.hold_max;
            let timer = ((now + hold.ack_wait).min(until), tag);
            self.timers.insert(timer, Timer::Unanswered(tag));
            self.in_hand.insert(tag, InHand { feed, answer: arrival.answer, timer, until });
            taken.push(Taken { tag, payload: arrival.payload, deliveries: arrival.deliveries });
        }
        taken
    }

    /// Takes a message out of a hand to answer it; `None` when it has left that hand already.
    pub(crate) fn answer(&mut self, tag: Tag) -> Option<A> {
        self.leave(tag).map(|(_, answer)| answer)
    }

    /// Takes a message out of a hand to give it back at a time; `false` when it has left it already.
    pub(crate) fn give_back(&mut self, tag: Tag, at: Instant) -> bool {
        let Some((feed, answer)) = self.leave(tag) else { return false };
        let number = self.number();
        self.stock_mut(feed).delayed += 1;
        self.timers.insert((at, number), Timer::Delayed(feed, answer));
        true
    }

    /// A sign of life; `false` when it comes too late, or the message was held for too long in all.
    pub(crate) fn extend(&mut self, tag: Tag, now: Instant, ack_wait: Duration) -> bool {
        let Some(in_hand) = self.in_hand.get_mut(&tag) else { return false };
        if now >= in_hand.until {
            return false;
        }
        self.timers.remove(&in_hand.timer);
        in_hand.timer = ((now + ack_wait).min(in_hand.until), tag);
        self.timers.insert(in_hand.timer, Timer::Unanswered(tag));
        true
    }

    /// The answers of what has passed its deadline or delay: they go back to the server.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<A> {
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Timer::Delayed(feed, answer) => {
                    self.stock_mut(feed).delayed -= 1;
                    due.push(answer);
                }
                Timer::Unanswered(tag) => due.extend(self.answer(tag)),
            }
        }
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn has(&self, feed: Feed) -> bool {
        !self.stock(feed).buffer.is_empty()
    }

    pub(crate) fn count(&self, feed: Feed) -> Count {
        let Stock { buffer, in_hand, delayed } = self.stock(feed);
        Count { buffered: buffer.len(), in_hand: *in_hand, delayed: *delayed }
    }

    /// The answers of what waits in a feed's buffer, first come first.
    pub(crate) fn release(&mut self, feed: Feed) -> Vec<A> {
        self.stock_mut(feed).buffer.drain(..).map(|arrival| arrival.answer).collect()
    }

    /// The server has taken a feed's messages back: nothing here can answer them any more.
    pub(crate) fn forget(&mut self, feed: Feed) {
        *self.stock_mut(feed) = Stock { buffer: VecDeque::new(), in_hand: 0, delayed: 0 };
        let (in_hand, timers) = (&mut self.in_hand, &mut self.timers);
        in_hand.retain(|_, held| {
            if held.feed == feed {
                timers.remove(&held.timer);
            }
            held.feed != feed
        });
        timers.retain(|_, timer| !matches!(timer, Timer::Delayed(of, _) if *of == feed));
    }

    fn leave(&mut self, tag: Tag) -> Option<(Feed, A)> {
        let in_hand = self.in_hand.remove(&tag)?;
        self.timers.remove(&in_hand.timer);
        self.stock_mut(in_hand.feed).in_hand -= 1;
        Some((in_hand.feed, in_hand.answer))
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

#[cfg(test)]
mod tests {
    use bul_broker::Message;
    use bul_job::{JobId, Lane, Partition, PublishNo, Queue, TenantId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOLD: Hold = Hold { ack_wait: Duration::from_secs(10), hold_max: Duration::from_secs(25) };

    const HIGH: Feed = Feed::Queue(Queue { lane: Lane::High, partition: Partition::FIRST });

    fn held(answers: std::ops::Range<u32>) -> Held<u32> {
        let mut held = Held::new(1);
        for answer in answers {
            let message = Message {
                job: JobId::new(),
                tenant: TenantId::default_tenant(),
                lane: Lane::High,
                publish: PublishNo(1),
            };
            held.arrive(HIGH, Arrival { payload: Payload::Ready(message), deliveries: 1, answer });
        }
        held
    }

    #[test]
    fn silence_returns_a_message_once_and_a_late_answer_finds_nothing() {
        let (now, mut held) = (Instant::now(), held(0..2));
        let taken = held.take(HIGH, 9, now, HOLD);
        assert_eq!(held.count(HIGH), Count { buffered: 0, in_hand: 2, delayed: 0 });
        assert_eq!(held.answer(taken[0].tag), Some(0));
        assert_eq!(held.next_deadline(), Some(now + 10 * SECOND));
        assert!(held.due(now + 9 * SECOND).is_empty());
        assert_eq!(held.due(now + 10 * SECOND), [1]);
        assert!(held.answer(taken[1].tag).is_none());
        assert!(!held.give_back(taken[1].tag, now));
        assert!(!held.extend(taken[1].tag, now, HOLD.ack_wait));
        assert_eq!((held.count(HIGH), held.next_deadline()), (Count::default(), None));
    }

    #[test]
    fn signs_of_life_move_the_deadline_up_to_the_longest_hold() {
        let (now, mut held) = (Instant::now(), held(7..8));
        let tag = held.take(HIGH, 1, now, HOLD)[0].tag;
        for second in [8, 16, 24] {
            assert!(held.extend(tag, now + second * SECOND, HOLD.ack_wait));
            assert!(held.due(now + second * SECOND).is_empty());
        }
        assert_eq!(held.next_deadline(), Some(now + 25 * SECOND));
        assert!(!held.extend(tag, now + 25 * SECOND, HOLD.ack_wait));
        assert_eq!(held.due(now + 25 * SECOND), [7]);
    }

    #[test]
    fn delays_are_kept_and_a_lost_channel_takes_everything_of_its_feed() {
        let (now, mut held) = (Instant::now(), held(0..3));
        let taken = held.take(HIGH, 2, now, HOLD);
        assert!(held.give_back(taken[0].tag, now + 3 * SECOND));
        assert_eq!(held.count(HIGH), Count { buffered: 1, in_hand: 1, delayed: 1 });
        assert!(held.due(now + 2 * SECOND).is_empty());
        assert_eq!(held.due(now + 3 * SECOND), [0]);
        assert!(held.give_back(taken[1].tag, now + 9 * SECOND));
        held.forget(Feed::Help(Lane::High));
        assert!(held.has(HIGH));
        held.forget(HIGH);
        assert!(!held.has(HIGH) && held.due(now + 99 * SECOND).is_empty());
        assert_eq!(held.count(HIGH), Count::default());
    }

    #[test]
    fn a_released_buffer_leaves_hands_alone() {
        let (now, mut held) = (Instant::now(), held(0..3));
        let taken = held.take(HIGH, 1, now, HOLD);
        assert_eq!(held.release(HIGH), [1, 2]);
        assert_eq!(held.count(HIGH), Count { buffered: 0, in_hand: 1, delayed: 0 });
        assert_eq!(held.answer(taken[0].tag), Some(0));
    }
}
